"""What the ops for item-item models and nearest neighbours compute, in plain PyTorch, session by session.

Nearest neighbours are found by looking at all training sessions: the index that the op is given is not used.
"""

import math
import operator
from functools import reduce
from typing import Optional

import torch
from torch import Tensor

from tagnn_fast.ops.session_neighbours import DECAYS


def item_item_topk(
    items: Tensor,
    offsets: Tensor,
    click_weights: Tensor,
    row_offsets: Tensor,
    columns: Tensor,
    values: Tensor,
    popular: Tensor,
    popularity_rank: Tensor,
    k: int,
    candidates: Optional[Tensor] = None,
    excluded: Optional[Tensor] = None,
    excluded_offsets: Optional[Tensor] = None,
) -> tuple[Tensor, Tensor]:
    """See :func:`tagnn_fast.ops.item_item_topk`."""
    count, sessions = popular.shape[0], offsets.shape[0] - 1
    clicks, rows = _bounds(offsets, items.shape[0]), row_offsets.clamp(0, columns.shape[0]).tolist()
    scores = torch.zeros((sessions, count), dtype=torch.float64)
    for session in range(sessions):
        for click in range(clicks[session], clicks[session + 1]):
            item = int(items[click])
            if not 1 <= item <= count:
                continue
            row = slice(rows[item - 1], rows[item])
            column, products = columns[row].long(), click_weights[click] * values[row].double()
            used = (column >= 0) & (column < count) & (products > 0)
            scores[session].index_add_(0, column[used], products[used])
    return _best(scores, popularity_rank, k, candidates, excluded, excluded_offsets)


def session_neighbours_topk(
    items: Tensor,
    offsets: Tensor,
    posting_offsets: Tensor,
    postings: Tensor,
    session_offsets: Tensor,
    session_items: Tensor,
    session_positions: Tensor,
    session_weights: Tensor,
    item_weights: Tensor,
    popular: Tensor,
    popularity_rank: Tensor,
    k: int,
    neighbours: int,
    sample: int,
    click_decay: int,
    click_scale: float,
    match_decay: int,
    match_scale: float,
    distance_scale: float,
    cosine: bool,
    candidates: Optional[Tensor] = None,
    excluded: Optional[Tensor] = None,
    excluded_offsets: Optional[Tensor] = None,
) -> tuple[Tensor, Tensor]:
    """See :func:`tagnn_fast.ops.session_neighbours_topk`; the training sessions must be well-formed."""
    count, trained = popular.shape[0], session_weights.shape[0]
    sizes = session_offsets.diff()
    places = torch.zeros((trained, count), dtype=torch.int64)  # of the last click on each item, from 1; 0 for none
    places[torch.arange(trained).repeat_interleave(sizes), session_items.long()] = session_positions.long()
    clicks = _bounds(offsets, items.shape[0])
    scores = torch.zeros((offsets.shape[0] - 1, count), dtype=torch.float64)
    for number, totals in enumerate(scores):
        rows = [item - 1 for item in items[clicks[number] : clicks[number + 1]].tolist() if 1 <= item <= count]
        length, last = len(rows), {row: place for place, row in enumerate(rows, 1)}
        own = sorted(last, key=lambda row: last[row])
        weights = [_click_weight(DECAYS[click_decay], click_scale, last[row], length) for row in own]
        # Added up one after the other: from Python 3.12 on, sum() compensates for roundings.
        square = reduce(operator.add, (weight * weight for weight in weights), 0.0)
        norm = math.sqrt(square) if cosine else float(len(own))

        found = (places[:, own] > 0).any(1).nonzero().flatten().flip(0)[:sample]  # most recent first
        similarity = torch.zeros(found.shape, dtype=torch.float64)
        for row, weight in zip(own, weights, strict=True):
            similarity[places[found, row] > 0] += weight
        similarity /= norm * sizes[found].double().sqrt() if cosine else norm
        similarity *= session_weights[found]
        found, similarity = found[similarity > 0], similarity[similarity > 0]
        nearest = similarity.argsort(descending=True, stable=True)[:neighbours].sort().values

        for session, likeness in zip(found[nearest].tolist(), similarity[nearest].tolist(), strict=True):
            shared = [row for row in own if places[session, row] > 0]
            match = _match_weight(DECAYS[match_decay], match_scale, length + 1 - last[shared[-1]])
            latest = max(int(places[session, row]) for row in shared)
            for row in places[session].nonzero().flatten().tolist():
                score = likeness
                if distance_scale > 0:
                    score *= math.exp(-abs(int(places[session, row]) - latest) / distance_scale)
                score = score * float(item_weights[row]) * match
                if score > 0:
                    totals[row] += score
    return _best(scores, popularity_rank, k, candidates, excluded, excluded_offsets)


def _click_weight(decay: str, scale: float, place: int, length: int) -> float:
    """What a click of the session weighs in the similarity."""
    match decay:
        case "div":
            return place / length
        case "linear":
            return max(0.0, 1 - 0.1 * (length - place))
        case "log":
            return 1 / math.log10(length - place + 1.7)
        case "quadratic":
            return (place / length) * (place / length)
        case "exponential":
            return math.exp(-(length - place) / scale)
    return 1.0


def _match_weight(decay: str, scale: float, steps: int) -> float:
    """What a neighbour weighs whose latest shared click is so many from the end, from 1."""
    match decay:
        case "div":
            return 1 / steps
        case "linear":
            return max(0.0, 1 - 0.1 * steps)
        case "log":
            return 1 / math.log10(steps + 1.7)
        case "quadratic":
            return 1 / (steps * steps)
        case "exponential":
            return math.exp(-(steps - 1) / scale)
    return 1.0


def _best(
    scores: Tensor,
    popularity_rank: Tensor,
    k: int,
    candidates: Optional[Tensor],
    excluded: Optional[Tensor],
    excluded_offsets: Optional[Tensor],
) -> tuple[Tensor, Tensor]:
    """The best k of all scores, (sessions, items), equal ones by popularity."""
    sessions = scores.shape[0]
    by_popularity = popularity_rank.argsort(stable=True)
    if candidates is not None:
        by_popularity = by_popularity[torch.isin(by_popularity, candidates)]
    best = torch.full((sessions, k), -torch.inf, dtype=torch.float64)
    rows = torch.full((sessions, k), -1)
    for session in range(sessions):
        allowed = by_popularity
        if excluded is not None and excluded_offsets is not None:
            ends = _bounds(excluded_offsets, excluded.shape[0])
            allowed = allowed[~torch.isin(allowed, excluded[ends[session] : ends[session + 1]])]
        values, order = scores[session, allowed].sort(descending=True, stable=True)
        found = min(k, order.shape[0])
        best[session, :found], rows[session, :found] = values[:found], allowed[order[:found]]
    return best, rows


def _bounds(offsets: Tensor, end: int) -> list[int]:
    """Offsets that neither fall nor leave 0..end."""
    return offsets.clamp(0, end).cummax(0).values.tolist() if offsets.numel() else []
