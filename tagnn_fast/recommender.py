"""Top-k for any session: the model's for what it knows, the most popular items where it knows nothing."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from itertools import chain
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from tagnn_fast import ops
from tagnn_fast.checks import check_count, check_flag, check_integer_vector
from tagnn_fast.data.arrow import is_list, one_chunk
from tagnn_fast.data.vocabulary import Vocabulary
from tagnn_fast.nn.session_model import SessionModel

_SESSIONS = 512  # scored at once
_CLICKS = 1 << 16  # that these have, unless one has more
_QUERIES = 64  # items whose similar ones are looked for at once
_BLOCK = 1 << 16  # and how many others they are held against at once
_STEPS = 1 << 24  # from a cosine of 0 to one of 1: float32 holds each


class Recommendations(NamedTuple):
    """Best items of each session.

    Attributes:
        items: item indices, best first, equal scores by index, int64 (sessions, k), k being at most the number of
            items. 0 where fewer are left, since clicked ones are excluded.
        scores: the model's scores, float (sessions, k); for a popular item its clicks in training; -inf for no item.
        known_clicks: clicks of each session on items with a row, int64 (sessions,). Where there are none, the session
            gets the most popular items.
    """

    items: Tensor
    scores: Tensor
    known_clicks: Tensor


class Recommender:
    """A trained model and its items; the most popular of them for sessions of which it knows no click.

    Args:
        model: set to evaluation mode here.
        vocabulary: its items.
        bfloat16_table: score with item vectors rounded to bfloat16: half the memory to read for each answer, which is
            what a single session's time goes into. Takes a copy of the vectors.
    """

    def __init__(self, model: SessionModel, vocabulary: Vocabulary, bfloat16_table: bool = False) -> None:
        if model.config.num_items != len(vocabulary):
            raise ValueError(f"vocabulary: expected {model.config.num_items} items, got {len(vocabulary)}")
        self.model = model.eval()
        self.vocabulary = vocabulary
        self._rounded_table = model.item_embedding.weight[1:].detach().bfloat16() if bfloat16_table else None
        self._popular = torch.from_numpy(vocabulary.by_popularity())
        self._clicks = torch.from_numpy(vocabulary.counts)[self._popular - 1]

    @torch.no_grad()
    def topk(
        self, items: Tensor, offsets: Tensor, k: int, padded_length: int | None = None, exclude_clicked: bool = False
    ) -> Recommendations:
        """The best k items of each session, or all of them where there are no k.

        Args:
            items: item indices of all clicks, int64 (clicks,); 0, an item without a row, is skipped.
            offsets: first click of each session and the end of the last, int64 (sessions + 1,).
            k: length of the lists, 1 or more.
            padded_length: see :class:`SessionModel`.
            exclude_clicked: recommend to no session what it has clicked on.

        Raises:
            TypeError: on a wrong type or dtype.
            ValueError: on a k below 1, items outside 0..number of items, or offsets that do not rise from 0 to the
                number of clicks.
            FloatingPointError: where a score is NaN, or one of the best k infinite.
        """
        k = min(check_count(k, "k"), len(self.vocabulary))
        exclude_clicked = check_flag(exclude_clicked, "exclude_clicked")
        self._check(items, offsets)
        device = self.model.item_embedding.weight.device
        items, offsets = items.to(device), offsets.to(device)
        encoded = self.model.encode(items, offsets, padded_length)
        table = self.model.item_embedding.weight[1:] if self._rounded_table is None else self._rounded_table
        before = torch.cat([offsets.new_zeros(1), (items != 0).cumsum(0)])[offsets]  # known clicks before each session
        excluded = (items[items != 0] - 1, before) if exclude_clicked else (None, None)
        scores, rows = ops.target_attention_topk(encoded, table, k, None, *excluded)
        # A score that is not a number sorts first, so that none can hide behind the best k.
        if not bool((torch.isfinite(scores) | (rows < 0)).all() & torch.isfinite(encoded.session).all()):
            raise FloatingPointError("scores: expected finite numbers, got NaN or infinity: training diverged")
        known = before.diff()
        nothing_known = (known == 0).unsqueeze(1)  # so there is nothing to exclude either
        return Recommendations(
            torch.where(nothing_known, self._popular[:k].to(device), rows + 1),
            torch.where(nothing_known, self._clicks[:k].to(device, scores.dtype), scores),
            known,
        )

    def _check(self, items: Tensor, offsets: Tensor) -> None:
        check_integer_vector(items, "items")
        check_integer_vector(offsets, "offsets")
        if items.numel():
            low, high = (int(bound) for bound in items.aminmax())
            if low < 0 or high > len(self.vocabulary):
                found = low if low < 0 else high
                raise ValueError(f"items: expected indices in 0..{len(self.vocabulary)}, got {found}")
        rises = offsets.numel() > 0 and int(offsets[0]) == 0 and int(offsets[-1]) == items.numel()
        if not rises or bool((offsets.diff() < 0).any()):
            raise ValueError(f"offsets: expected to rise from 0 to the number of clicks {items.numel()}, got others")

    def recommend(
        self, sessions: Sequence[Sequence[object]] | pa.Array, k: int = 20, exclude_clicked: bool = False
    ) -> pa.Table:
        """The best k items of each session, in raw ids; fewer where there are no k.

        Args:
            sessions: raw item ids of each session, oldest click first, as :meth:`Vocabulary.encode` takes them. Unknown
                ones are skipped. In an Arrow array of lists, null is a session without clicks.
            k: length of the lists, 1 or more.
            exclude_clicked: recommend to no session what it has clicked on.

        Returns:
            A row per recommendation: ``session`` (its number, int64), ``rank`` (from 1, int32), ``item`` (raw id),
            ``score`` (the model's, or clicks in training, float64), ``answer`` ("model", or "popularity" for sessions
            without a known item), ``skipped`` (unknown clicks of the session, int64).

        Raises:
            TypeError: on sessions that are no lists, ids of another type than the data set's, a k that is no int, or an
                `exclude_clicked` that is neither True nor False.
            ValueError: on a k below 1.
            FloatingPointError: where a score is NaN or infinite.
        """
        raw_ids, lengths = _flattened(sessions)
        items = torch.from_numpy(self.vocabulary.encode(raw_ids)).long()
        offsets = np.concatenate([[0], lengths.cumsum()]).astype(np.int64)
        parts = [
            self._recommend(items, torch.from_numpy(offsets[begin : end + 1]), begin, k, exclude_clicked)
            for begin, end in _batches(offsets)
        ]
        return pa.concat_tables(parts).combine_chunks()

    def _recommend(self, items: Tensor, offsets: Tensor, first: int, k: int, exclude_clicked: bool) -> pa.Table:
        """What `recommend` gives, for the sessions of these offsets, of which the first has that number."""
        items, offsets = items[int(offsets[0]) : int(offsets[-1])], offsets - offsets[0]
        best, scores, known = (value.cpu() for value in self.topk(items, offsets, k, exclude_clicked=exclude_clicked))
        session, place = (best > 0).nonzero(as_tuple=True)  # 0 where fewer than k are left
        answers = np.where(known.numpy() > 0, "model", "popularity").astype(object)
        return pa.table(
            {
                "session": (session + first).numpy(),
                "rank": (place + 1).int().numpy(),
                "item": self.vocabulary.decode(best[session, place].numpy()),
                "score": scores[session, place].double().numpy(),
                "answer": pa.array(answers[session.numpy()], pa.string()),
                "skipped": (offsets.diff() - known)[session].numpy(),
            }
        )

    def item_vectors(self) -> pa.Table:
        """The model's vector of each item, in the order of rows.

        Returns:
            ``item`` (raw id), ``vector`` (fixed-size list of float32), and ``title`` where the data set has titles.
        """
        vectors = self.model.item_embedding.weight[1:].detach().float().cpu().contiguous()
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
            A row per similar item: ``item`` (the one asked for), ``rank`` (from 1, int32), ``similar`` (raw id),
            ``cosine`` (float32, in steps of 2^-24). An item is not similar to itself; equal cosines stand in the order
            of items; that of a vector of zeros with any other is 0.

        Raises:
            TypeError: on ids of another type than the data set's, or a k that is no int.
            ValueError: on an unknown id, or a k below 1.
            FloatingPointError: where an item's vector is NaN or infinite.
        """
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
            best[part], cosines[part] = (value.numpy() for value in self._nearest(torch.from_numpy(rows[part]), k))
        return pa.table(
            {
                "item": self.vocabulary.decode(rows.repeat(k) + 1),
                "rank": np.tile(np.arange(1, k + 1, dtype=np.int32), len(rows)),
                "similar": self.vocabulary.decode(best.flatten() + 1),
                "cosine": cosines.flatten(),
            }
        )

    def _nearest(self, rows: Tensor, k: int) -> tuple[Tensor, Tensor]:
        """Rows most like each of some rows, int64, and the cosines, float32: (rows, k)."""
        table = self.model.item_embedding.weight[1:]
        asked = _unit(table[rows.to(table.device)])
        # Rounded, so that what is equal is so wherever it stands in a product, of which the last bits depend on that.
        blocks = [(asked @ _unit(block).T * _STEPS).round().div(_STEPS).float().cpu() for block in table.split(_BLOCK)]
        cosines = torch.cat(blocks, 1)  # (rows, items)
        if not bool(torch.isfinite(cosines).all()):
            raise FloatingPointError("item vectors: expected finite numbers, got NaN or infinity: training diverged")
        cosines.scatter_(1, rows.unsqueeze(1), -torch.inf)
        values, order = cosines.sort(dim=1, descending=True, stable=True)
        return order[:, :k], values[:, :k]


def _batches(offsets: np.ndarray) -> Iterator[tuple[int, int]]:
    """Begin and end of the sessions that are scored together: their number and their clicks bound the memory."""
    begin, sessions = 0, len(offsets) - 1
    while begin < sessions or begin == 0:
        fit = int(np.searchsorted(offsets, offsets[begin] + _CLICKS, "right")) - 1
        end = min(max(fit, begin + 1), begin + _SESSIONS, sessions)
        yield begin, end
        begin = max(end, 1)


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
    sessions = list(sessions)
    for place, session in enumerate(sessions):
        if isinstance(session, (str, bytes, Set, Mapping)) or not hasattr(session, "__len__"):
            found = f"{type(session).__name__} {reprlib.repr(session)}"
            raise TypeError(f"sessions: expected a list of item ids each, got {found} in sessions[{place}]")
    return chain.from_iterable(sessions), np.fromiter(map(len, sessions), np.int64, len(sessions))
