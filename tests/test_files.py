"""Files and folders that are whole or not there."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import pytest

from tagnn_fast.files import (
    new_folder,
    read_json,
    replaced_file,
    write_json,
    write_text,
)

FILES = ("dataset.json", "plot.png")


def names_in(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_new_folder(tmp_path: Path) -> None:
    """The folder appears with all its files when the block ends; missing parents are made."""
    path = tmp_path / "some" / "where"
    with new_folder(path) as temporary:
        (temporary / "a").write_text("1")
        (temporary / "sub").mkdir()
        (temporary / "sub" / "b").write_text("2")
        assert not path.exists()
        assert temporary.parent.parent == path.parent
    assert names_in(tmp_path) == ["some", "some/where", "some/where/a", "some/where/sub", "some/where/sub/b"]
    assert (path / "sub" / "b").read_text() == "2"


@pytest.mark.parametrize("kind", [ValueError, KeyboardInterrupt])
def test_failing_block_leaves_nothing(tmp_path: Path, kind: type[BaseException]) -> None:
    def fill() -> None:
        with new_folder(tmp_path / "data") as temporary:
            (temporary / "sub").mkdir()
            (temporary / "sub" / "a").write_text("1")
            raise kind

    with pytest.raises(kind):
        fill()
    assert names_in(tmp_path) == []


def fail(*arguments: object) -> None:
    raise OSError("disk full")


def test_full_disk_names_the_file(tmp_path: Path) -> None:
    """A write to an open file does not say whose."""
    with pytest.raises(OSError, match=r"plot\.png") as caught, replaced_file(tmp_path / "plot.png"):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert caught.value.filename == str(tmp_path / "plot.png")
    assert names_in(tmp_path) == []


@pytest.mark.parametrize("function", ["fsync", "rename"])
def test_failing_disk_leaves_nothing(tmp_path: Path, function: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, function, fail)
    if function == "rename":
        monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OSError, match="disk full"), new_folder(tmp_path / "data") as temporary:
        (temporary / "a").write_text("1")
    assert names_in(tmp_path) == []


def test_existing_folder(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("mine")
    for path in (tmp_path / "folder", tmp_path / "file"):
        with pytest.raises(FileExistsError) as error, new_folder(path):
            pytest.fail("the block must not run")
        assert str(error.value) == f"{path}: expected a folder that does not exist yet"
    assert names_in(tmp_path) == ["file", "folder"]


def test_folder_that_appears_meanwhile(tmp_path: Path) -> None:
    """What somebody else wrote there in the meantime is not replaced."""
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "theirs").write_text("1")
    message = f"{tmp_path / 'data'}: expected a folder that nobody else makes meanwhile, got one"
    with pytest.raises(FileExistsError, match=re.escape(message)), new_folder(tmp_path / "data"):
        (tmp_path / "other").rename(tmp_path / "data")
    assert names_in(tmp_path) == ["data", "data/theirs"]


def test_write_text(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    for text in ("first ä\n", "second\r\n", ""):
        write_text(path, text)
        assert path.read_bytes() == text.encode()
    assert names_in(tmp_path) == ["a.txt"]


def test_failing_write_keeps_the_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "before")
    with pytest.raises(UnicodeEncodeError):
        write_text(path, "after \ud800")
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="disk full"):
        write_text(path, "after")
    with pytest.raises(OSError, match="disk full"):
        write_text(tmp_path / "new.txt", "after")
    assert path.read_text() == "before"
    assert names_in(tmp_path) == ["a.txt"]


def test_json(tmp_path: Path) -> None:
    path, value = tmp_path / "a.json", {"format": "x", "version": 2, "deep": [1, None, {"ä": 0.1}]}
    write_json(path, value)
    assert read_json(path, "x", 2) == read_json(path, "x", 3) == value
    assert path.read_text(encoding="utf-8") == json.dumps(value, indent=2) + "\n"
    with pytest.raises(TypeError):
        write_json(path, {"format": object()})
    assert read_json(path, "x", 2) == value
    assert names_in(tmp_path) == ["a.json"]


def test_missing_json(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "a.json", "x", 1)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected JSON, got Expecting value: line 1 column 1 (char 0)"),
        (b'{"format": "x", "version": 1', "expected JSON, got Expecting ',' delimiter: line 1 column 29 (char 28)"),
        (b'{"format": "\xff"}', "expected JSON, got 'utf-8' codec can't decode byte 0xff in position 12: "),
        (b"[" * 100_000, "expected JSON, got "),
        (b"[1]", "expected format 'x', got 'list'"),
        (b"null", "expected format 'x', got 'NoneType'"),
        (b"{}", "expected format 'x', got None"),
        (b'{"format": "y", "version": 1}', "expected format 'x', got 'y'"),
        (b'{"format": "x", "version": 3}', "expected version 2, got 3: a newer tagnn_fast wrote it"),
        (b'{"format": "x", "version": 0}', "expected a version, got 0"),
        (b'{"format": "x", "version": "1"}', "expected a version, got '1'"),
        (b'{"format": "x", "version": true}', "expected a version, got True"),
        (b'{"format": "x", "version": 1.0}', "expected a version, got 1.0"),
        (b'{"format": "x"}', "expected a version, got None"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_json_errors(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_json(path, "x", 2)
    assert str(error.value).startswith(f"{path}: {message}")


def make_data_set(path: Path, content: str) -> None:
    with new_folder(path, FILES) as temporary:
        (temporary / "dataset.json").write_text(content)


def test_replaced_folder(tmp_path: Path) -> None:
    """Also through a link, which stays one; with the pictures of what it was."""
    make_data_set(tmp_path / "data", "1")
    (tmp_path / "data" / "plot.png").touch()
    (tmp_path / "link").symlink_to("data")
    make_data_set(tmp_path / "link", "2")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "data" / "dataset.json").read_text() == "2"
    assert names_in(tmp_path) == ["data", "data/dataset.json", "link"]


@pytest.mark.parametrize("when", ["before", "meanwhile"])
def test_what_is_not_replaced(when: str, tmp_path: Path) -> None:
    """A run stored in the folder is somebody's: nothing is replaced, nothing lost."""
    path = tmp_path / "data"
    make_data_set(path, "1")

    def store_run() -> None:
        (path / "run").mkdir()
        (path / "run" / "model").touch()

    def replace() -> None:
        with new_folder(path, FILES) as temporary:
            (temporary / "dataset.json").write_text("2")
            if when == "meanwhile":
                store_run()

    if when == "before":
        store_run()
    with pytest.raises(FileExistsError) as error:
        replace()
    assert str(error.value) == (
        f"{path}: expected nothing in it but dataset.json, plot.png, since all of it is replaced; got run: "
        "move it away first"
    )
    assert names_in(tmp_path) == ["data", "data/dataset.json", "data/run", "data/run/model"]
    assert (path / "dataset.json").read_text() == "1"


def test_replacement_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At the very last step, with what was there moved away."""
    make_data_set(tmp_path / "data", "1")
    rename = Path.rename

    def refuse(path: Path, target: Path) -> Path:
        if target == tmp_path / "data" and path.name == "new":
            raise OSError("disk full")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", refuse)
    with pytest.raises(OSError, match="disk full"):
        make_data_set(tmp_path / "data", "2")
    assert names_in(tmp_path) == ["data", "data/dataset.json"]
    assert (tmp_path / "data" / "dataset.json").read_text() == "1"
