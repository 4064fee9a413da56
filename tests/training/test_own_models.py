"""A network of one's own is trained as the package's are, with parameters that are not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tagnn_fast.nn import SRGNN, ModelConfig, register_architecture
from tagnn_fast.nn.architectures import ARCHITECTURES
from tagnn_fast.runs.run import open_run
from tagnn_fast.training.loop import Interrupted, train
from tests.training.test_loop import DATASET, StopAfter, assert_same_outcome, new_run


class FixedItems(SRGNN):
    """Item vectors stay as they are drawn, times a scale."""

    def __init__(self, config: ModelConfig, scale: float = 1.0) -> None:
        super().__init__(config)
        with torch.no_grad():
            self.item_embedding.weight *= scale
        self.item_embedding.requires_grad_(False)


@pytest.fixture
def _registered() -> Iterator[None]:
    register_architecture("fixed_items", FixedItems)
    yield
    del ARCHITECTURES["fixed_items"]


@pytest.mark.usefixtures("_registered")
def test_resume(tmp_path: Path) -> None:
    """To the bit; what does not get a gradient has no state in the optimiser."""
    options = {"architecture": "fixed_items", "options": {"scale": 3.0}}
    whole, stopped = (new_run(tmp_path / name, **options) for name in ("whole", "stopped"))
    train(whole, DATASET)
    with pytest.raises(Interrupted):
        train(stopped, DATASET, stop=StopAfter(4))
    opened = open_run(stopped.folder)
    assert opened.model.options == {"scale": 3.0}
    train(opened, DATASET)
    assert_same_outcome(opened, whole)
    model, plain = opened.recommender().model, FixedItems(opened.model)
    assert isinstance(model, FixedItems)
    assert float(model.item_embedding.weight.abs().max()) > float(plain.item_embedding.weight.abs().max())
