"""Files and folders that processes left half way, or are writing now: put back, removed, or left to their owners."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tagnn_fast import files
from tagnn_fast.files import clear_up, exclusive, new_folder, remove_leftovers, workspace
from tests.test_files import FILES, make_data_set, names_in


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
