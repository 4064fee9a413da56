"""Tensors in files: damage is found without all of a file in memory."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from tagnn_fast.runs import checkpoints

TENSORS: dict[str, Tensor] = {
    "number": torch.tensor(3),
    "empty": torch.empty(0, 4),
    "rows": torch.arange(35.0).view(7, 5),
    "rounded": torch.arange(12).bfloat16(),
    "narrow": torch.empty(3, 0, dtype=torch.float64),
}


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_what_was_written(rows: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checkpoints, "_ROWS", rows)
    path = tmp_path / "tensors.safetensors"
    checkpoints.save_tensors(TENSORS, path)
    checkpoints.check_tensors(path)
    assert checkpoints.load_tensors(path).keys() == TENSORS.keys()
    whole = path.read_bytes()
    for place in range(len(whole) - 4 * 35, len(whole), 13):  # of any block
        content = bytearray(whole)
        content[place] ^= 1
        path.write_bytes(content)
        for check in (checkpoints.check_tensors, checkpoints.load_tensors):
            with pytest.raises(ValueError, match="expected the tensors that were written, got a damaged file"):
                check(path)
    path.write_bytes(whole[:-1])
    with pytest.raises(ValueError, match="expected a safetensors file, got a damaged one"):
        checkpoints.check_tensors(path)


def test_files_of_earlier_versions(tmp_path: Path) -> None:
    """Say nothing of what was written."""
    save_file(TENSORS, tmp_path / "tensors.safetensors")
    checkpoints.check_tensors(tmp_path / "tensors.safetensors")
