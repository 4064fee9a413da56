"""Names and hashes of what is in an exported folder."""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from tagnn_fast._C import build_information
from tagnn_fast.version import __version__

FORMAT, VERSION = "tagnn_fast.export", 2  # 1: no exclude_clicked; tensors of item indices under the names of raw ids
TORCHSCRIPT, PROGRAM, COMPILED = "model.ts", "model.pt2", "model.aoti.pt2"
ITEMS, ITEM_STRINGS = "items.parquet", "items.jsonl"  # the second for C++, only where raw ids are strings


def versions() -> dict[str, str]:
    """What an export was made with."""
    return {"tagnn_fast": __version__, "torch": torch.__version__, "ops": str(build_information()["ops"])}


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
