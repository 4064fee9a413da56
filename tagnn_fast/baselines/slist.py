"""SLIST: a linear item-item model in closed form."""

import math
import warnings
from typing import ClassVar

import torch
from torch import Tensor

from tagnn_fast.baselines.item_item import ItemItem, added, distinct_items, from_the_end, later_clicks, pairs_of_clicks
from tagnn_fast.baselines.recency import session_weights
from tagnn_fast.checks import check_count, check_number
from tagnn_fast.data.sessions import Sessions, offsets_of
from tagnn_fast.memory import NotEnoughMemoryError, available_memory
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.search_space import Choice, Real, SearchSpace

_BLOCK = 512  # rows of the model that are computed at once


class SLIST(ItemItem):
    """Session-aware linear item-item model (Choi et al., "Session-aware linear item-item models", WWW 2021, section 3).

    With weights w_s = exp(-age / recency_scale) of the training sessions s, B minimises

        a · Σ_s w_s ‖x_s - x̂_s B‖² + (1 - a) · Σ_s w_s Σ_t ‖y_st - z_st B‖² + r ‖B‖²

    where x_s are the distinct items of s, x̂_s the same divided by their number (SLIS); z_st is the click t of s alone,
    and y_st are the clicks that follow it, one that comes d clicks later weighing exp(-(d - 1) / target_scale) (SLIT,
    by the last click, as its authors configure it). A session scores by the sum of its clicks' rows of B, a click with
    c behind it weighing exp(-c / click_scale).

    The solution, (G + r I)⁻¹ R, is computed densely, by Cholesky: 4 · items² bytes and items³ operations, at 43,097
    items 7.4 GB and minutes. Of each row the highest `kept` entries above 0 remain.

    Args:
        config: sizes.
        similarity_share: a, in 0..1: 0 is SLIT, 1 is SLIS (without its bound on the diagonal).
        regularization: r, more than 0.
        target_scale: in clicks.
        recency_scale: in shares of the training period, see :class:`~tagnn_fast.baselines.neighbours.STAN`; 0: age does
            not matter.
        click_scale: in clicks.
        kept: entries of each row.
    """

    search_space: ClassVar[SearchSpace] = {
        "similarity_share": Choice([0.2, 0.4, 0.6, 0.8]),
        "regularization": Choice([3.0, 10.0, 30.0]),
        "target_scale": Choice([0.5, 1.0, 2.0, 4.0]),
        "recency_scale": Real(0.1, 4, log=True),
        "click_scale": Choice([0.5, 1.0, 2.0, 4.0, 8.0]),
    }

    def __init__(
        self,
        config: ModelConfig,
        *,
        similarity_share: float = 0.8,
        regularization: float = 10.0,
        target_scale: float = 1.0,
        recency_scale: float = 1.0,
        click_scale: float = 2.0,
        kept: int = 200,
    ) -> None:
        super().__init__(config)
        self.similarity_share = check_number(similarity_share, "similarity_share", 0, 1)
        self.regularization = check_number(regularization, "regularization", 1e-6)
        self.target_scale = check_number(target_scale, "target_scale", 1e-6)
        self.recency_scale = check_number(recency_scale, "recency_scale", 0)
        self.click_scale = check_number(click_scale, "click_scale", 1e-6)
        self.kept = check_count(kept, "kept")

    def click_weights(self, items: Tensor, offsets: Tensor) -> Tensor:
        """See the base class."""
        return (from_the_end(items, offsets).double() / -self.click_scale).exp()

    def learn(self, sessions: Sessions) -> None:
        """See the base class.

        Raises:
            NotEnoughMemoryError: where the dense matrix does not fit, before anything is computed.
            FloatingPointError: where the equations cannot be solved in float32.
        """
        self._check_memory()
        weights = session_weights(sessions, self.recency_scale)
        gram, (keys, values) = self._normal_equations(sessions, weights)
        factor = gram.mT  # symmetric: columns one after the other, as LAPACK wants them, on the same memory
        failed = torch.empty((), dtype=torch.int32)
        torch.linalg.cholesky_ex(factor, out=(factor, failed))
        if int(failed) > 0:
            raise FloatingPointError("regularization: expected more, so that the equations can be solved")
        inverse = torch.cholesky_inverse(factor, out=factor)  # (items, items)
        rows, columns = keys // self.num_items, keys % self.num_items
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Sparse", UserWarning)  # that the format is new
            right = torch.sparse_coo_tensor(torch.stack([columns, rows]), values, (self.num_items, self.num_items))
            self._keep(inverse, right.coalesce().to_sparse_csr())

    def _check_memory(self) -> None:
        needed = 4 * self.num_items**2 + 2 * 4 * self.num_items * _BLOCK
        available = available_memory()
        if needed > available:
            raise NotEnoughMemoryError(
                f"slist: expected {needed / 1e9:.1f} GB of free memory for a matrix of {self.num_items:,} × "
                f"{self.num_items:,} items, got {available / 1e9:.1f} GB"
            )

    def _normal_equations(self, sessions: Sessions, weights: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """G + r I, float32 (items, items), and R as keys, row · items + column, and values, float32."""
        share, items = self.similarity_share, self.num_items
        distinct = distinct_items(sessions, items)
        lengths = distinct.offsets.diff()
        of_session = torch.arange(len(sessions)).repeat_interleave(lengths)
        inputs = share * weights / lengths.clamp(min=1)  # of each pair, of which the first is divided by the length
        targets = pairs_of_clicks(distinct, items, inputs)
        grams = pairs_of_clicks(distinct, items, inputs / lengths.clamp(min=1))

        gram = torch.zeros(items, items)
        gram.view(-1).index_add_(0, grams[0], grams[1].float())
        of_itself = (distinct.clicks.long() - 1) * (items + 1)
        gram.view(-1).index_add_(0, of_itself, (inputs / lengths.clamp(min=1))[of_session].float())
        weights = (1 - share) * weights
        # Clicks that others follow, and pairs of them until a weight underflows to 0, as all of greater distance do.
        is_followed = torch.ones(sessions.clicks.shape[0], dtype=torch.bool)
        is_followed[sessions.offsets[1:] - 1] = False
        followed = sessions.clicks.long()[is_followed] - 1
        of_followed = weights.repeat_interleave(sessions.offsets.diff())[is_followed]
        gram.view(-1).index_add_(0, followed * (items + 1), of_followed.float())
        following = later_clicks(sessions, items, weights, lambda d: math.exp(-(d - 1) / self.target_scale))
        gram.diagonal().add_(self.regularization)
        keys = torch.cat([targets[0], of_itself, following[0]])
        values = torch.cat([targets[1], inputs[of_session], following[1]])
        keys, values = added(keys, values)
        return gram, (keys, values.float())

    def _keep(self, inverse: Tensor, right: Tensor) -> None:
        """Make the best entries of inverse · right, whose transpose is given, the model."""
        most = min(self.kept, self.num_items)
        counts, columns, values = [], [], []
        for begin in range(0, self.num_items, _BLOCK):
            rows = (right @ inverse[:, begin : begin + _BLOCK]).T.contiguous()  # (block, items)
            best, place = rows.topk(most, dim=1)
            kept = best > 0
            counts.append(kept.sum(1))
            columns.append(place[kept].int())
            values.append(best[kept])
        self.row_offsets = offsets_of(torch.cat(counts))
        self.columns, self.values = torch.cat(columns), torch.cat(values)
