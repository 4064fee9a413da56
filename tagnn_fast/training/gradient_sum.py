"""Gradients of a step, summed over the processes that have a share of its examples each."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.parallel.collectives import gather_parts, largest
from tagnn_fast.parallel.processes import Processes


class GradientSum:
    """Makes the gradients of all processes those of the whole batch.

    The item table has two: from the scores of all items, which is dense and known first, and from the vectors of the
    clicked items, which is known last and has few rows. Where they are one parameter's, nothing of it is known before
    the end. So scores get the table as a leaf of its own, whose gradient is on its way while the encoder's is computed;
    rows of clicked items follow at the end, with all other parameters.

    Args:
        model: whose parameters they are.
        processes: all of them; each has the same model.
    """

    def __init__(self, model: SessionModel, processes: Processes) -> None:
        self.model, self.processes = model, processes
        model.item_embedding.sparse = True  # gradients of its look-ups are rows, not tables
        self._work: Any = None

    def begin(self) -> Tensor:
        """Item vectors for all losses of a step, float (num_items, hidden)."""
        self._vectors = self.model.item_vectors()
        self._table: Tensor = self._vectors.detach().requires_grad_(self._vectors.requires_grad)
        self._work = None
        return self._table

    def begin_last_part(self) -> None:
        """The next backward pass is the step's last: sum the gradient of the table as soon as it is there."""
        if self._table.requires_grad:
            self._table.register_post_accumulate_grad_hook(self._send)

    def _send(self, table: Tensor) -> None:
        self._work = dist.all_reduce(table.grad, async_op=True)

    @torch.no_grad()
    def finish(self, loss: Tensor) -> Tensor:
        """Sum all gradients, and what this process's examples add to the loss; gives that sum, a scalar."""
        weight = self.model.item_embedding.weight
        looked_up, weight.grad = weight.grad, None
        gradients = [value.grad for value in self.model.parameters() if value.grad is not None]
        message = torch.cat([*(gradient.flatten() for gradient in gradients), loss.reshape(1)])
        self.processes.sum(message)
        *sums, total = message.split([*(gradient.numel() for gradient in gradients), 1])
        for gradient, value in zip(gradients, sums, strict=True):
            gradient.copy_(value.view_as(gradient))
        if self._work is not None:
            self._work.wait()
            self._vectors.backward(self._table.grad)
        if looked_up is not None:
            rows = self._sum_of_rows(looked_up) if looked_up.is_sparse else self.processes.sum(looked_up)
            weight.grad = rows if weight.grad is None else weight.grad.add_(rows)
        result: Tensor = total.squeeze(0)
        return result

    def _sum_of_rows(self, gradient: Tensor) -> Tensor:
        """The sum of gradients that have rows of the table, as a table; in one order, whatever the device."""
        items, rows = gradient._indices().squeeze(0), gradient._values()
        (room,) = largest([items.shape[0]], torch.device("cpu"), None)
        (items,) = gather_parts([items], [room], None)
        (rows,) = gather_parts([rows], [room], None)
        result: Tensor = torch.ops.aten.embedding_dense_backward(rows, items, gradient.shape[0], -1, False)
        return result
