"""Session-based nearest neighbours: items by the training sessions that are most like a session."""

from __future__ import annotations

from typing import Any, Optional

import torch
from torch import Tensor

DECAYS = ("same", "div", "linear", "log", "quadratic", "exponential")  # by the number that the op knows them by


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
    """The best k items of each session by its nearest training sessions; without gradient, on the CPU.

    A session of l clicks has distinct items i, whose last clicks stand at p_i in 1..l. Of the training sessions n that
    share an item with it, the `sample` most recent are candidates. Their similarity, sums in order of p_i, is

        sim(n) = session_weights[n] · Σ_{i shared} w(p_i, l) / norm

    where norm is the number of its distinct items or, with `cosine`, √(Σ_i w(p_i, l)²) · √(distinct items of n). The
    `neighbours` most similar of those above 0, equal ones by recency, score each of their items, most recent neighbour
    first:

        score_j += sim(n) · exp(-|q_j - q*| / distance_scale) · item_weights[j] · m(s)

    with q_j the place of the last click on j in n, q* the largest such place of a shared item, and s in 1..l how many
    clicks from the end the last click on a shared item is; without distance where distance_scale is 0.

    Decays, by their place in DECAYS (Ludewig & Jannach 2018; Garg et al. 2019), as w(p, l) and m(s): same 1 and 1; div
    p / l and 1 / s; linear max(0, 1 - (l - p) / 10) and max(0, 1 - s / 10); log 1 / log10(l - p + 1.7) and
    1 / log10(s + 1.7); quadratic (p / l)² and 1 / s²; exponential exp((p - l) / scale) and exp(-(s - 1) / scale).

    What is not above 0 counts as 0. Equal scores stand by popularity: behind those above 0 come all other items, which
    score 0.

    Args:
        items: item indices of all clicks, int64 (clicks,); an index outside 1..items is a click to skip.
        offsets: first click of each session and the end of the last, int64 (sessions + 1,).
        posting_offsets: first of each item's postings and the end of the last, int64 (items + 1,).
        postings: training sessions that have the item, most recent (highest) first, at least `sample` of them where
            there are so many, int32 (postings,).
        session_offsets: first entry of each training session and the end of the last, int64 (training sessions + 1,).
        session_items: its distinct items, from 0, int32 (entries,).
        session_positions: place of the last click on each in the session, from 1, int32 (entries,).
        session_weights: of each training session's similarity, float64 (training sessions,).
        item_weights: of each item's score, float64 (items,).
        popular: all items from 0, most popular first, int64 (items,).
        popularity_rank: the place of each item there, int32 (items,). Of items that score 0, those that do not stand
            there are left out where there are no candidates, so that none is listed twice.
        k: length of the lists.
        neighbours: how many sessions vote.
        sample: how many are compared.
        click_decay: w.
        click_scale: of w where it is exponential.
        match_decay: m.
        match_scale: of m where it is exponential.
        distance_scale: see above.
        cosine: see above.
        candidates: see :func:`tagnn_fast.ops.target_attention_topk` for this and the others.
        excluded: the same.
        excluded_offsets: the same.

    Returns:
        Scores, float64, and items from 0, int64, both (sessions, k). Where fewer than k are left, the rest are -inf
        and -1.

    Raises:
        RuntimeError: on a wrong shape, dtype or device, or an option out of range.
    """
    return torch.ops.tagnn_fast.session_neighbours_topk(  # type: ignore[no-any-return]
        items, offsets, posting_offsets, postings, session_offsets, session_items, session_positions, session_weights,
        item_weights, popular, popularity_rank, k, neighbours, sample, click_decay, click_scale, match_decay,
        match_scale, distance_scale, cosine, candidates, excluded, excluded_offsets,
    )  # fmt: skip


@torch.library.register_fake("tagnn_fast::session_neighbours_topk")
def _(items: Tensor, offsets: Tensor, *rest: Any) -> tuple[Tensor, Tensor]:
    session_weights, k = rest[5], rest[9]
    shape = (offsets.shape[0] - 1, k)
    return session_weights.new_empty(shape), items.new_empty(shape)
