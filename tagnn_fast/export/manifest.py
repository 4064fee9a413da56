"""Names and hashes of what is in an exported folder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

FORMAT, VERSION = "tagnn_fast.export", 1
TORCHSCRIPT, PROGRAM, COMPILED, ITEMS = "model.ts", "model.pt2", "model.aoti.pt2", "items.parquet"


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
