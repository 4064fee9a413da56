"""From encoded sessions to lists: the model's best items, and the most popular where it knows nothing.

What a run's recommender and what is exported of it do alike. TorchScript compiles it, and torch.export follows it.
"""

from typing import NamedTuple, Optional

import torch
from torch import Tensor

from tagnn_fast import ops
from tagnn_fast.nn.repeats import Repeats, find, scores_of_each_row
from tagnn_fast.ops import library
from tagnn_fast.ops.graph import EncodedSessions, encoded_without_nodes


class RankedRows(NamedTuple):
    """Best rows of the item table for each session, best first; -1, of score -inf, where fewer are left.

    Attributes:
        rows: int64 (sessions, k), equal scores by row.
        scores: float (sessions, k); for a popular item its clicks in training.
        known_clicks: clicks of each session on known items, int64 (sessions,).
        finite: whether all of the model's own scores, and what it makes of sessions, are finite, bool ().
    """

    rows: Tensor
    scores: Tensor
    known_clicks: Tensor
    finite: Tensor


def best_rows(
    encoded: EncodedSessions,
    table: Tensor,
    counts: Tensor,
    popular: Tensor,
    items: Tensor,
    offsets: Tensor,
    k: int,
    candidates: Optional[Tensor],
    own: Optional[Tensor],
    excluded: Optional[Tensor],
    screen: Optional[Tensor] = None,
    repeats: Optional[Repeats] = None,
) -> RankedRows:
    """The best k rows of the table for each session.

    Args:
        encoded: the sessions.
        table: item vectors, float (items, hidden).
        counts: clicks on each item in training, float64 (items,).
        popular: all rows, most clicked first, int64 (items,).
        items: item indices of all clicks, int64 (clicks,); 0 is an unknown item.
        offsets: first click of each session and the end of the last, int64 (sessions + 1,).
        k: length of the lists.
        candidates: the only rows to choose from, int64 (any,), in any order; those outside the table do not matter.
        own: a row for each click that its session must not get, int64 (clicks,); -1 for none.
        excluded: rows that no session must get, int64 (any,).
        screen: of the table, see :func:`tagnn_fast.ops.item_screen`; None to do without.
        repeats: what is added to the scores of items that sessions have clicked; None for nothing.
    """
    left_out, ends = left_out_rows(offsets, own, excluded)
    scores, rows = topk(encoded, table, k, candidates, left_out, ends, screen, repeats)
    best = popular_where_unknown(scores, rows, counts, popular, items, offsets, k, candidates, excluded)
    return RankedRows(best.rows, best.scores, best.known_clicks, best.finite & encoded.session.isfinite().all())


def topk(
    encoded: EncodedSessions,
    table: Tensor,
    k: int,
    candidates: Optional[Tensor],
    left_out: Optional[Tensor],
    ends: Optional[Tensor],
    screen: Optional[Tensor],
    repeats: Optional[Repeats],
) -> tuple[Tensor, Tensor]:
    """As :func:`tagnn_fast.ops.target_attention_topk`, with what is added to the scores of items clicked before.

    The lists are those of all other items, which the op finds, with the clicked ones put in.
    """
    if repeats is None:
        return ops.target_attention_topk(encoded, table, k, candidates, left_out, ends, screen)
    if library.native_on_cpu(table):
        return ops.target_attention_topk(
            encoded, table, k, candidates, left_out, ends, screen, repeats.rows, repeats.logits
        )
    width, sessions = table.shape[0], repeats.rows.shape[0]
    session = torch.arange(sessions, device=table.device).unsqueeze(1)
    cells = torch.where(repeats.rows >= 0, session * width + repeats.rows, -1)
    allowed = repeats.rows >= 0
    if candidates is not None:
        allowed = allowed & find(repeats.rows, candidates)[1]
    if left_out is not None and ends is not None:
        owner = torch.searchsorted(ends, _numbers(left_out), right=True) - 1
        inside = (left_out >= 0) & (left_out < width)
        allowed = allowed & ~find(cells, torch.where(inside, owner * width + left_out, -1))[1]
        others, ends = left_out_rows(ends, left_out, repeats.rows)
    else:
        others, ends = left_out_rows(torch.arange(sessions + 1, device=table.device), None, repeats.rows)
    scores, rows = ops.target_attention_topk(encoded, table, k, candidates, others, ends, screen)
    clicked = (scores_of_each_row(encoded, table, repeats.rows) + repeats.logits).detach()
    scores = torch.cat([scores, clicked.to(scores.dtype).masked_fill(~allowed, -torch.inf)], 1)
    rows, order = torch.cat([rows, torch.where(allowed, repeats.rows, -1)], 1).sort(dim=1, stable=True)
    scores, by_score = scores.gather(1, order).sort(dim=1, descending=True, stable=True)  # equal scores by row
    return scores[:, :k], rows.gather(1, by_score)[:, :k]


def popular_where_unknown(
    scores: Tensor,
    rows: Tensor,
    counts: Tensor,
    popular: Tensor,
    items: Tensor,
    offsets: Tensor,
    k: int,
    candidates: Optional[Tensor],
    excluded: Optional[Tensor],
) -> RankedRows:
    """A model's lists, float and int64 (sessions, k), but the most popular items for a session without a known click.

    The other arguments are those of :func:`best_rows`.
    """
    known = known_clicks(items, offsets)
    # A score that is not a number sorts first, so that none can hide behind the best k.
    finite = (scores.isfinite() | (rows < 0)).all()
    nothing_known = (known == 0).unsqueeze(1)  # so there is nothing of its own to exclude either
    if _any(nothing_known):
        popular_scores, popular_rows = most_popular(counts, popular, k, candidates, excluded)
        scores = torch.where(nothing_known, popular_scores.to(scores.dtype), scores)
        rows = torch.where(nothing_known, popular_rows, rows)
    return RankedRows(rows, scores, known, finite)


def known_clicks(items: Tensor, offsets: Tensor) -> Tensor:
    """Clicks of each session on known items, int64 (sessions,)."""
    return torch.cat([offsets[:1], (items != 0).cumsum(0)])[offsets].diff()  # offsets[0] is 0


def zero_where_unknown(scores: Tensor, items: Tensor, offsets: Tensor) -> Tensor:
    """Scores, float (sessions, any), but 0 for a session without a known click, of which a bias alone would speak."""
    return torch.where((known_clicks(items, offsets) > 0).unsqueeze(1), scores, 0.0)


def most_popular(
    counts: Tensor, popular: Tensor, k: int, candidates: Optional[Tensor], excluded: Optional[Tensor]
) -> tuple[Tensor, Tensor]:
    """Clicks, float64, and rows, int64, of the most clicked k items, both (1, k): one session that scores by them."""
    ends: Optional[Tensor] = None
    reach = k
    if excluded is not None:
        ends = torch.arange(2, device=counts.device) * excluded.shape[0]
        reach = k + excluded.shape[0]
    if candidates is None:  # so many are enough, whatever is excluded; -1 is no row
        place, last = torch.arange(reach, device=counts.device), popular.shape[0] - 1
        candidates = torch.where(place <= last, popular[place.clamp(max=last)], -1)
    table = counts.unsqueeze(1)
    return ops.target_attention_topk(
        encoded_without_nodes(torch.ones_like(table[:1])), table, k, candidates, excluded, ends
    )


def left_out_rows(
    offsets: Tensor, own: Optional[Tensor], excluded: Optional[Tensor]
) -> tuple[Optional[Tensor], Optional[Tensor]]:
    """Rows that each session must not get, session after session, and where each session's begin and the last's end.

    The arguments are those of :func:`best_rows`; None where there are neither. `excluded` may be of each session, int64
    (sessions, any).
    """
    if excluded is None:
        return own, offsets if own is not None else None
    sessions, each = torch.arange(offsets.shape[0], device=offsets.device), excluded.shape[-1]
    ends = offsets + sessions * each
    excluded = excluded.repeat(offsets.shape[0] - 1) if excluded.dim() == 1 else excluded.flatten()
    if own is None:
        return excluded, sessions * each
    clicks = _numbers(own)
    session = torch.searchsorted(offsets, clicks, right=True)  # from 1
    places = ends[:-1].unsqueeze(1) + torch.arange(each, device=offsets.device)
    places = torch.cat([places.flatten(), clicks + session * each])
    rows = torch.cat([excluded, own])
    return torch.zeros_like(rows).scatter(0, places, rows), ends


def _numbers(values: Tensor) -> Tensor:
    """0, 1, 2 and so on: not of a size, which may be a sum, and programs cannot store those."""
    return torch.ones_like(values).cumsum(0) - 1


def _any(flags: Tensor) -> bool:
    """Whether one is true; yes in a program, which cannot look at values while it is made."""
    if not torch.jit.is_scripting():
        return torch.compiler.is_compiling() or bool(flags.any())
    return bool(flags.any())
