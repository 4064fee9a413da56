"""Top-k for any session: the model's for what it knows, the most popular items where it knows nothing."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor, nn

from tagnn_fast.baselines.baseline import Baseline
from tagnn_fast.checks import (
    check_count,
    check_flag,
    check_integer_vector,
    check_offsets_leniently,
    check_padded_length,
    is_table,
)
from tagnn_fast.data.arrow import is_list, one_chunk
from tagnn_fast.data.vocabulary import Vocabulary
from tagnn_fast.nn.blend import BlendRanker
from tagnn_fast.nn.ranker import NetworkRanker
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.recommendations import POPULAR, SKIPPED, Recommendations

if TYPE_CHECKING:
    from tagnn_fast.parallel.sharded_ranker import ShardedRanker

_SESSIONS = 512  # scored at once
_CLICKS = 1 << 16  # that these have, unless one has more
_QUERIES = 64  # items whose similar ones are looked for at once
_BLOCK = 1 << 16  # and how many others they are held against at once
_STEPS = 1 << 24  # from a cosine of 0 to one of 1: float32 holds each


class BestItems(NamedTuple):
    """Best items of each session.

    Attributes:
        items: item indices, best first, equal scores by index (a baseline's and a blend's by popularity, then by
            index), int64 (sessions, k), k being at most the number of items. 0 where fewer are left to choose from.
        scores: the model's scores, float (sessions, k); a baseline's are 0 where it knows nothing of an item, a blend's
            are shares of 1. For a popular item its clicks in training; -inf for no item.
        known_clicks: clicks of each session on items with a row, int64 (sessions,). Where there are none, the session
            gets the most popular items.
    """

    items: Tensor
    scores: Tensor
    known_clicks: Tensor


class Recommender:
    """A trained model and its items; the most popular of them for sessions of which it knows no click.

    Args:
        model: a network, set to evaluation mode here, a fitted baseline, several of these together, or what ranks with
            an item table in shards.
        vocabulary: its items.
        bfloat16_table: score with item vectors rounded to bfloat16: half the memory to read for each answer, which is
            what a single session's time goes into. Takes a copy of the vectors.
        screen: keep a screen of the item vectors (int8, a quarter of their memory in float32), with which a few
            sessions are answered several times as fast, with the same lists. Whoever asks for one leaves the model's
            weights alone from then on: not every change to them can be noticed.

    Attributes:
        ranker: what ranks: the baseline or blend itself, or the network with what it needs to.

    Raises:
        ValueError: on a vocabulary of another size, or a bfloat16_table for anything but a network.
    """

    def __init__(
        self,
        model: SessionModel | Baseline | BlendRanker | ShardedRanker,
        vocabulary: Vocabulary,
        bfloat16_table: bool = False,
        screen: bool = False,
    ) -> None:
        bfloat16_table, screen = check_flag(bfloat16_table, "bfloat16_table"), check_flag(screen, "screen")
        if model.config.num_items != len(vocabulary):
            raise ValueError(f"vocabulary: expected {model.config.num_items} items, got {len(vocabulary)}")
        self.model = model
        self.vocabulary = vocabulary
        if not isinstance(model, SessionModel):
            if bfloat16_table:
                raise ValueError(f"bfloat16_table: expected False for {_no_network(model)}, got True")
            self.ranker: NetworkRanker | Baseline | BlendRanker | ShardedRanker = model
        else:
            self.ranker = NetworkRanker(model, *popularity(vocabulary), bfloat16_table, screen)

    @torch.no_grad()
    def topk(
        self,
        items: Tensor,
        offsets: Tensor,
        k: int,
        padded_length: int | None = None,
        *,
        candidates: Tensor | None = None,
        exclude_clicked: bool = False,
        exclude: Tensor | None = None,
    ) -> BestItems:
        """The best k items of each session, or all of them where there are no k.

        Args:
            items: item indices of all clicks, int64 (clicks,); 0, an item without a row, is skipped.
            offsets: first click of each session and the end of the last, int64 (sessions + 1,).
            k: length of the lists, 1 or more.
            padded_length: see :class:`SessionModel`.
            candidates: the only item indices to choose from, int64 (any,), in any order; 0 does not matter.
            exclude_clicked: recommend to no session what it has clicked on.
            exclude: item indices that no session gets, int64 (any,); 0 does not matter.

        Raises:
            TypeError: on a wrong type or dtype.
            ValueError: on a k below 1, items outside 0..number of items, or offsets that do not rise from 0 to the
                number of clicks.
            FloatingPointError: where a score is NaN, or one of the best k infinite.
        """
        k = min(check_count(k, "k"), len(self.vocabulary))
        exclude_clicked, padded_length = (
            check_flag(exclude_clicked, "exclude_clicked"),
            check_padded_length(padded_length),
        )
        for value, name in ((items, "items"), (candidates, "candidates"), (exclude, "exclude")):
            if value is not None:
                self._check_indices(value, name)
        check_offsets_leniently(offsets, items.numel())
        device = self.ranker.counts.device
        items, offsets = items.to(device), offsets.to(device)
        ranker: Any = self.ranker  # which of them does not matter, but none takes what another's encode gives
        best = ranker.best_rows(
            ranker.encode(items, offsets, padded_length),
            items,
            offsets,
            k,
            candidates.to(device) - 1 if candidates is not None else None,
            items - 1 if exclude_clicked else None,
            exclude[exclude > 0].unique().to(device) - 1 if exclude is not None else None,
        )
        if not bool(best.finite):
            raise FloatingPointError("scores: expected finite numbers, got NaN or infinity: training diverged")
        return BestItems(best.rows + 1, best.scores, best.known_clicks)

    def _check_indices(self, items: Tensor, name: str) -> None:
        check_integer_vector(items, name)
        if items.numel():
            low, high = (int(bound) for bound in items.aminmax())
            if low < 0 or high > len(self.vocabulary):
                found = low if low < 0 else high
                raise ValueError(f"{name}: expected indices in 0..{len(self.vocabulary)}, got {found}")

    def recommend(
        self,
        sessions: Sequence[Sequence[object]] | pa.Array,
        k: int = 20,
        *,
        candidates: Iterable[object] | pa.Array | None = None,
        exclude_clicked: bool = False,
        exclude: Iterable[object] | pa.Array | None = None,
    ) -> Recommendations:
        """The best k items of each session, in raw ids; fewer where there are no k.

        Args:
            sessions: raw item ids of each session, oldest click first, as :meth:`Vocabulary.encode` takes them. Unknown
                ones are skipped. In an Arrow array of lists, null is a session without clicks.
            k: length of the lists, 1 or more.
            candidates: raw ids of the only items to choose from, in any order; unknown ones do not matter. None for all
                items, while nothing is recommended where there are none.
            exclude_clicked: recommend to no session what it has clicked on.
            exclude: raw ids of items that no session gets; unknown ones do not matter.

        Raises:
            TypeError: on sessions that are no lists, ids of another type than the data set's, a k that is no int, or an
                `exclude_clicked` that is neither True nor False.
            ValueError: on a k below 1.
            FloatingPointError: where a score is NaN or infinite.
        """
        raw_ids, lengths = _flattened(sessions)
        items = torch.from_numpy(self.vocabulary.encode(raw_ids)).long()
        offsets = np.concatenate([[0], lengths.cumsum()]).astype(np.int64)
        chosen, excluded = self._indices(candidates, "candidates"), self._indices(exclude, "exclude")
        answer = Recommendations([], [], [], [], self.vocabulary.integers)
        for begin, end in _batches(offsets):
            first, last = offsets[begin], offsets[end]
            ends = torch.from_numpy(offsets[begin : end + 1] - first)
            best = self.topk(
                items[first:last], ends, k, candidates=chosen, exclude_clicked=exclude_clicked, exclude=excluded
            )
            self._append(answer, best, ends)
        return answer

    def _indices(self, ids: Iterable[object] | pa.Array | None, name: str) -> Tensor | None:
        """Item indices of the raw ids of an argument, 0 for unknown ones."""
        if ids is None:
            return None
        try:
            return torch.from_numpy(self.vocabulary.encode(ids)).long()
        except (TypeError, ValueError) as error:
            raise type(error)(f"{name}: {error}") from None

    def _append(self, answer: Recommendations, best: BestItems, ends: Tensor) -> None:
        """Add the answers to some sessions, in raw ids; clicks end there."""
        items, scores, known = (value.cpu() for value in best)
        found, skipped = items > 0, ends.diff() - known
        raw_ids, values = self.vocabulary.decode(items[found].numpy()).to_pylist(), scores[found].tolist()
        bounds = [0, *found.sum(1).cumsum(0).tolist()]
        answer.items.extend(raw_ids[begin:end] for begin, end in pairwise(bounds))
        answer.scores.extend(values[begin:end] for begin, end in pairwise(bounds))
        answer.status.extend(torch.where(known == 0, POPULAR, (skipped > 0).long() * SKIPPED).tolist())
        answer.skipped.extend(skipped.tolist())

    def item_vectors(self) -> pa.Table:
        """The model's vector of each item, in the order of rows.

        Returns:
            ``item`` (raw id), ``vector`` (fixed-size list of float32), and ``title`` where the data set has titles.

        Raises:
            ValueError: for a baseline or a blend.
        """
        vectors = self._vectors("item_vectors").detach().float().cpu().contiguous()
        lists = pa.FixedSizeListArray.from_arrays(pa.array(vectors.flatten().numpy()), vectors.shape[1])
        columns = {"item": self.vocabulary.raw_ids, "vector": lists}
        titles = self.vocabulary.titles
        return pa.table(columns if titles is None else {**columns, "title": titles})

    @torch.no_grad()
    def similar(self, ids: Sequence[object] | pa.Array, k: int = 20) -> pa.Table:
        """The k items most like each of some items, by the cosine of the model's item vectors.

        Args:
            ids: raw ids of items of the data set.
            k: how many, 1 or more; fewer where there are no k others.

        Returns:
            A row per similar item, with ``item`` (the one asked for), ``rank`` (from 1, int32), ``similar`` (raw id),
            ``cosine`` (float32, in steps of 2^-24). An item is not similar to itself; equal cosines stand in the order
            of items; that of a vector of zeros with any other is 0.

        Raises:
            TypeError: on ids of another type than the data set's, or a k that is no int.
            ValueError: on an unknown id, or a k below 1; for a baseline or a blend.
            FloatingPointError: where an item's vector is NaN or infinite.
        """
        table = self._vectors("similar")
        k = min(check_count(k, "k"), len(self.vocabulary) - 1)
        asked = ids if isinstance(ids, (str, bytes, pa.Array)) else list(ids)
        rows = self.vocabulary.encode(asked).astype(np.int64) - 1
        if (rows < 0).any():
            place = int((rows < 0).argmax())
            unknown = asked[place].as_py() if isinstance(asked, pa.Array) else asked[place]
            raise ValueError(f"ids: expected items of the data set, got {unknown!r}")
        best, cosines = np.empty((len(rows), k), np.int64), np.empty((len(rows), k), np.float32)
        for begin in range(0, len(rows), _QUERIES):
            part = slice(begin, begin + _QUERIES)
            best[part], cosines[part] = (value.numpy() for value in _nearest(table, torch.from_numpy(rows[part]), k))
        return pa.table(
            {
                "item": self.vocabulary.decode(rows.repeat(k) + 1),
                "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), len(rows)),
                "similar": self.vocabulary.decode(best.flatten() + 1),
                "cosine": cosines.flatten(),
            }
        )

    def _vectors(self, method: str) -> Tensor:
        """The network's item vectors, float (items, hidden)."""
        if not isinstance(self.ranker, NetworkRanker):
            raise ValueError(f"{method}: expected a network, got {_no_network(self.ranker)}")
        return self.ranker.model.item_vectors()


def popularity(vocabulary: Vocabulary) -> tuple[Tensor, Tensor]:
    """Clicks on each item in training, float64, and all items from 0, most clicked first, int64: (items,)."""
    return torch.from_numpy(vocabulary.counts).double(), torch.from_numpy(vocabulary.by_popularity()) - 1


def _no_network(ranker: nn.Module) -> str:
    """What it is instead, for people."""
    if isinstance(ranker, Baseline):
        return "a baseline, which has no item vectors"
    is_blend = isinstance(ranker, BlendRanker)
    return "a blend, which has no item vectors of its own" if is_blend else "item vectors in shards, not in one place"


def _batches(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Begin and end of the sessions that are scored together: their number and their clicks bound the memory."""
    begin, sessions = 0, len(offsets) - 1
    while begin < sessions or begin == 0:
        fit = int(np.searchsorted(offsets, offsets[begin] + _CLICKS, "right")) - 1
        end = min(max(fit, begin + 1), begin + _SESSIONS, sessions)
        yield begin, end
        begin = max(end, 1)


def _nearest(table: Tensor, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Rows most like each of some rows, int64, and the cosines, float32: (rows, k)."""
    asked = _unit(table[rows.to(table.device)])
    # Rounded, so that what is equal is so wherever it stands in a product, of which the last bits depend on that.
    blocks = [(asked @ _unit(block).T * _STEPS).round().div(_STEPS).float().cpu() for block in table.split(_BLOCK)]
    cosines = torch.cat(blocks, 1)  # (rows, items)
    if not bool(torch.isfinite(cosines).all()):
        raise FloatingPointError("item vectors: expected finite numbers, got NaN or infinity: training diverged")
    cosines.scatter_(1, rows.unsqueeze(1), -torch.inf)
    values, order = cosines.sort(dim=1, descending=True, stable=True)
    return order[:, :k], values[:, :k]


def _unit(vectors: Tensor) -> Tensor:
    """Vectors of length 1 in float64; zeros stay zeros."""
    vectors = vectors.double()
    largest = vectors.abs().amax(1, keepdim=True)  # first divided by this, so that no square overflows or vanishes
    vectors = vectors / torch.where(largest == 0, 1.0, largest)
    return torch.nn.functional.normalize(vectors, dim=1)


def _flattened(sessions: Sequence[Sequence[object]] | pa.Array) -> tuple[Iterable[object] | pa.Array, np.ndarray]:
    """The raw ids of all sessions, and the length of each, int64."""
    if isinstance(sessions, pa.ChunkedArray):
        sessions = one_chunk(sessions)
    if isinstance(sessions, pa.Array):
        if not is_list(sessions.type):
            raise TypeError(f"sessions: expected lists of item ids, got {sessions.type}")
        lengths = pc.fill_null(pc.list_value_length(sessions), 0).to_numpy().astype(np.int64)
        return pc.list_flatten(sessions), lengths
    if is_table(sessions):
        raise TypeError(f"sessions: expected lists of item ids, got a {type(sessions).__name__}")
    sessions = list(sessions)
    for place, session in enumerate(sessions):
        if isinstance(session, (str, bytes, Set)) or is_table(session) or not hasattr(session, "__len__"):
            found = f"{type(session).__name__} {reprlib.repr(session)}"
            raise TypeError(f"sessions: expected a list of item ids each, got {found} in sessions[{place}]")
    return chain.from_iterable(sessions), np.fromiter(map(len, sessions), np.int64, len(sessions))
