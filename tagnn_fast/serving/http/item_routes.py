"""The route of items: what a model can recommend, found by what people type, or named by id."""

from __future__ import annotations

import asyncio
import os
import reprlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from weakref import WeakKeyDictionary

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tagnn_fast.serving.http.item_search import ItemSearch
from tagnn_fast.serving.http.messages import ItemDescription, ItemList, RequestError, respond
from tagnn_fast.serving.http.models import LoadedModel
from tagnn_fast.serving.http.routes import service_of
from tagnn_fast.serving.http.service import TIMEOUT_HEADER, too_late

LIMIT, MOST, LONGEST = 20, 100, 200  # items by default and at most; characters of what is looked for
_WAITING = 32  # requests that may wait
_SECONDS = 30.0  # that one may take: the first makes a model's search, which takes some for millions of items


class Searches:
    """Asks for items on a thread of its own, where a model's search is also made, when it is first asked for."""

    def __init__(self) -> None:
        self._made: WeakKeyDictionary[LoadedModel, ItemSearch] = WeakKeyDictionary()
        self._begin()
        os.register_at_fork(after_in_child=self._begin)  # which has no such thread

    def _begin(self) -> None:
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="tagnn_fast items")
        self._waiting = 0

    async def ask(
        self, model: LoadedModel, question: Callable[[ItemSearch], list[int]], timeout: float
    ) -> list[ItemDescription]:
        """Descriptions of the items, by index, that a model's search answers with.

        Raises:
            RequestError: 503 where as many requests wait as may, 504 after so many seconds.
        """
        if self._waiting >= _WAITING:
            raise RequestError(503, None, "as many searches wait as may: try again", {"Retry-After": "1"})
        self._waiting += 1
        try:
            async with asyncio.timeout(timeout):
                return await asyncio.get_running_loop().run_in_executor(self._thread, self._answer, model, question)
        except TimeoutError:
            raise too_late(timeout) from None
        finally:
            self._waiting -= 1

    def _answer(self, model: LoadedModel, question: Callable[[ItemSearch], list[int]]) -> list[ItemDescription]:
        items = model.served.vocabulary
        search = self._made.get(model)
        if search is None:
            search = self._made[model] = ItemSearch(items)
        rows = [item - 1 for item in question(search)]
        titles = [None if items.titles is None else items.titles[row].as_py() for row in rows]
        return [
            ItemDescription(items.raw_ids[row].as_py(), title, int(items.counts[row]))
            for row, title in zip(rows, titles, strict=True)
        ]


_SEARCHES = Searches()


async def find_items(request: Request) -> Response:
    """``GET /v1/items``: those that ``q`` finds, best first; or those with each ``id`` that there is."""
    asked = request.query_params
    for name in asked:
        if name not in ("q", "id", "limit", "model"):
            raise RequestError(422, name, f"{name}: expected no such field")
        if name != "id" and len(asked.getlist(name)) > 1:
            raise RequestError(422, name, f"{name}: expected once, got it twice")
    ids, text = asked.getlist("id"), asked.get("q", "")
    if ids and ("q" in asked or "limit" in asked):
        raise RequestError(422, "id", "id: expected neither q nor limit beside it, got one")
    if len(ids) > MOST:
        raise RequestError(422, "id", f"id: expected at most {MOST}, got {len(ids)}")
    if len(text) > LONGEST:
        raise RequestError(422, "q", f"q: expected at most {LONGEST} characters, got {len(text)}")
    limit = _limit(asked.get("limit"))
    service = service_of(request)
    timeout = service.timeout(request) if TIMEOUT_HEADER in request.headers else _SECONDS
    model = service.model(asked.get("model"), None, [])
    if ids:
        found = await _SEARCHES.ask(model, lambda search: [item for item in map(search.item, ids) if item], timeout)
    else:
        found = await _SEARCHES.ask(model, lambda search: search.find(text, limit), timeout)
    return respond(ItemList(found))


def _limit(given: str | None) -> int:
    """How many items are asked for.

    Raises:
        RequestError: 422.
    """
    if given is None:
        return LIMIT
    if given.isascii() and given.isdigit() and len(given) < 9 and 1 <= int(given) <= MOST:
        return int(given)
    raise RequestError(422, "limit", f"limit: expected 1 to {MOST}, got {reprlib.repr(given)}")


ROUTES = [Route("/v1/items", find_items)]
