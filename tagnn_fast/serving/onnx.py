"""A model in ONNX, made of the ops' plain definitions: slow, and for any runtime. It holds no op of this package."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tagnn_fast.extras import needed_by
from tagnn_fast.nn.ranker import NetworkRanker
from tagnn_fast.nn.ranking import known_clicks, most_popular
from tagnn_fast.ops.library import plain_definitions
from tagnn_fast.serving.serving_model import ServingModel

OPSET = 18
_INT64 = 7  # of TensorProto.DataType
_LARGEST_FILE = 1 << 30  # bytes; the format cannot hold more than 2^31 in one file, larger weights lie beside it


class PortableLists(nn.Module):
    """Lists of k items for sessions of raw ids, or of item indices where those are strings.

    Args:
        model: what answers; of a network.
        k: length of the lists.
    """

    popular_scores: Tensor
    popular_rows: Tensor

    def __init__(self, model: ServingModel, k: int) -> None:
        super().__init__()
        ranker: NetworkRanker = model.ranker
        self.model, self.k = model, k
        scores, rows = most_popular(ranker.counts, ranker.popular, k, None, None)
        held = {
            "popular_scores": scores.to(ranker.model.item_embedding.weight.dtype),
            "popular_rows": rows,
        }
        for name, value in held.items():
            self.register_buffer(name, value)

    def forward(self, items: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Items, scores and status as :meth:`ServingModel.forward`, of k items from all; offsets are not checked."""
        # With a click behind the last session, to skip: what finds nothing to look up fails in other runtimes.
        indices = torch.cat([self._known(items), offsets.new_zeros(1)])
        ranker: NetworkRanker = self.model.ranker
        encoded = ranker.encode(indices, offsets)
        scores, rows = ranker.scores(encoded, indices, offsets, None).topk(self.k)  # (sessions, k)
        known = known_clicks(indices, offsets)
        nothing = (known == 0).unsqueeze(1)
        rows = torch.where(nothing, self.popular_rows, rows)
        scores = torch.where(nothing, self.popular_scores, scores)
        return self.model.answer(rows, scores, known, offsets)

    def _known(self, items: Tensor) -> Tensor:
        """Item indices, 0 for unknown ones, by bisection."""
        ids, count = self.model.sorted_ids, self.model.num_items
        place = torch.zeros_like(items)
        step = 1 << (count.bit_length() - 1)
        while step:  # the last place whose id is not above
            further = (place + step).clamp(max=count - 1)
            place = torch.where(ids[further] <= items, further, place)
            step >>= 1
        return torch.where(ids[place] == items, self.model.sorted_items[place], 0)


@needed_by("export")
def export_onnx(model: ServingModel, k: int, path: Path) -> None:
    """Write a network in ONNX.

    Raises:
        ValueError: on a baseline or a blend, which have no such definition, or "published" semantics.
    """
    if not isinstance(model.ranker, NetworkRanker):
        raise ValueError("formats: expected no onnx for a baseline or a blend, which is no network, got one")
    if model.ranker.model.padded_length is not None:
        raise ValueError("formats: expected no onnx in 'published' semantics, got them")
    items, offsets = torch.tensor([1, 2, 3, 4, 5]), torch.tensor([0, 2, 4, 5])
    sizes = {0: torch.export.Dim("clicks", min=0)}, {0: torch.export.Dim("ends", min=2)}
    names = ["indices" if model.has_strings else "items", "offsets"]
    large = sum(value.nbytes for value in model.state_dict().values()) > _LARGEST_FILE
    with torch.no_grad(), plain_definitions(), _without_notices():
        program = torch.onnx.export(
            PortableLists(model, k).eval(),
            (items, offsets),
            dynamo=True,
            input_names=names,
            output_names=["recommended", "scores", "status"],
            dynamic_shapes=sizes,
            opset_version=OPSET,
            custom_translation_table={torch.ops.aten.searchsorted.Tensor: _searchsorted},
            verbose=False,
        )
    assert program is not None  # which it is where no path is given
    program.save(str(path), external_data=large)


def _searchsorted(
    ordered: Any, values: Any, out_int32: bool = False, right: bool = False, side: None = None, sorter: None = None
) -> Any:
    """ONNX has none: how many of the ordered are below each value, both of one dimension."""
    from onnxscript import opset18

    op: Any = opset18
    row = op.Unsqueeze(ordered, op.Constant(value_ints=[0]))
    column = op.Unsqueeze(values, op.Constant(value_ints=[1]))
    below = op.LessOrEqual(row, column) if right else op.Less(row, column)
    return op.ReduceSum(op.Cast(below, to=_INT64), op.Constant(value_ints=[1]), keepdims=0)


@contextmanager
def _without_notices() -> Iterator[None]:
    """The exporter says which operators of other libraries it does not know."""
    logger = logging.getLogger("torch.onnx._internal.exporter._registration")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)
