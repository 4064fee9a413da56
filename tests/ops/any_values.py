"""Integers that no session has, for ops that must stay in their bounds whatever they get."""

from __future__ import annotations

import torch
from hypothesis import strategies as st
from torch import Tensor

INTEGERS = st.one_of(st.integers(-3, 10), st.integers(-(2**63), 2**63 - 1))


def any_tensor(data: st.DataObject, device: str, *shape: int) -> Tensor:
    """An int64 tensor of any values, those near valid indices more often."""
    size = torch.Size(shape).numel()
    values = data.draw(st.lists(INTEGERS, min_size=size, max_size=size))
    return torch.tensor(values, dtype=torch.int64, device=device).reshape(shape)
