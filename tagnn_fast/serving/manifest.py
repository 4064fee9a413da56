"""Names and hashes of what is in an exported folder."""

from __future__ import annotations

import hashlib
import reprlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from tagnn_fast._C import build_information
from tagnn_fast.nn.architectures import BUILT_IN
from tagnn_fast.version import __version__

if TYPE_CHECKING:
    from tagnn_fast.runs.run import Run

FORMAT = "tagnn_fast.export"
# 1: no exclude_clicked; tensors of item indices under the names of raw ids. 2: neither candidates nor exclude; scores
# come before items; programs neither score chosen items nor explain.
VERSION = 3
TORCHSCRIPT, PROGRAM, COMPILED, PORTABLE = "model.ts", "model.pt2", "model.aoti.pt2", "model.onnx"
ITEMS, ITEM_STRINGS = "items.parquet", "items.jsonl"  # the second for C++, only where raw ids are strings


_TYPES = {
    "items": int,
    "item_ids": str,
    "k_max": int,
    "bfloat16_table": bool,
    "can_explain": bool,
    "architecture": str,
    "model": dict,
    "versions": dict,
    "files": dict,
    "missing": dict,
    "inputs": str,
}
_ONLY_SINCE = {"missing": 2, "inputs": 2, "can_explain": 3}  # fields that earlier versions have not


def versions() -> dict[str, str]:
    """What an export was made with."""
    return {"tagnn_fast": __version__, "torch": torch.__version__, "ops": str(build_information()["ops"])}


def described(run: Run) -> dict[str, Any]:
    """What a manifest says of a run's model and items, whether it is exported or not."""
    return {
        "version": VERSION,
        "model": run.configuration["model"],
        "architecture": run.training.architecture,
        "items": len(run.vocabulary),
        "item_ids": "integers" if run.vocabulary.integers else "strings",
    }


def check_manifest(path: Path, manifest: Mapping[str, Any]) -> None:
    """Refuse a manifest with a field that no export has, or with fields that say different things.

    Raises:
        ValueError: where one is damaged.
    """
    for name, kind in _TYPES.items():
        if manifest["version"] < _ONLY_SINCE.get(name, 1) and name not in manifest:
            continue
        _check(path, name, type(manifest.get(name)) is kind, kind.__name__, manifest.get(name))
    items, strings = manifest["items"], manifest["item_ids"] == "strings"
    inputs = "item indices" if strings else "item ids"
    found_inputs = manifest.get("inputs", inputs)
    _check(path, "items", items == manifest["model"].get("num_items"), "the model's num_items", items)
    _check(path, "k_max", 1 <= manifest["k_max"] <= items, f"1 to {items}", manifest["k_max"])
    _check(path, "item_ids", strings or manifest["item_ids"] == "integers", "integers or strings", manifest["item_ids"])
    _check(path, "inputs", found_inputs == inputs, f"{inputs!r} for these item_ids", found_inputs)
    if manifest["version"] < 3:
        network = BUILT_IN.get(manifest["architecture"])  # there were no others
        attention = network is not None and network.can_explain
        _check(path, "target_attention", manifest.get("target_attention") is attention, "the architecture's", "another")
    for name, text in {**manifest["versions"], **manifest.get("missing", {})}.items():
        _check(path, f"what it says of {name}", isinstance(text, str), "text", text)
    _check(path, "versions", {"tagnn_fast", "torch"} <= manifest["versions"].keys(), "tagnn_fast and torch", "others")
    for name, entry in manifest["files"].items():
        described = isinstance(entry, dict) and isinstance(entry.get("sha256"), str)
        _check(path, f"files: {name}", described, "an object with its sha256", entry)
    if manifest["version"] > 1:
        _check(path, "item_ids", strings == (ITEM_STRINGS in manifest["files"]), "what the files have", "another type")


def _check(path: Path, name: str, right: bool, expected: str, found: object) -> None:
    if not right:
        raise ValueError(f"{path}: {name}: expected {expected}, got {reprlib.repr(found)}")


def check_versions(folder: Path, manifest: Mapping[str, Any], name: str) -> None:
    """Refuse a file that cannot work with what is installed, and warn where answers may differ.

    Raises:
        ValueError: on a compiled program of another PyTorch.
    """
    made, here = manifest["versions"], versions()
    if name == COMPILED and _minor(made["torch"]) != _minor(here["torch"]):
        raise ValueError(
            f"{folder / name}: expected PyTorch {_minor(made['torch'])}, which it was compiled with, "
            f"got {here['torch']}: export the run again, or load another format"
        )
    made, here = ({**found, "torch": _minor(found["torch"])} for found in (made, here))
    others = [f"{name} {made[name]}, this is {here[name]}" for name in here if made.get(name, here[name]) != here[name]]
    if others:
        warnings.warn(f"{folder}: was exported with {'; '.join(others)}: answers may differ", stacklevel=3)


def _minor(version: str) -> str:
    return ".".join(version.split(".")[:2])


def sha256(path: Path) -> str:
    """Hash of a file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_files(folder: Path, manifest: Mapping[str, Any], names: tuple[str, ...]) -> None:
    """Raise ValueError where a file is not what the manifest says: damage, not malice, is what this finds."""
    for name in names:
        expected = manifest["files"].get(name)
        if expected is None:
            raise ValueError(f"{folder / 'manifest.json'}: expected an entry for {name}, got none")
        if sha256(folder / name) != expected["sha256"]:
            raise ValueError(f"{folder / name}: expected the content that the manifest names, got another: damaged")
