"""Loads what `tagnn-fast export` wrote, whichever format is to answer."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Optional

import torch
from torch import Tensor
from torch.export.graph_signature import InputKind

from tagnn_fast.export.manifest import COMPILED, FORMAT, ITEMS, PROGRAM, TORCHSCRIPT, VERSION, check_files
from tagnn_fast.files import read_json

FORMATS = {"torchscript": TORCHSCRIPT, "program": PROGRAM, "compiled": COMPILED}


class ServedModel:
    """An exported model; the same answers from every format.

    Attributes:
        manifest: what ``manifest.json`` says.
        format: "torchscript", "program" (torch.export) or "compiled" (AOTInductor).
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], format: str) -> None:
        self.manifest, self.format = manifest, format
        path = str(folder / FORMATS[format])
        self._names: list[str] = []
        if format == "torchscript":
            with torch.inference_mode():  # calls on tensors made here pass autograd by
                self._model = torch.jit.load(path)
        elif format == "program":
            with torch.inference_mode():
                self._model = _call_of(torch.export.load(path))
        else:
            self._model = torch._inductor.aoti_load_package(path)
        if format != "torchscript" and manifest["item_ids"] == "strings":
            from tagnn_fast.data.dataset import read_items  # not before it is needed: it imports pyarrow

            self._names = read_items(folder / ITEMS).raw_ids.to_pylist()
            self._name_items = {name: item for item, name in enumerate(self._names, 1)}

    @torch.inference_mode()
    def __call__(self, items: Tensor, offsets: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
        """See :meth:`tagnn_fast.export.serving_model.ServingModel.forward`.

        Raises:
            TypeError: on a wrong dtype.
            ValueError: on a wrong shape, offsets that do not rise from 0 to the number of clicks, or k out of range.
        """
        _check(items, offsets, k, self._k_max())
        if self.format == "torchscript":
            return self._model(items, offsets, k)  # type: ignore[no-any-return]
        scores, ids, status = self._model(items, offsets)
        return scores[:, :k], ids[:, :k], status

    @torch.inference_mode()
    def recommend(
        self, sessions: Sequence[Sequence[int]], k: int = 20
    ) -> tuple[list[list[int]], list[list[float]], list[int]]:
        """Raw ids and scores of the best k items of each session, best first, and each session's status.

        Raises:
            ValueError: on a k out of range.
        """
        lengths = torch.tensor([0, *map(len, sessions)])
        items = torch.tensor([item for session in sessions for item in session], dtype=torch.int64)
        scores, ids, status = self(items, lengths.cumsum(0), k)
        kept = (scores > -torch.inf).sum(1).tolist()
        lists = [line[:count] for line, count in zip(ids.tolist(), kept, strict=True)]
        values = [line[:count] for line, count in zip(scores.double().tolist(), kept, strict=True)]
        return lists, values, status.tolist()

    def recommend_strings(
        self, sessions: Sequence[Sequence[str]], k: int = 20
    ) -> tuple[list[list[str]], list[list[float]], list[int]]:
        """The same where raw ids are strings.

        Raises:
            ValueError: where they are integers, or on a k out of range.
        """
        if self.manifest["item_ids"] != "strings":
            raise ValueError("recommend_strings: expected a model whose item ids are strings, got one with integers")
        if self.format == "torchscript":
            _check_k(k, self._k_max())
            with torch.inference_mode():
                return self._model.recommend_strings([list(session) for session in sessions], k)  # type: ignore[no-any-return]
        indices = [[self._name_items.get(name, 0) for name in session] for session in sessions]
        found, scores, status = self.recommend(indices, k)
        return [[self._names[item - 1] for item in best] for best in found], scores, status

    @torch.inference_mode()
    def scores(self, items: Tensor, offsets: Tensor) -> Tensor:
        """See :meth:`ServingModel.scores`; of "torchscript" alone, as are the methods below.

        Raises:
            NotImplementedError: in other formats.
        """
        return self._scripted("scores")(items, offsets)  # type: ignore[no-any-return]

    @torch.inference_mode()
    def item_ids(self) -> Tensor:
        """See :meth:`ServingModel.item_ids`."""
        return self._scripted("item_ids")()  # type: ignore[no-any-return]

    @torch.inference_mode()
    def explain(self, items: Tensor, offsets: Tensor, targets: Tensor) -> Tensor:
        """See :meth:`ServingModel.explain`.

        Raises:
            ValueError: for a model without target attention (SR-GNN).
        """
        if not self.manifest["target_attention"]:
            raise ValueError("explain: expected a model with target attention, got one without")
        return self._scripted("explain")(items, offsets, targets)  # type: ignore[no-any-return]

    def set_candidates(self, ids: Optional[Tensor]) -> None:
        """See :meth:`ServingModel.set_candidates`."""
        self._scripted("set_candidates")(ids)

    def _scripted(self, method: str) -> Any:
        if self.format != "torchscript":
            raise NotImplementedError(
                f"{method}: expected format 'torchscript', got {self.format!r}: programs have one method and no state"
            )
        return getattr(self._model, method)

    def _k_max(self) -> int:
        return int(self.manifest["items"] if self.format == "torchscript" else self.manifest["k_max"])


def load(folder: str | Path, format: str = "torchscript") -> ServedModel:
    """Load an exported folder. It is a program: load one only from where you would run a program from.

    Args:
        folder: what `tagnn-fast export` wrote.
        format: "torchscript", "program" (torch.export) or "compiled" (AOTInductor).

    Raises:
        FileNotFoundError: where there is none.
        ValueError: on an unknown format, a damaged file, or a folder that a newer tagnn_fast wrote.
    """
    if format not in FORMATS:
        raise ValueError(f"format: expected one of {', '.join(FORMATS)}, got {format!r}")
    folder = Path(folder)
    manifest = read_json(folder / "manifest.json", FORMAT, VERSION)
    check_files(folder, manifest, (FORMATS[format], ITEMS))
    return ServedModel(folder, manifest, format)


def _call_of(program: torch.export.ExportedProgram) -> Callable[..., tuple[Tensor, ...]]:
    """The program's graph with its weights: a fifth of a millisecond less than `module()`, which looks them up anew."""
    held = {**program.state_dict, **program.constants}
    inputs = program.graph_signature.input_specs
    weights = [held[str(spec.target)] for spec in inputs if spec.kind is not InputKind.USER_INPUT]
    return functools.partial(program.graph_module.forward, *weights)


def _check(items: Tensor, offsets: Tensor, k: int, k_max: int) -> None:
    _check_k(k, k_max)
    for value, name in ((items, "items"), (offsets, "offsets")):
        if value.dtype != torch.int64:
            raise TypeError(f"{name}: expected int64, got {str(value.dtype).removeprefix('torch.')}")
        if value.dim() != 1:
            raise ValueError(f"{name}: expected one dimension, got shape {tuple(value.shape)}")
    ends = offsets.tolist()
    if not ends or ends[0] != 0 or ends[-1] != items.numel() or ends != sorted(ends):
        raise ValueError(f"offsets: expected to rise from 0 to the number of clicks {items.numel()}, got others")


def _check_k(k: int, k_max: int) -> None:
    if not isinstance(k, int) or isinstance(k, bool):
        raise TypeError(f"k: expected an int, got {k!r}")
    if not 1 <= k <= k_max:
        raise ValueError(f"k: expected 1..{k_max}, got {k}")
