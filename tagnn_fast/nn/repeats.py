"""Items that a session has already clicked: a logit of their own, on top of what the network gives them."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from tagnn_fast import ops
from tagnn_fast.nn.session_sums import session_of_slots, session_softmax, session_sums, to_slots
from tagnn_fast.ops.graph import EncodedSessions

PLACES = 10  # the last clicks of a session, whose items get a logit
COUNTS = 4  # one click among these, two, three, and more


class Repeats(NamedTuple):
    """What is added to the scores of items that sessions have clicked.

    Attributes:
        rows: of the item table, int64 (sessions, 10): the item whose last click has that place from the end; -1 where
            there is no such click.
        logits: to be added to its score, float (sessions, 10); 0 where there is none.
    """

    rows: Tensor
    logits: Tensor


class RepeatLogits(nn.Module):
    """score_bj + r[c, p] for an item j that session b clicked c times among its last 10, at place p from the end last.

    A fifth to a quarter of what people click next they have clicked before, the last items most, and whether they come
    back to an item depends on how often and how long ago they did. RepeatNet (Ren et al., AAAI 2019, section 3.3) has a
    decoder of its own for that; here it is one learned logit for each count, up to 4, and each place, 40 in all, which
    are zeros to begin with.
    """

    settled_logits: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.places, self.counts = PLACES, COUNTS
        self.logits = nn.Parameter(torch.empty(COUNTS * PLACES))  # (40,), a vector: it need not decay
        self.is_settled = False
        self.register_buffer("settled_logits", torch.zeros(COUNTS * PLACES + 1), persistent=False)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Zeros: no item is treated in another way than the rest."""
        nn.init.zeros_(self.logits)

    @torch.jit.ignore
    def settle(self) -> None:
        """Keep the logits as they are looked up, for answers only."""
        self.is_settled = True
        self.settled_logits.copy_(self._with_none())

    def _with_none(self) -> Tensor:
        """With a 0 behind them, which -1 finds: float (41,)."""
        return nn.functional.pad(self.logits, (0, 1))

    def forward(self, items: Tensor, offsets: Tensor) -> Repeats:
        """What is added, for items int64 (clicks,), 0 for one to skip, and offsets int64 (sessions + 1,)."""
        rows, cells = ops.session_repeats(items, offsets, self.places, self.counts)  # (sessions, 10)
        logits = self.settled_logits if self.is_settled else self._with_none()
        return Repeats(rows, logits[cells])


def scores_of_each_row(encoded: EncodedSessions, table: Tensor, rows: Tensor) -> Tensor:
    """Scores of some items for each session, float (sessions, any): what target attention gives them.

    Args:
        encoded: the sessions.
        table: item vectors, float (items, hidden).
        rows: of the table, int64 (sessions, any); any score for those outside of it.
    """
    slots = encoded.keys.shape[0]
    vectors = nn.functional.embedding(rows.clamp(0, table.shape[0] - 1), table)  # (sessions, any, hidden)
    session = session_of_slots(encoded.slot_offsets, slots)
    of_slots = to_slots(vectors.flatten(1), session).view(slots, rows.shape[1], vectors.shape[2])
    return _attended(
        encoded,
        (vectors * encoded.session.unsqueeze(1)).sum(2),  # (sessions, any)
        (of_slots * encoded.keys.unsqueeze(1)).sum(2),  # (slots, any)
        (of_slots * encoded.values.unsqueeze(1)).sum(2),  # (slots, any)
    )


def scores_of_same_rows(encoded: EncodedSessions, vectors: Tensor) -> Tensor:
    """The same of items that are the same for all sessions, float (any, hidden): float (sessions, any)."""
    items = vectors.T  # (hidden, any)
    return _attended(encoded, encoded.session @ items, encoded.keys @ items, encoded.values @ items)


def _attended(encoded: EncodedSessions, own: Tensor, logits: Tensor, products: Tensor) -> Tensor:
    """Scores by session vectors, float (sessions, any), with what attention adds to each, of floats (slots, any)."""
    session, sessions = session_of_slots(encoded.slot_offsets, logits.shape[0]), own.shape[0]
    weights = session_softmax(logits, encoded.click_counts, encoded.padding, session, sessions)
    return own + session_sums(weights * encoded.click_counts.unsqueeze(1) * products, session, sessions)


def losses_with_repeats(
    losses: Tensor, encoded: EncodedSessions, table: Tensor, targets: Tensor, repeats: Repeats
) -> Tensor:
    """Cross-entropy with these logits, float (sessions,), from the cross-entropy without.

    With L = log Σ_j exp(s_j), p_u = exp(s_u - L) and logits r_u, log Σ_j exp(s_j + r_j) is L + log(1 - Σ_u p_u +
    Σ_u p_u exp(r_u)), whose sums have the session's own items alone. Scores here are not rounded as those of the
    kernels, which may take bfloat16 products: p are shares of 1 nevertheless, of which a rounding error at least is
    left to all other items, so that the logarithm is finite however low the logits.

    Args:
        losses: L - s_target, float (sessions,).
        encoded: the sessions.
        table: item vectors, float (items, hidden).
        targets: rows of the table, int64 (sessions,).
        repeats: of the sessions.
    """
    scores = scores_of_each_row(encoded, table, torch.cat([repeats.rows, targets.unsqueeze(1)], 1))
    known = repeats.rows >= 0
    shares = scores[:, :-1] - scores[:, -1:] - losses.unsqueeze(1)
    shares = torch.where(known, shares, -torch.inf)  # their logarithms
    together = shares.exp().sum(1, keepdim=True)
    shares = shares - together.clamp(min=1).log()
    others = (1 - together).clamp(min=torch.finfo(together.dtype).eps).log()
    change = torch.cat([others, shares + repeats.logits], 1).logsumexp(1)
    return losses + change - logits_of_targets(repeats, targets)


def logits_of_targets(repeats: Repeats, targets: Tensor) -> Tensor:
    """What is added to the score of one item of each session, by rows int64 (sessions,): float (sessions,)."""
    is_target = (repeats.rows >= 0) & (repeats.rows == targets.unsqueeze(1))  # (sessions, 10)
    return torch.where(is_target, repeats.logits, 0.0).sum(1)


def scores_with_repeats(scores: Tensor, repeats: Repeats) -> Tensor:
    """Scores of all items, float (sessions, items), with these logits added to theirs."""
    return scores.scatter_add(1, repeats.rows.clamp(min=0), repeats.logits.to(scores.dtype))


def some_scores_with_repeats(scores: Tensor, columns: Tensor, repeats: Repeats) -> Tensor:
    """The same for scores of some items alone, float (sessions, any), rows of the table being int64 (any,)."""
    place, found, ordered = find(repeats.rows, columns)
    added = torch.zeros((scores.shape[0], ordered.shape[0]), dtype=scores.dtype, device=scores.device)
    added = added.scatter_add(1, place, torch.where(found, repeats.logits.to(scores.dtype), 0.0))
    return scores + added[:, torch.searchsorted(ordered, columns)]


def find(values: Tensor, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where values stand among others that are put in order: no size or branch depends on any, as in ``torch.isin``.

    Args:
        values: int64, of any shape.
        given: int64 (any,), below 2^62.

    Returns:
        The first place of each value or a greater one, and whether it is there, both of the values' shape; and the
        given ones in order, with one more behind them, int64 (any + 1,).
    """
    ordered = torch.cat([given, given.new_full((1,), 1 << 62)]).sort().values
    place = torch.searchsorted(ordered, values.contiguous())
    return place, ordered[place] == values, ordered
