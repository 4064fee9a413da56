"""The formats of an exported model, of any version: what each is called with, and what it gives."""

from __future__ import annotations

import copy
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
# What makes some of a program's outputs, from the first to before the last, among candidates or all items.
Parts = Callable[[int, int, bool], Run]

# What a program takes after the clicks and their offsets.
CHOICES = "candidates", "among_candidates", "exclude_clicked", "exclude", "scored", "targets"

# The versions of exports since which each format can do what a call asks for.
_SINCE = {"exclude_clicked": 2, "candidates": 3, "exclude": 3, "explain": 3, "scores": 3}

_SCRIPTED_INPUTS = {1: 3, 2: 4, 3: 6}  # of the method that recommends, by version
_PROGRAM_INPUTS = {1: 2, 2: 3, 3: 8}


class Choice(NamedTuple):
    """What a call asks for: raw ids or item indices, int64 (any,), None for all items and for no others."""

    candidates: Tensor | None
    exclude_clicked: bool
    exclude: Tensor | None

    def check_version(self, version: int) -> None:
        """Refuse what an old export cannot do."""
        asked = {"exclude_clicked": self.exclude_clicked}
        asked |= {name: getattr(self, name) is not None for name in ("candidates", "exclude")}
        for name, wanted in asked.items():
            if wanted and not can(version, name):
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


def can(version: int, name: str) -> bool:
    """Whether exports of this version can do what a call asks for by this name, in each format."""
    return version >= _SINCE[name]


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
        parts: of the computation.
        path: its file.
        version: of the export.
        k_max: length of the lists.
        can_explain: whether its last output is what clicks weigh; None where it does not say.
    """

    def __init__(self, parts: Parts, path: Path, version: int, k_max: int, can_explain: bool | None) -> None:
        self._parts, self._path, self._version, self._k_max = parts, path, version, k_max
        self.can_explain = can_explain

    def best(self, items: Tensor, offsets: Tensor, k: int, choice: Choice) -> Best:
        """See :class:`Format`."""
        if self._version < 3:
            flags = (torch.tensor(choice.exclude_clicked),) if self._version > 1 else ()
            scores, ids, status = self._parts(0, 3, False)(items, offsets, *flags)
        else:
            ids, scores, status = self._ask(0, 3, items, offsets, choice)
        if scores.shape[1] != self._k_max:
            raise ValueError(
                f"{self._path.parent / 'manifest.json'}: k_max: expected {scores.shape[1]}, the length of "
                f"{self._path.name}'s lists, got {self._k_max}"
            )
        return ids[:, :k], scores[:, :k], status

    def scores(self, items: Tensor, offsets: Tensor, ids: Tensor) -> Tensor:
        """See :class:`Format`."""
        return self._finite(*self._ask(3, 4, items, offsets, _NOTHING, scored=ids, method="scores"))

    def explain(self, items: Tensor, offsets: Tensor, targets: Tensor) -> Tensor:
        """See :class:`Format`."""
        return self._finite(*self._ask(4, 5, items, offsets, _NOTHING, targets=targets, method="explain"))

    def _ask(
        self,
        first: int,
        end: int,
        items: Tensor,
        offsets: Tensor,
        choice: Choice,
        scored: Tensor | None = None,
        targets: Tensor | None = None,
        method: str = "",
    ) -> tuple[Tensor, ...]:
        """Some of the outputs of :meth:`LongestLists.forward`."""
        if method and not can(self._version, method):
            raise old_export(method)
        among = choice.candidates is not None
        return self._parts(first, end, among)(
            items,
            offsets,
            _NO_IDS if choice.candidates is None else choice.candidates,
            torch.tensor(among),
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
    outputs = len(signature.user_outputs)
    can_explain = outputs > 4 if version > 2 else None
    parts = functools.cache(functools.partial(_part, program))
    for part in ((0, 3, False), (0, 3, True), *((first, first + 1, True) for first in range(3, outputs))):
        parts(*part)  # so that no request waits for it
    return Program(parts, path, version, k_max, can_explain)


def load_compiled(path: Path, version: int, k_max: int, has_strings: bool) -> Program:
    """What AOTInductor compiled of one."""
    model = torch._inductor.aoti_load_package(str(path))
    names = "indices", "offsets", *(CHOICES if version > 2 else ("exclude_clicked",))
    run: Run = model  # of version 1, which takes no arguments by name, as those whose items are integers
    if has_strings and version > 1:
        run = lambda *inputs: model(**dict(zip(names, inputs, strict=True)))  # noqa: E731
    return Program(lambda first, end, _: lambda *inputs: run(*inputs)[first:end], path, version, k_max, None)


def _check_inputs(path: Path, version: int, found: int, expected: dict[int, int]) -> None:
    """Refuse a version that another export has."""
    if found != expected[version]:
        raise ValueError(
            f"{path.parent / 'manifest.json'}: version: expected another for a model of {found} inputs, got {version}"
        )


def _part(program: torch.export.ExportedProgram, first: int, end: int, among_candidates: bool) -> Run:
    """What makes some of a program's outputs, without what does not: whoever calls it knows the branch beforehand.

    A graph with its weights takes a fifth of a millisecond less than `module()`, which looks them up anew, and half a
    millisecond less without a branch and the other outputs.
    """
    module = copy.deepcopy(program.graph_module)
    graph = module.graph
    output = graph.output_node()
    output.args = (tuple(output.args[0])[first:end],)
    for branch in graph.find_nodes(op="call_function", target=torch.ops.higher_order.cond):
        _, among, anywhere, inputs = branch.args
        with graph.inserting_before(branch):
            chosen = graph.call_module((among if among_candidates else anywhere).target, tuple(inputs))
        branch.replace_all_uses_with(chosen)
        graph.erase_node(branch)
    graph.eliminate_dead_code(lambda node: node.op in ("placeholder", "output"))
    module.recompile()
    held = {**program.state_dict, **program.constants}
    specs = program.graph_signature.input_specs
    weights = [held[str(spec.target)] for spec in specs if spec.kind is not InputKind.USER_INPUT]
    return functools.partial(module.forward, *weights)


def _tensors(values: dict[str, Any]) -> Iterable[tuple[str, Tensor]]:
    return ((name, value) for name, value in values.items() if isinstance(value, Tensor))
