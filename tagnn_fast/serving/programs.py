"""The same computation without TorchScript: a torch.export program, and one compiled ahead of time."""

import subprocess
from contextlib import AbstractContextManager
from pathlib import Path

import torch
import torch._inductor.exc as inductor_errors
from torch import Tensor, nn
from torch.fx.experimental import _config as symbolic_shapes

from tagnn_fast.serving.requests import NO_ITEM
from tagnn_fast.serving.serving_model import ServingModel

_NO_PROGRAM = FileNotFoundError, PermissionError  # of a compiler that cannot be started


class NoCompilerError(Exception):
    """There is no C++ compiler that works, and AOTInductor needs one."""


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

    def forward(self, items: Tensor, offsets: Tensor, exclude_clicked: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """See :meth:`ServingModel.forward`; exclude_clicked is a bool ()."""
        indices = self.model.known(items)
        return self.model.best(indices, offsets, self.k_max, torch.where(exclude_clicked, indices - 1, NO_ITEM))


class LongestIndexLists(LongestLists):
    """The same where raw ids are strings: its arguments go by name, so that `items` are never taken for `indices`."""

    def forward(self, *, indices: Tensor, offsets: Tensor, exclude_clicked: Tensor) -> tuple[Tensor, Tensor, Tensor]:  # type: ignore[override]
        """See :meth:`ServingModel.forward_indices`; exclude_clicked is a bool ()."""
        return super().forward(indices, offsets, exclude_clicked)


def export_program(model: ServingModel, k_max: int) -> torch.export.ExportedProgram:
    """A program for any number of clicks and sessions, none and one among them."""
    example = torch.tensor([1, 2, 3, 4, 5]), torch.tensor([0, 2, 4, 5]), torch.tensor(False)
    sizes = {0: torch.export.Dim("clicks", min=0)}, {0: torch.export.Dim("ends", min=1)}, None
    with torch.no_grad(), _sizes_are_not_constants():
        if not model.has_strings:
            return torch.export.export(LongestLists(model, k_max), example, dynamic_shapes=sizes)
        names = "indices", "offsets", "exclude_clicked"
        by_name, sizes_by_name = dict(zip(names, example, strict=True)), dict(zip(names, sizes, strict=True))
        return torch.export.export(LongestIndexLists(model, k_max), (), by_name, dynamic_shapes=sizes_by_name)


def compile_program(program: torch.export.ExportedProgram, path: Path) -> None:
    """Compile a program with AOTInductor into a package that C++ and Python load.

    Raises:
        NoCompilerError: where there is no C++ compiler that works.
        OSError: where what is compiled cannot be written.
    """
    try:
        with _sizes_are_not_constants():
            torch._inductor.aoti_compile_and_package(program, package_path=str(path))
    except (inductor_errors.InductorError, OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "inner_exception", error)
        if isinstance(reason, OSError) and not isinstance(reason, _NO_PROGRAM):
            raise reason from error  # the disk is full, say, whatever compiler there is
        compiler = inductor_errors.InvalidCxxCompiler, inductor_errors.CppCompileError
        if not isinstance(reason, (*compiler, *_NO_PROGRAM, subprocess.SubprocessError)):
            raise
        raise NoCompilerError(f"AOTInductor needs a C++ compiler: {' '.join(str(reason).split())[:300]}") from error
