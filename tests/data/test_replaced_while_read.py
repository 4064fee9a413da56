"""A data set that somebody replaces while it is read is that before or that after."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from unittest import mock

import pytest

from tagnn_fast import files
from tagnn_fast.data import Vocabulary, read_dataset, synthetic_dataset, write_dataset
from tagnn_fast.data import dataset as dataset_module

OLD, NEW = (synthetic_dataset(clicks=600, items=items) for items in (40, 60))
read_items = dataset_module.read_items


def test_between_two_files(tmp_path: Path) -> None:
    """It was the old sessions with the new items."""
    write_dataset(OLD, tmp_path / "data")
    replaced = False

    def replace_first(path: Path, sha256: str | None) -> Vocabulary:
        nonlocal replaced
        if not replaced:
            replaced = True
            write_dataset(NEW, tmp_path / "data", replace=True)
        return read_items(path, sha256)

    with mock.patch.object(dataset_module, "read_items", replace_first):
        assert read_dataset(tmp_path / "data").fingerprint() == NEW.fingerprint()


def test_while_it_is_moved_away(tmp_path: Path) -> None:
    """It was missing then."""
    write_dataset(OLD, tmp_path / "data")
    moved_away, others = threading.Event(), files._refuse_others

    def wait(folder: Path, *arguments: object) -> None:
        others(folder, *arguments)  # type: ignore[arg-type]
        if folder.name == "before":
            moved_away.set()
            time.sleep(0.2)

    with mock.patch.object(files, "_refuse_others", wait):
        writer = threading.Thread(target=write_dataset, args=(NEW, tmp_path / "data", True))
        writer.start()
        moved_away.wait()
        assert not (tmp_path / "data").exists()
        assert read_dataset(tmp_path / "data").fingerprint() == NEW.fingerprint()
        writer.join()


def test_again_and_again(tmp_path: Path) -> None:
    """Not for ever."""
    write_dataset(OLD, tmp_path / "data")

    def replace_first(path: Path, sha256: str | None) -> Vocabulary:
        write_dataset(NEW, tmp_path / "data", replace=True)
        return read_items(path, sha256)

    with (
        mock.patch.object(dataset_module, "read_items", replace_first),
        pytest.raises(BlockingIOError, match="expected a data set that no other process replaces while it is read"),
    ):
        read_dataset(tmp_path / "data")
