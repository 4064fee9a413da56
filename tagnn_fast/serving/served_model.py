"""Loads what `tagnn-fast export` wrote, whichever format is to answer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.export.graph_signature import InputKind

from tagnn_fast.checks import check_flag, check_integer_vector
from tagnn_fast.files import read_json
from tagnn_fast.serving.finite import NOT_FINITE, check_finite
from tagnn_fast.serving.manifest import (
    COMPILED,
    FORMAT,
    ITEMS,
    PROGRAM,
    TORCHSCRIPT,
    VERSION,
    check_files,
    check_manifest,
    check_versions,
)
from tagnn_fast.serving.requests import (
    NO_ITEM,
    check_offsets,
    flat_sessions,
    integer_id,
    list_length,
    plain_list,
    string_id,
)

FORMATS = {"torchscript": TORCHSCRIPT, "program": PROGRAM, "compiled": COMPILED}


class ServedModel:
    """An exported model; the same answers from every format.

    Ids are what the model's items have, integers or strings. Among integers, those beyond 64 bits are unknown items.

    Attributes:
        manifest: what ``manifest.json`` says.
        format: "torchscript", "program" (torch.export) or "compiled" (AOTInductor).
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], format: str) -> None:
        self.manifest, self.format = manifest, format
        self._has_strings = manifest["item_ids"] == "strings"
        self._items, self._version = manifest["items"], manifest["version"]
        self._path = folder / "manifest.json"
        path = str(folder / FORMATS[format])
        with torch.inference_mode():  # calls on tensors made here pass autograd by
            if format == "torchscript":
                self._model = torch.jit.load(path)
                self._check_version(len(self._model.forward.schema.arguments) - 1)
                check_finite([*self._model.named_parameters(), *self._model.named_buffers()])
            elif format == "program":
                program = torch.export.load(path)
                self._check_version(len(program.graph_signature.user_inputs) + 1)
                check_finite([*program.state_dict.items(), *_tensors(program.constants)])
                self._model = _call_of(program)
        if format == "compiled":
            self._model = torch._inductor.aoti_load_package(path)
        self._names: list[str] = []
        if self._has_strings or self._version == 1:
            from tagnn_fast.data.dataset import read_items  # not before it is needed: it imports pyarrow

            vocabulary = read_items(folder / ITEMS)
            if vocabulary.integers == self._has_strings or len(vocabulary) != self._items:
                raise ValueError(f"{self._path}: expected the number and type of the items in {ITEMS}, got another")
            if self._has_strings:
                self._names = vocabulary.raw_ids.to_pylist()
                self._name_items = {name: item for item, name in enumerate(self._names, 1)}

    def __call__(
        self, items: Tensor, offsets: Tensor, k: int, exclude_clicked: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """See :meth:`tagnn_fast.serving.serving_model.ServingModel.forward`.

        Raises:
            TypeError: on a wrong type or dtype, and where the model's item ids are strings.
            ValueError: on a wrong shape, offsets that do not rise from 0 to the number of clicks, or k out of range.
            FloatingPointError: where a score is not finite.
        """
        if self._has_strings:
            raise TypeError(
                "items: expected strings as the model's item ids, which recommend takes, got a tensor; "
                "forward_indices takes item indices"
            )
        return self._answer(items, offsets, k, exclude_clicked)

    def forward_indices(
        self, indices: Tensor, offsets: Tensor, k: int, exclude_clicked: bool = False
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The same of item indices, 1 to the number of items, for a model whose item ids are strings.

        Raises:
            TypeError, ValueError, FloatingPointError: as above, and where the model's item ids are integers.
        """
        if not self._has_strings:
            raise TypeError("forward_indices: expected a model whose item ids are strings, got one with integers")
        return self._answer(indices, offsets, k, exclude_clicked)

    def recommend(
        self, sessions: Sequence[Sequence[Any]], k: int = 20, exclude_clicked: bool = False
    ) -> tuple[list[list[Any]], list[list[float]], list[int]]:
        """Raw ids and scores of the best k items of each session, best first, and each session's status.

        Args:
            sessions: raw ids of each session, oldest click first. Unknown ones are skipped.
            k: length of the lists; at most all items.
            exclude_clicked: leave a session's own items out; lists may be shorter then.

        Raises:
            TypeError: on ids that are not what the model's are, or another wrong type.
            ValueError: on a k out of range.
            FloatingPointError: where a score is not finite.
        """
        items, offsets = self._tensors(*flat_sessions(sessions, string_id if self._has_strings else integer_id))
        scores, ids, status = self._answer(items, offsets, k, exclude_clicked)
        kept = (scores > -torch.inf).sum(1).tolist()
        lists = [line[:count] for line, count in zip(ids.tolist(), kept, strict=True)]
        values = [line[:count] for line, count in zip(scores.double().tolist(), kept, strict=True)]
        if self._has_strings:
            lists = [[self._names[item - 1] for item in line] for line in lists]
        return lists, values, status.tolist()

    def recommend_strings(
        self, sessions: Sequence[Sequence[str]], k: int = 20, exclude_clicked: bool = False
    ) -> tuple[list[list[str]], list[list[float]], list[int]]:
        """The same for a model whose item ids are strings.

        Raises:
            ValueError: where they are integers, or on a k out of range.
            TypeError, FloatingPointError: as above.
        """
        if not self._has_strings:
            raise ValueError("recommend_strings: expected a model whose item ids are strings, got one with integers")
        return self.recommend(sessions, k, exclude_clicked)

    @torch.inference_mode()
    def scores(self, items: Tensor | Sequence[str], offsets: Tensor) -> Tensor:
        """See :meth:`ServingModel.scores`; of "torchscript" alone, as are the methods below.

        Here as in those, ids that are strings are given as lists.

        Raises:
            NotImplementedError: in other formats.
            TypeError, ValueError, FloatingPointError: as above.
        """
        method, known = self._scripted("scores"), self._known(items, "items")
        check_offsets(offsets, len(known))
        scores: Tensor = _finite(method, known, offsets)
        return scores

    @torch.inference_mode()
    def item_ids(self) -> Tensor | list[str]:
        """See :meth:`ServingModel.item_ids`."""
        method = self._scripted("item_ids")
        if self._has_strings:
            return list(self._names)
        return method()  # type: ignore[no-any-return]

    @torch.inference_mode()
    def explain(self, items: Tensor | Sequence[str], offsets: Tensor, targets: Tensor | Sequence[str]) -> Tensor:
        """See :meth:`ServingModel.explain`.

        Raises:
            ValueError: for a model without target attention (SR-GNN), or on targets that are not one per session.
            TypeError, FloatingPointError: as above.
        """
        if not self.manifest["target_attention"]:
            raise ValueError("explain: expected a model with target attention, got one without")
        method, known, known_targets = (
            self._scripted("explain"),
            self._known(items, "items"),
            self._known(targets, "targets"),
        )
        check_offsets(offsets, len(known))
        if len(known_targets) != len(offsets) - 1:
            raise ValueError(f"targets: expected one per session, got {len(known_targets)} for {len(offsets) - 1}")
        weights: Tensor = _finite(method, known, offsets, known_targets)
        return weights

    def set_candidates(self, ids: Tensor | Sequence[Any] | None) -> None:
        """See :meth:`ServingModel.set_candidates`.

        Raises:
            TypeError: on ids that are not what the model's are.
        """
        method = self._scripted("set_candidates")
        if ids is not None and not self._has_strings and not isinstance(ids, Tensor):
            ids = torch.tensor([integer_id(value) for value in plain_list(ids, "ids")], dtype=torch.int64)
        method(None if ids is None else self._known(ids, "ids"))

    @torch.inference_mode()
    def _answer(self, items: Tensor, offsets: Tensor, k: int, exclude_clicked: bool) -> tuple[Tensor, Tensor, Tensor]:
        length = list_length(k, self._items, self._items if self.format == "torchscript" else self.manifest["k_max"])
        exclude_clicked = check_flag(exclude_clicked, "exclude_clicked")
        check_integer_vector(items, "items")
        check_offsets(offsets, len(items))
        if exclude_clicked and self._version < 2:
            raise NotImplementedError("exclude_clicked: expected an export that can, got an old one: export it again")
        inputs: dict[str, Any] = {"indices" if self._has_strings else "items": items, "offsets": offsets}
        if self.format == "torchscript":
            method = self._model.forward_indices if self._has_strings and self._version > 1 else self._model.forward
            flags = (exclude_clicked,) if self._version > 1 else ()
            scores, ids, status = _finite(method, items, offsets, length, *flags)
        else:
            if self._version > 1:
                inputs["exclude_clicked"] = torch.tensor(exclude_clicked)
            by_name = self.format == "compiled" and self._has_strings and self._version > 1
            scores, ids, status = self._model(**inputs) if by_name else self._model(*inputs.values())
            if scores.shape[1] != self.manifest["k_max"]:
                raise ValueError(
                    f"{self._path}: k_max: expected {scores.shape[1]}, the length of {FORMATS[self.format]}'s lists, "
                    f"got {self.manifest['k_max']}"
                )
            scores, ids = scores[:, :length], ids[:, :length]
        if not bool((scores.isfinite() | ((scores == -torch.inf) & (ids == NO_ITEM))).all()):
            raise FloatingPointError(NOT_FINITE)
        return scores, ids, status

    def _check_version(self, inputs: int) -> None:
        """The first version had no exclude_clicked, and three inputs, if k is one of them."""
        if (inputs > 3) != (self._version > 1):
            raise ValueError(
                f"{self._path}: version: expected another for a model of {inputs} inputs, got {self._version}"
            )

    def _tensors(self, ids: list[Any], offsets: Tensor) -> tuple[Tensor, Tensor]:
        """What the model takes: integers, or item indices of strings."""
        if self._has_strings:
            ids = [self._name_items.get(name, 0) for name in ids]
        return torch.tensor(ids, dtype=torch.int64), offsets

    def _known(self, ids: Any, name: str) -> Tensor:
        if not self._has_strings:
            check_integer_vector(ids, name)
            return ids  # type: ignore[no-any-return]
        if isinstance(ids, Tensor):
            raise TypeError(f"{name}: expected a list of strings as the model's item ids, got a tensor")
        return torch.tensor([self._name_items.get(string_id(value), 0) for value in plain_list(ids, name)]).long()

    def _scripted(self, method: str) -> Any:
        if self.format != "torchscript":
            raise NotImplementedError(
                f"{method}: expected format 'torchscript', got {self.format!r}: programs have one method and no state"
            )
        suffix = "_indices" if self._has_strings and self._version > 1 and method != "item_ids" else ""
        return getattr(self._model, method + suffix)


def load(folder: str | Path, format: str = "torchscript") -> ServedModel:
    """Load an exported folder. It is a program: load one only from where you would run a program from.

    Warns where another version of the package or of PyTorch wrote it.

    Args:
        folder: what `tagnn-fast export` wrote.
        format: "torchscript", "program" (torch.export) or "compiled" (AOTInductor).

    Raises:
        FileNotFoundError: where there is none.
        ValueError: on an unknown format, or one that was not exported; on a damaged file or manifest, weights that are
            not finite, a folder that a newer tagnn_fast wrote, or a program compiled with another PyTorch.
    """
    if format not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
    folder = Path(folder)
    manifest = read_json(folder / "manifest.json", FORMAT, VERSION)
    check_manifest(folder / "manifest.json", manifest)
    missing = manifest.get("missing", {}).get(FORMATS[format])
    if missing is not None:
        raise ValueError(f"format: expected one that was exported, got {format!r}: {missing}")
    check_versions(folder, manifest, FORMATS[format])
    check_files(folder, manifest, (FORMATS[format], ITEMS))
    return ServedModel(folder, manifest, format)


def _call_of(program: torch.export.ExportedProgram) -> Callable[..., tuple[Tensor, ...]]:
    """The program's graph with its weights: a fifth of a millisecond less than `module()`, which looks them up anew."""
    held = {**program.state_dict, **program.constants}
    inputs = program.graph_signature.input_specs
    weights = [held[str(spec.target)] for spec in inputs if spec.kind is not InputKind.USER_INPUT]
    return functools.partial(program.graph_module.forward, *weights)


def _tensors(values: dict[str, Any]) -> Iterable[tuple[str, Tensor]]:
    return ((name, value) for name, value in values.items() if isinstance(value, Tensor))


def _finite(method: Callable[..., Any], *arguments: object) -> Any:
    """What a scripted method answers; of what it raises, only the text says which exception it was."""
    try:
        return method(*arguments)
    except torch.jit.Error as error:
        if NOT_FINITE in str(error):
            raise FloatingPointError(NOT_FINITE) from None
        raise
