"""Items that stand together in training sessions lend each other their vectors."""

from typing import Any, Optional

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

NEIGHBOURS = 12  # of an item, those that stand beside it most often
WINDOW = 3  # clicks, before and after


class NeighbourTable(nn.Module):
    """The items that most often stand beside each item in training sessions.

    Row i has the 12 items that most often stand within 3 clicks of item i in a session, before or after it, equal ones
    by item (the graph of GCE-GNN: Wang et al., SIGIR 2020, section 3.2); their shares are their counts, divided by the
    row's sum. Where there are fewer, an item is its own neighbour, with a share of 0.

    Args:
        num_items: size of the catalogue.
    """

    items: Tensor
    shares: Tensor

    def __init__(self, num_items: int) -> None:
        super().__init__()
        # An item of its own in each free place: no row of the transpose is long.
        own = torch.arange(num_items + 1).unsqueeze(1)
        self.register_buffer("items", own.repeat(1, NEIGHBOURS))
        self.register_buffer("shares", torch.zeros(num_items + 1, NEIGHBOURS))

    @torch.jit.unused
    def learn(self, clicks: Tensor, offsets: Tensor) -> None:
        """Count what stands together in sessions of item ids, integers (clicks,), offsets int64 (sessions + 1,)."""
        items, shares = most_common_neighbours(clicks.long(), offsets, self.items.shape[0])
        self.items.copy_(items)
        self.shares.copy_(shares)


class GlobalNeighbours(NeighbourTable):
    """V + λ A V, for item vectors V and the matrix A of the neighbours' shares.

    (Wang et al. weigh neighbours by attention to the session, as :class:`NeighbourAttention` does; here counts weigh
    them, and an item's vector is the same in all sessions.)

    Args:
        num_items: size of the catalogue.
        weight: λ.
    """

    def __init__(self, num_items: int, weight: float) -> None:
        super().__init__(num_items)
        self.weight = weight
        self._transposed: Any = None  # made where it is needed, and of which items

    def forward(self, vectors: Tensor, items: Optional[Tensor] = None) -> Tensor:
        """Rows of V + λ A V for all of V, float (num_items + 1, hidden), or for item ids, int64 (any,)."""
        if items is not None:
            return vectors[items] + self.weight * _sums(vectors, self.items[items], self.shares[items])
        if not torch.jit.is_scripting() and _takes_gradient(vectors):
            return vectors + self.weight * self._product(vectors)
        return vectors + self.weight * _sums(vectors, self.items, self.shares)

    @torch.jit.unused
    def _product(self, vectors: Tensor) -> Tensor:
        known = self.items.data_ptr(), self.items._version
        if self._transposed is None or self._transposed[0] != known:
            self._transposed = known, _transpose(self.items, self.shares)
        product: Tensor = _Product.apply(vectors, self.items, self.shares, self._transposed[1])  # type: ignore[no-untyped-call]
        return product


@torch.jit.unused
def _takes_gradient(vectors: Tensor) -> bool:
    return vectors.requires_grad and torch.is_grad_enabled() and not torch.compiler.is_compiling()


def _sums(vectors: Tensor, items: Tensor, shares: Tensor) -> Tensor:
    """A V for some rows of A, without the neighbours' vectors in memory: float (rows, hidden)."""
    return nn.functional.embedding_bag(items, vectors, mode="sum", per_sample_weights=shares.to(vectors.dtype))


def _transpose(items: Tensor, shares: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Aᵀ: the rows that have an item, int64 (rows · 12,), where each item's begin, int64 (rows,), and their shares."""
    ordered, order = items.flatten().sort(stable=True)
    starts = torch.searchsorted(ordered, torch.arange(items.shape[0], device=items.device))
    return order // NEIGHBOURS, starts, shares.flatten()[order]


class _Product(torch.autograd.Function):
    """A V, whose gradient is the same kind of product with Aᵀ: PyTorch's own sorts all entries at each step."""

    @staticmethod
    def forward(
        ctx: Any, vectors: Tensor, items: Tensor, shares: Tensor, transposed: tuple[Tensor, Tensor, Tensor]
    ) -> Tensor:
        ctx.transposed = transposed
        return _sums(vectors, items, shares)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Optional[Tensor], ...]:
        rows, starts, shares = ctx.transposed
        weights = shares.to(grad.dtype)
        return nn.functional.embedding_bag(rows, grad, starts, mode="sum", per_sample_weights=weights), None, None, None


def most_common_neighbours(clicks: Tensor, offsets: Tensor, rows: int) -> tuple[Tensor, Tensor]:
    """The neighbours of each item, int64, and their shares, float32: both (rows, 12).

    Where there are fewer, they are the item itself, with a share of 0.

    Args:
        clicks: item of each click, int64 (clicks,); 0 is none.
        offsets: first click of each session and the end of the last, int64 (sessions + 1,).
        rows: items and one more, of item 0, which has no neighbours.
    """
    session = torch.arange(offsets.shape[0] - 1, device=clicks.device).repeat_interleave(offsets.diff())
    pairs = []
    for distance in range(1, WINDOW + 1):
        first, second = clicks[:-distance], clicks[distance:]
        together = (session[:-distance] == session[distance:]) & (first != second) & (first > 0) & (second > 0)
        first, second = first[together], second[together]
        pairs += [first * rows + second, second * rows + first]
    keys, counts = torch.cat(pairs).unique(return_counts=True)  # by item, then by neighbour
    order = counts.argsort(descending=True, stable=True)
    order = order[(keys[order] // rows).argsort(stable=True)]
    item = keys[order] // rows
    starts = torch.cat([item.new_zeros(1), torch.bincount(item, minlength=rows).cumsum(0)])
    place = torch.arange(item.numel(), device=clicks.device) - starts[item]
    kept = place < NEIGHBOURS
    item, place, order = item[kept], place[kept], order[kept]
    items = torch.arange(rows, device=clicks.device).unsqueeze(1).repeat(1, NEIGHBOURS)
    shares = torch.zeros(rows, NEIGHBOURS, device=clicks.device)
    items[item, place] = keys[order] % rows
    shares[item, place] = counts[order].float()
    return items, shares / shares.sum(1, keepdim=True).clamp(min=1)
