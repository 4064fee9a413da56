"""The same computation without TorchScript: a torch.export program, and one compiled ahead of time."""

from contextlib import AbstractContextManager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.fx.experimental import _config as symbolic_shapes

from tagnn_fast.export.serving_model import ServingModel


def _sizes_are_not_constants() -> AbstractContextManager[None]:
    """Sizes 0 and 1 are taken for constants otherwise, and a single session could not be answered."""
    return symbolic_shapes.patch(backed_size_oblivious=True)  # type: ignore[attr-defined, no-any-return]


class LongestLists(nn.Module):
    """The best k_max items of each session; shorter lists are their beginnings. Programs take tensors only.

    Args:
        model: what answers.
        k_max: length of the lists.
    """

    def __init__(self, model: ServingModel, k_max: int) -> None:
        super().__init__()
        self.model = model
        self.k_max = k_max

    def forward(self, items: Tensor, offsets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See :meth:`ServingModel.forward`."""
        scores, ids, status = self.model(items, offsets, self.k_max)
        return scores, ids, status


def export_program(model: ServingModel, k_max: int) -> torch.export.ExportedProgram:
    """A program for any number of clicks and sessions, none and one among them."""
    example = torch.tensor([1, 2, 3, 4, 5]), torch.tensor([0, 2, 4, 5])
    clicks, ends = torch.export.Dim("clicks", min=0), torch.export.Dim("ends", min=1)
    with torch.no_grad(), _sizes_are_not_constants():
        return torch.export.export(LongestLists(model, k_max), example, dynamic_shapes=({0: clicks}, {0: ends}))


def compile_program(program: torch.export.ExportedProgram, path: Path) -> None:
    """Compile a program with AOTInductor into a package that C++ and Python load."""
    with _sizes_are_not_constants():
        torch._inductor.aoti_compile_and_package(program, package_path=str(path))
