"""The formats of an exported model, of any version: what each is called with, and what it gives."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor
from torch.export.graph_signature import InputKind

from tagnn_fast.serving.finite import NOT_FINITE, check_finite
from tagnn_fast.serving.requests import UNKNOWN_ID

Best = tuple[Tensor, Tensor, Tensor]  # items, scores, status
Run = Callable[..., tuple[Tensor, ...]]

# What a program takes after the clicks and their offsets.
CHOICES = "candidates", "among_candidates", "exclude_clicked", "exclude", "scored", "targets"

_SCRIPTED_INPUTS = {1: 3, 2: 4, 3: 6}  # of the method that recommends, by version
_PROGRAM_INPUTS = {1: 2, 2: 3, 3: 8}


class Choice(NamedTuple):
    """What a call asks for: raw ids or item indices, int64 (any,), None for all items and for no others."""

    candidates: Tensor | None
    exclude_clicked: bool
    exclude: Tensor | None

    def check_version(self, version: int) -> None:
        """Refuse what an old export cannot do."""
        asked = {"exclude_clicked": self.exclude_clicked and version < 2}
        asked |= {name: getattr(self, name) is not None and version < 3 for name in ("candidates", "exclude")}
        for name, too_new in asked.items():
            if too_new:
                raise old_export(name)


_NO_IDS = torch.empty(0, dtype=torch.int64)
_NOTHING = Choice(_NO_IDS, False, None)


class Format(Protocol):
    """A loaded model. Items are raw ids, or item indices where those are strings."""

    can_explain: bool | None  # None where it does not say

    def best(self, items: Tensor, offsets: Tensor, k: int, choice: Choice) -> Best:
        """See :meth:`ServingModel.forward`."""

    def scores(self, items: Tensor, offsets: Tensor, ids: Tensor) -> Tensor:
        """See :meth:`ServingModel.scores`; `ids` are all items, in the order of columns."""

    def explain(self, items: Tensor, offsets: Tensor, targets: Tensor) -> Tensor:
        """See :meth:`ServingModel.explain`."""


def old_export(name: str) -> NotImplementedError:
    """Of what only newer exports can do."""
    return NotImplementedError(f"{name}: expected an export that can, got an old one: export it again")


class Scripted:
    """A TorchScript module."""

    def __init__(self, path: Path, version: int, has_strings: bool) -> None:
        self._version, self._suffix = version, "_indices" if has_strings and version > 1 else ""
        self._model = torch.jit.load(str(path))
        _check_inputs(path, version, len(self._model.forward.schema.arguments) - 1, _SCRIPTED_INPUTS)
        check_finite([*self._model.named_parameters(), *self._model.named_buffers()])
        self.can_explain: bool | None = self._model.can_explain if version > 2 else None

    def best(self, items: Tensor, offsets: Tensor, k: int, choice: Choice) -> Best:
        """See :class:`Format`."""
        if self._version > 2:
            return self._call("forward", items, offsets, k, *choice)  # type: ignore[no-any-return]
        flags = (choice.exclude_clicked,) if self._version > 1 else ()
        scores, ids, status = self._call("forward", items, offsets, k, *flags)
        return ids, scores, status

    def scores(self, items: Tensor, offsets: Tensor, ids: Tensor) -> Tensor:
        """See :class:`Format`."""
        return self._call("scores", items, offsets)  # type: ignore[no-any-return]

    def explain(self, items: Tensor, offsets: Tensor, targets: Tensor) -> Tensor:
        """See :class:`Format`."""
        return self._call("explain", items, offsets, targets)  # type: ignore[no-any-return]

    def _call(self, method: str, *arguments: object) -> Any:
        """What a method answers; of what it raises, only the text says which exception it was."""
        try:
            return getattr(self._model, method + self._suffix)(*arguments)
        except torch.jit.Error as error:
            if NOT_FINITE in str(error):
                raise FloatingPointError(NOT_FINITE) from None
            raise


class Program:
    """A torch.export program, as it is or compiled: one computation, whose lists have a fixed length.

    Args:
        run: the computation.
        path: its file.
        version: of the export.
        k_max: length of the lists.
        can_explain: whether its last output is what clicks weigh; None where it does not say.
    """

    def __init__(self, run: Run, path: Path, version: int, k_max: int, can_explain: bool | None) -> None:
        self._run, self._path, self._version, self._k_max = run, path, version, k_max
        self.can_explain = can_explain

    def best(self, items: Tensor, offsets: Tensor, k: int, choice: Choice) -> Best:
        """See :class:`Format`."""
        if self._version < 3:
            flags = (torch.tensor(choice.exclude_clicked),) if self._version > 1 else ()
            scores, ids, status = self._run(items, offsets, *flags)
        else:
            ids, scores, status = self._ask(items, offsets, choice)[:3]
        if scores.shape[1] != self._k_max:
            raise ValueError(
                f"{self._path.parent / 'manifest.json'}: k_max: expected {scores.shape[1]}, the length of "
                f"{self._path.name}'s lists, got {self._k_max}"
            )
        return ids[:, :k], scores[:, :k], status

    def scores(self, items: Tensor, offsets: Tensor, ids: Tensor) -> Tensor:
        """See :class:`Format`."""
        return self._finite(self._ask(items, offsets, _NOTHING, scored=ids, method="scores")[3])

    def explain(self, items: Tensor, offsets: Tensor, targets: Tensor) -> Tensor:
        """See :class:`Format`."""
        return self._finite(self._ask(items, offsets, _NOTHING, targets=targets, method="explain")[4])

    def _ask(
        self,
        items: Tensor,
        offsets: Tensor,
        choice: Choice,
        scored: Tensor | None = None,
        targets: Tensor | None = None,
        method: str = "",
    ) -> tuple[Tensor, ...]:
        """See :meth:`LongestLists.forward`."""
        if self._version < 3:
            raise old_export(method)
        return self._run(
            items,
            offsets,
            _NO_IDS if choice.candidates is None else choice.candidates,
            torch.tensor(choice.candidates is not None),
            torch.tensor(choice.exclude_clicked),
            _NO_IDS if choice.exclude is None else choice.exclude,
            _NO_IDS if scored is None else scored,
            torch.full((len(offsets) - 1,), UNKNOWN_ID) if targets is None else targets,
        )

    def _finite(self, values: Tensor) -> Tensor:
        if not bool(values.isfinite().all()):
            raise FloatingPointError(NOT_FINITE)
        return values


def load_program(path: Path, version: int, k_max: int) -> Program:
    """A torch.export program."""
    program = torch.export.load(str(path))
    signature = program.graph_signature
    _check_inputs(path, version, len(signature.user_inputs), _PROGRAM_INPUTS)
    check_finite([*program.state_dict.items(), *_tensors(program.constants)])
    can_explain = len(signature.user_outputs) > 4 if version > 2 else None
    return Program(_call_of(program), path, version, k_max, can_explain)


def load_compiled(path: Path, version: int, k_max: int, has_strings: bool) -> Program:
    """What AOTInductor compiled of one."""
    model = torch._inductor.aoti_load_package(str(path))
    names = "indices", "offsets", *(CHOICES if version > 2 else ("exclude_clicked",))
    run: Run = model  # of version 1, which takes no arguments by name, as those whose items are integers
    if has_strings and version > 1:
        run = lambda *inputs: model(**dict(zip(names, inputs, strict=True)))  # noqa: E731
    return Program(run, path, version, k_max, None)


def _check_inputs(path: Path, version: int, found: int, expected: dict[int, int]) -> None:
    """Refuse a version that another export has."""
    if found != expected[version]:
        raise ValueError(
            f"{path.parent / 'manifest.json'}: version: expected another for a model of {found} inputs, got {version}"
        )


def _call_of(program: torch.export.ExportedProgram) -> Run:
    """The program's graph with its weights: a fifth of a millisecond less than `module()`, which looks them up anew."""
    held = {**program.state_dict, **program.constants}
    inputs = program.graph_signature.input_specs
    weights = [held[str(spec.target)] for spec in inputs if spec.kind is not InputKind.USER_INPUT]
    return functools.partial(program.graph_module.forward, *weights)


def _tensors(values: dict[str, Any]) -> Iterable[tuple[str, Tensor]]:
    return ((name, value) for name, value in values.items() if isinstance(value, Tensor))
