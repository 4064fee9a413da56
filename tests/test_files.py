"""Files and folders that are whole or not there."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tagnn_fast import files
from tagnn_fast.files import (
    clear_up,
    exclusive,
    new_folder,
    read_json,
    remove_leftovers,
    workspace,
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
    with pytest.raises(OSError), new_folder(tmp_path / "data"):
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


def in_another_process(code: str) -> subprocess.Popen[str]:
    """Lines of Python that use tagnn_fast.files, in a process that starts at once, since it loads no PyTorch."""
    load = (
        "import importlib.util, os, signal; from pathlib import Path\n"
        f"spec = importlib.util.spec_from_file_location('files', {files.__file__!r})\n"
        "files = importlib.util.module_from_spec(spec); spec.loader.exec_module(files)\n"
    )
    return subprocess.Popen([sys.executable, "-S", "-c", load + code], stdout=subprocess.PIPE, text=True)


KILL = "os.kill(os.getpid(), signal.SIGKILL)"


def killed(code: str) -> None:
    process = in_another_process(code)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL


def test_killed_while_it_fills(tmp_path: Path) -> None:
    """Whoever makes it next removes what was left, and no folder of another name."""
    for name in ("shop", "shop-eu"):
        killed(
            f"path = Path({str(tmp_path / name)!r})\n"
            "with files.new_folder(path) as new, files.workspace(path):\n"
            f"  (new / 'a').touch(); {KILL}"
        )
    assert len(list(tmp_path.iterdir())) == 4
    with new_folder(tmp_path / "shop"):
        pass
    assert sorted(path.name[:-20] for path in tmp_path.iterdir()) == ["", ".shop-eu.", ".shop-eu."]
    clear_up(tmp_path / "shop-eu")
    assert names_in(tmp_path) == ["shop"]


def kill_half_way_through_a_replacement(path: Path) -> None:
    """What was there is moved away, the new one not in its place yet."""
    killed(
        f"path = Path({str(path)!r}); rename = Path.rename\n"
        f"Path.rename = lambda old, new: {KILL} if old.name == 'new' else rename(old, new)\n"
        f"with files.new_folder(path, {FILES}) as new:\n"
        "  (new / 'dataset.json').write_text('2')"
    )
    assert not path.exists()


def test_killed_half_way_through_a_replacement(tmp_path: Path) -> None:
    path = tmp_path / "shop"
    make_data_set(path, "1")
    kill_half_way_through_a_replacement(path)
    clear_up(tmp_path / "shop-eu")
    assert not path.exists()
    clear_up(path)
    assert (path / "dataset.json").read_text() == "1"
    assert names_in(tmp_path) == ["shop", "shop/dataset.json"]


def test_only_copy_is_kept(tmp_path: Path) -> None:
    """Somebody else put something in the place of what was moved away: neither is removed."""
    path = tmp_path / "shop"
    make_data_set(path, "1")
    kill_half_way_through_a_replacement(path)
    path.mkdir()
    (path / "dataset.json").write_text("theirs")
    clear_up(path)
    remove_leftovers(tmp_path)
    make_data_set(path, "3")
    (left,) = tmp_path.glob(".shop.*.tmp/before/dataset.json")
    assert left.read_text() == "1"
    assert (path / "dataset.json").read_text() == "3"


def test_process_that_lives(tmp_path: Path) -> None:
    """Its folder is left to it, and what it has moved away is not put back under it."""
    path = tmp_path / "shop"
    make_data_set(path, "1")
    process = in_another_process(
        f"import time; path = Path({str(path)!r}); rename = Path.rename\n"
        "def wait(old, new):\n"
        "  if old.name == 'new': print('moved', flush=True); time.sleep(60)\n"
        "  rename(old, new)\n"
        "Path.rename = wait\n"
        f"with files.new_folder(path, {FILES}) as new:\n"
        "  (new / 'dataset.json').write_text('2')"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "moved\n"
    before = names_in(tmp_path)
    assert not path.exists()
    clear_up(path)
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == before
    process.kill()
    process.communicate()
    clear_up(path)
    assert (path / "dataset.json").read_text() == "1"


def test_files_that_look_like_leftovers(tmp_path: Path) -> None:
    """Nothing is removed that was not made here; what an earlier version moved away comes back."""
    theirs = [
        ".shop.0123456789abcdef.tmp/mine",
        ".shop.1.tmp/mine",
        ".shop-work.1.tmp/mine",
        ".shop.tmp",
        ".shop.x.tmp",
        ".shop.fedcba9876543210.tmp",
    ]
    for name in theirs:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / ".shop.0000000000000000.tmp").symlink_to(".shop.1.tmp")
    make_data_set(tmp_path / ".shop-before.1.tmp", "old")
    before = names_in(tmp_path)
    remove_leftovers(tmp_path)
    assert names_in(tmp_path) == before
    clear_up(tmp_path / "shop")
    assert (tmp_path / "shop" / "dataset.json").read_text() == "old"
    assert names_in(tmp_path) == sorted(
        [*(name for name in before if not name.startswith(".shop-before")), "shop", "shop/dataset.json"]
    )


def test_same_process_number(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container each start has the number of the one before, which tells nothing."""
    path = tmp_path / "shop"
    killed(f"with files.workspace(Path({str(path)!r})): {KILL}")
    monkeypatch.setattr(os, "getpid", lambda: 1)
    with workspace(path) as first, workspace(path) as second:
        assert len({first, second}) == 2
    assert names_in(tmp_path) == []


def test_exclusive(tmp_path: Path) -> None:
    """From reading to replacing; through a link, too. A process that was killed keeps nobody out."""
    path = tmp_path / "shop"
    make_data_set(path, "1")
    (tmp_path / "link").symlink_to("shop")
    process = in_another_process(
        f"import time\nwith files.exclusive(Path({str(path)!r})): print('has it', flush=True); time.sleep(60)"
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "has it\n"
    for name in ("shop", "link"):
        with pytest.raises(BlockingIOError) as error, exclusive(tmp_path / name):
            pytest.fail("the block must not run")
        assert str(error.value) == f"{path}: expected a folder that no other process writes, got one that is"
    with exclusive(tmp_path / "shop-eu"):
        pass
    process.kill()
    process.communicate()
    with exclusive(path):
        make_data_set(path, "2")
        with pytest.raises(BlockingIOError), exclusive(path):
            pytest.fail("the block must not run")
    assert names_in(tmp_path) == ["link", "shop", "shop/dataset.json"]


def test_updates_side_by_side(tmp_path: Path) -> None:
    """Each adds one to what it read, or says that another is at it: none vanishes."""
    path = tmp_path / "shop"
    make_data_set(path, "0")
    add = (
        f"path, done = Path({str(path)!r}), 0\n"
        "while done < 20:\n"
        "  try:\n"
        "    with files.exclusive(path):\n"
        "      number = int((path / 'dataset.json').read_text()) + 1\n"
        f"      with files.new_folder(path, {FILES}) as new: (new / 'dataset.json').write_text(str(number))\n"
        "      done += 1\n"
        "  except BlockingIOError: pass\n"
    )
    processes = [in_another_process(add) for _ in range(3)]
    for process in processes:
        process.communicate(timeout=120)
        assert process.returncode == 0
    assert (path / "dataset.json").read_text() == "60"
    assert names_in(tmp_path) == ["shop", "shop/dataset.json"]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_read_only_folder(tmp_path: Path) -> None:
    make_data_set(tmp_path / "shop", "1")
    tmp_path.chmod(0o555)
    try:
        clear_up(tmp_path / "shop")
        with pytest.raises(PermissionError), exclusive(tmp_path / "shop"):
            pytest.fail("the block must not run")
    finally:
        tmp_path.chmod(0o755)
