"""The same computation without TorchScript: a torch.export program, and one compiled ahead of time."""

import subprocess
from contextlib import AbstractContextManager
from io import BytesIO
from typing import Any, Optional

import torch
import torch._inductor.exc as inductor_errors
from torch import Tensor, nn
from torch.fx.experimental import _config as symbolic_shapes

from tagnn_fast.nn.ranking import zero_where_unknown
from tagnn_fast.serving.formats import CHOICES
from tagnn_fast.serving.requests import NO_ITEM
from tagnn_fast.serving.serving_model import ServingModel

_NO_PROGRAM = FileNotFoundError, PermissionError  # of a compiler that cannot be started


class NoCompilerError(Exception):
    """There is no C++ compiler that works, and AOTInductor needs one."""


def _sizes_are_not_constants() -> AbstractContextManager[None]:
    """Sizes 0 and 1 are taken for constants otherwise, and a single session could not be answered."""
    return symbolic_shapes.patch(backed_size_oblivious=True)  # type: ignore[attr-defined, no-any-return]


class LongestLists(nn.Module):
    """All that a model answers, in one program, so that its weights are there once. Programs take tensors only.

    Lists have k_max items; shorter ones are their beginnings. What is not asked for costs next to nothing: scores of no
    items, weights for unknown targets, lists of no candidates.

    Args:
        model: what answers.
        k_max: length of the lists.
    """

    def __init__(self, model: ServingModel, k_max: int) -> None:
        super().__init__()
        self.model = model
        self.k_max = k_max

    def forward(
        self,
        items: Tensor,
        offsets: Tensor,
        candidates: Tensor,
        among_candidates: Tensor,
        exclude_clicked: Tensor,
        exclude: Tensor,
        scored: Tensor,
        targets: Tensor,
    ) -> tuple[Tensor, ...]:
        """Items, scores and status as :meth:`ServingModel.forward`; then scores of chosen items, and what clicks weigh.

        Args:
            items: as in :meth:`ServingModel.forward`.
            offsets: the same.
            candidates: the only items to choose from, int64 (any,), if among_candidates.
            among_candidates: whether there are such, bool ().
            exclude_clicked: bool ().
            exclude: items that no session gets, int64 (any,).
            scored: items whose scores are wanted, int64 (any,).
            targets: an item for each session, int64 (sessions,), whose score is to be explained.

        Returns:
            Items, scores and status; then float (sessions, scored), -inf for an unknown item; then, if the model can
            explain, the weight of each click, float (clicks,), see :meth:`ServingModel.explain`.
        """
        model = self.model
        ranker: Any = model.ranker  # what its encode gives, no other takes
        indices = model.known(items)
        encoded: Any = ranker.encode(indices, offsets)

        def best(given: tuple[Tensor, ...], candidates: Optional[Tensor]) -> tuple[Tensor, Tensor, Tensor]:
            again = type(encoded)(*given[:-4])
            found = ranker.best_rows(again, *given[-4:-2], self.k_max, candidates, *given[-2:])
            return found.rows, found.scores, found.known_clicks

        def among(*given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return best(given[:-1], given[-1])

        def anywhere(*given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            return best(given[:-1], None)

        left_out = torch.where(exclude_clicked, indices - 1, NO_ITEM), model.known(exclude) - 1
        apart = (value.clone() for value in encoded)  # cond takes no two views of one tensor
        given = *apart, indices, offsets, *left_out, model.known(candidates) - 1
        rows, scores, known = torch.cond(among_candidates, among, anywhere, given)
        columns = model.known(scored)
        wanted = ranker.scores(encoded, indices, offsets, (columns - 1).clamp(min=0))
        wanted = zero_where_unknown(wanted, indices, offsets)
        answers = (*model.answer(rows, scores, known, offsets), wanted.masked_fill(columns == 0, -torch.inf))
        if not model.can_explain:
            return answers
        return *answers, ranker.explain(encoded, indices, offsets, model.known(targets) - 1)


class LongestIndexLists(LongestLists):
    """The same where raw ids are strings: its arguments go by name, so that `items` are never taken for `indices`."""

    def forward(  # type: ignore[override]
        self,
        *,
        indices: Tensor,
        offsets: Tensor,
        candidates: Tensor,
        among_candidates: Tensor,
        exclude_clicked: Tensor,
        exclude: Tensor,
        scored: Tensor,
        targets: Tensor,
    ) -> tuple[Tensor, ...]:
        """See :meth:`LongestLists.forward`, of item indices."""
        return super().forward(
            indices, offsets, candidates, among_candidates, exclude_clicked, exclude, scored, targets
        )


def export_program(model: ServingModel, k_max: int) -> torch.export.ExportedProgram:
    """A program for any number of clicks, sessions and items in each argument, none and one among them."""
    clicks, offsets = torch.tensor([1, 2, 3, 4, 5]), torch.tensor([0, 2, 4, 5])
    ends = torch.export.Dim("ends", min=1)
    any_clicks, any_candidates, any_excluded, any_scored = (
        {0: torch.export.Dim(name, min=0)} for name in ("clicks", "candidates", "excluded", "scored")
    )
    # Each a tensor of its own: export takes one that is given twice for one argument, and ties views to their base.
    choices = [torch.tensor(example) for example in ([1, 2], False, False, [3], [4, 5], [1, 2, 3])]
    inputs = clicks, offsets, *choices
    sizes = any_clicks, {0: ends}, any_candidates, None, None, any_excluded, any_scored, {0: ends - 1}
    with torch.no_grad(), _sizes_are_not_constants():
        if not model.has_strings:
            return torch.export.export(LongestLists(model, k_max), inputs, dynamic_shapes=sizes)
        names = "indices", "offsets", *CHOICES
        by_name, sizes_by_name = dict(zip(names, inputs, strict=True)), dict(zip(names, sizes, strict=True))
        return torch.export.export(LongestIndexLists(model, k_max), (), by_name, dynamic_shapes=sizes_by_name)


def compile_program(program: torch.export.ExportedProgram, file: BytesIO) -> None:
    """Compile a program with AOTInductor into a package that C++ and Python load.

    Raises:
        NoCompilerError: where there is no C++ compiler that works.
        OSError: where what is compiled cannot be written.
    """
    try:
        with _sizes_are_not_constants():
            torch._inductor.aoti_compile_and_package(program, package_path=file)
    except (inductor_errors.InductorError, OSError, subprocess.SubprocessError) as error:
        reason = getattr(error, "inner_exception", error)
        if isinstance(reason, OSError) and not isinstance(reason, _NO_PROGRAM):
            raise reason from error  # the disk is full, say, whatever compiler there is
        compiler = inductor_errors.InvalidCxxCompiler, inductor_errors.CppCompileError
        if not isinstance(reason, (*compiler, *_NO_PROGRAM, subprocess.SubprocessError)):
            raise
        raise NoCompilerError(f"AOTInductor needs a C++ compiler: {' '.join(str(reason).split())[:300]}") from error
