"""The folder that `tagnn-fast export` writes and services load."""

from __future__ import annotations

import json
import shutil
import warnings
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any, Literal, get_args

import torch

from tagnn_fast.checks import check_count, check_flag, check_path
from tagnn_fast.data.stored_tables import write_items
from tagnn_fast.files import load_json, new_folder, write_json
from tagnn_fast.ops import library
from tagnn_fast.runs.card import LIMITS
from tagnn_fast.runs.run import Run, open_run
from tagnn_fast.serving.manifest import (
    COMPILED,
    FORMAT,
    ITEM_STRINGS,
    ITEMS,
    PORTABLE,
    PROGRAM,
    TORCHSCRIPT,
    described,
    sha256,
    versions,
)
from tagnn_fast.serving.onnx import export_onnx
from tagnn_fast.serving.programs import NoCompilerError, compile_program, export_program
from tagnn_fast.serving.serving_model import ServingModel

ExportFormat = Literal["torchscript", "program", "compiled", "onnx"]


def export(
    run: Run | str | Path,
    folder: str | Path,
    k_max: int | None = None,
    bfloat16_table: bool = False,
    screen: bool = True,
    *,
    formats: Sequence[ExportFormat] = ("torchscript",),
) -> dict[str, Any]:
    """Write a run's model as a folder with all that it needs to run.

    Args:
        run: a run with weights, or its folder.
        folder: to make; must not exist.
        k_max: length of the lists that all formats but TorchScript give, 100 if not given; at most the number of items
            is used.
        bfloat16_table: score with item vectors rounded to bfloat16.
        screen: keep a screen of the item vectors beside them, see :class:`Recommender`; not in ONNX.
        formats: "torchscript", ``model.ts``; "program", ``model.pt2`` of torch.export; "compiled", ``model.aoti.pt2``
            of AOTInductor; "onnx", ``model.onnx``, which holds no op of this package, runs anywhere and is slow.

    Returns:
        The manifest; its "missing" names each file that could not be made, with the reason, which is
        that the C++ compiler was not there that ``model.aoti.pt2`` needs.

    Raises:
        FileExistsError: where the folder exists.
        FileNotFoundError: before the run's first epoch has ended.
        ModuleNotFoundError: for ONNX without the extra ``tagnn_fast[onnx]``, which is named.
        TypeError: on a k_max that is no int, or a bfloat16_table or screen that is neither True nor False.
        ValueError: on a k_max under 1, or of TorchScript alone; on formats that are not of these; on weights that are
            not finite; for ONNX, on a baseline, a blend and "published" semantics.
    """
    formats = _check_formats(formats)
    folder = check_path(folder, "folder", "a folder to make")
    if k_max is not None and check_count(k_max, "k_max") and formats == ["torchscript"]:
        raise ValueError(f"k_max: expected none for TorchScript, which gives lists of any length, got {k_max}")
    k_max = k_max if k_max is not None else 100
    bfloat16_table, screen = check_flag(bfloat16_table, "bfloat16_table"), check_flag(screen, "screen")
    run = run if isinstance(run, Run) else open_run(run)
    recommender = run.recommender(bfloat16_table=bfloat16_table, screen=screen)
    model = ServingModel(recommender.ranker, recommender.vocabulary).eval()
    k_max = min(k_max, len(run.vocabulary))
    # A program that is made where autocast is on would round wherever it runs.
    exact = torch.autocast("cpu", enabled=False)
    with exact, new_folder(folder) as temporary, warnings.catch_warnings():
        # PyTorch's, of its own code.
        warnings.filterwarnings("ignore", "`isinstance\\(treespec, LeafSpec\\)` is deprecated", FutureWarning)
        missing = _write_formats(model, formats, k_max, temporary)
        write_items(run.vocabulary, temporary / ITEMS)
        if model.has_strings:
            lines = "".join(json.dumps(name) + "\n" for name in model.names[1:])
            (temporary / ITEM_STRINGS).write_text(lines, encoding="utf-8")
        shutil.copy(library.PATH, temporary / library.PATH.name)
        manifest = {**_manifest(run, temporary), "k_max": k_max, "bfloat16_table": bfloat16_table}
        manifest["missing"] = missing
        manifest["can_explain"] = model.can_explain
        write_json(temporary / "manifest.json", manifest)
    return manifest


def _check_formats(formats: Sequence[ExportFormat]) -> list[ExportFormat]:
    """Each once, in the order of the list of all; raises ValueError on others, and on none."""
    known = get_args(ExportFormat)
    if isinstance(formats, str) or not formats or any(name not in known for name in formats):
        raise ValueError(f"formats: expected some of {', '.join(known)}, got {formats!r}")
    return [name for name in known if name in formats]


def _write_formats(model: ServingModel, formats: Sequence[ExportFormat], k_max: int, folder: Path) -> dict[str, str]:
    """Write the model's files; what could not be, and why."""
    if "onnx" in formats:  # first, since it refuses some models
        export_onnx(model, k_max, folder / PORTABLE)
    if "torchscript" in formats:
        scripted = torch.jit.script(model)
        _write(folder / TORCHSCRIPT, lambda file: torch.jit.save(scripted, file))
    if "program" not in formats and "compiled" not in formats:
        return {}
    program = export_program(model, k_max)
    if "program" in formats:
        _write(folder / PROGRAM, lambda file: torch.export.save(program, file))
    try:
        if "compiled" in formats:
            _write(folder / COMPILED, lambda file: compile_program(program, file))
    except NoCompilerError as error:
        return {COMPILED: str(error)}
    return {}


def _write(path: Path, save: Callable[[BytesIO], None]) -> None:
    """By way of memory: PyTorch's writer of files ends the process where the disk is full."""
    content = BytesIO()
    save(content)
    path.write_bytes(content.getbuffer())


def _manifest(run: Run, folder: Path) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {
        "format": FORMAT,
        **described(run),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": versions(),
        "inputs": "item ids" if run.vocabulary.integers else "item indices",  # of the .pt2 programs
        "card": _card(run),
        "files": {
            str(path.relative_to(folder)): {"bytes": path.stat().st_size, "sha256": sha256(path)} for path in files
        },
    }


def _card(run: Run) -> dict[str, Any]:
    """What someone who meets this model should know."""
    result = run.folder / "result.json"
    statistics: Mapping[str, Any] = run.dataset["statistics"]
    return {
        "task": "next item of a click session",
        "trained_on": {"name": run.dataset["name"], "statistics": statistics},
        "training": run.configuration["training"],
        **({"members": run.members} if run.members else {}),
        "result": load_json(result) if result.exists() else None,
        "limits": list(LIMITS),
    }
