"""Programs that are killed at a system call that changes the disk: what was there stays, and the command goes on.

Opt-in, and needs strace: `TAGNN_FAST_KILLED_SECONDS=900 pytest -s tests/cli/test_killed.py`. Each command gets a
quarter of the time, in which as many of its calls are tried as fit, evenly spread.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

import tagnn_fast
from tagnn_fast.cli import main
from tagnn_fast.data import read_dataset
from tests.cli.commands import TINY, assert_same_run, run, succeed, temporary_files
from tests.cli.test_stopped import COLUMNS, write_log

SECONDS = float(os.environ.get("TAGNN_FAST_KILLED_SECONDS", 0))
pytestmark = [
    pytest.mark.skipif(not SECONDS, reason="opt-in: TAGNN_FAST_KILLED_SECONDS"),
    pytest.mark.skipif(shutil.which("strace") is None, reason="expected strace on PATH"),
]
CALLS = "write,writev,pwrite64,rename,renameat2,unlink,unlinkat,mkdir,mkdirat,rmdir,fsync,fdatasync,ftruncate,link"
_CALL = re.compile(r"(\d+) +(\w+)\((.*)")
PRELOAD = ["tagnn_fast.cli", "tagnn_fast.logs", "tagnn_fast.training.loop", "tagnn_fast.serving.export", "duckdb"]


def _command(arguments: list[str], log: str) -> None:
    """In a process of its own, which waits for strace."""
    with open(log, "w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.argv = ["tagnn-fast", *arguments]
    os.kill(os.getpid(), signal.SIGSTOP)
    main()


def traced(arguments: tuple[object, ...], log: Path, kill_at: tuple[str, int] | None = None) -> int:
    """Run a command and write its calls to a log; its exit status, -9 where it was killed."""
    context = multiprocessing.get_context("forkserver")  # everything is imported once
    context.set_forkserver_preload(PRELOAD)
    process = context.Process(target=_command, args=(list(map(str, arguments)), f"{log}.output"))
    process.start()
    status = Path(f"/proc/{process.pid}/status")
    _wait(lambda: "State:\tT" in status.read_text())
    strace = ["strace", "-f", "-y", "-qq", "-p", str(process.pid), "-o", str(log), "-e", f"trace={CALLS}"]
    if kill_at is not None:
        strace += ["-e", f"inject={kill_at[0]}:signal=SIGKILL:when={kill_at[1]}"]
    with subprocess.Popen(strace) as tracer:
        _wait(lambda: "TracerPid:\t0" not in status.read_text())
        assert process.pid is not None
        os.kill(process.pid, signal.SIGCONT)
        process.join()
        tracer.wait()
    assert process.exitcode is not None
    return process.exitcode


def _wait(happened: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def points(log: Path, folder: Path) -> list[tuple[str, int]]:
    """Calls on what lies in the folder, as strace counts them: by thread and name."""
    counts, found = Counter[tuple[str, str]](), list[tuple[str, int]]()
    for line in log.read_text(errors="replace").splitlines():
        call = _CALL.match(line)
        if call is not None:
            counts[call[1], call[2]] += 1
            if f"{folder}/" in call[3]:
                found.append((call[2], counts[call[1], call[2]]))
    return list(dict.fromkeys(found))


def evenly(count: int) -> list[int]:
    """All of 0..count-1, so that the first few are spread over all of them."""
    bits = max(count - 1, 1).bit_length()
    turned = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(2**bits))
    return [number for number in turned if number < count]


def try_points(
    command: tuple[object, ...], folder: Path, prepare: Callable[[], object], check: Callable[[], object]
) -> None:
    """Kill the command at one call after the other; `prepare` is called before, `check` after each."""
    log = folder.with_name("strace.log")
    prepare()
    assert traced(command, log) == 0, Path(f"{log}.output").read_text()
    every, tried, killed = points(log, folder), 0, 0
    check()
    end = time.monotonic() + SECONDS / 4
    for number in evenly(len(every)):
        if time.monotonic() > end:
            break
        prepare()
        status = traced(command, log, every[number])
        assert status in (0, -signal.SIGKILL), (every[number], Path(f"{log}.output").read_text())
        killed += status != 0
        tried += 1
        try:
            check()
        except BaseException as error:
            raise AssertionError(f"killed at {every[number]}, point {number} of {len(every)}") from error
    print(f"{' '.join(map(str, command[:2]))}: {len(every)} points, {tried} tried, killed and survived {killed}")
    assert killed > tried / 2


def emptied(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()


def test_prepare_logs(tmp_path: Path) -> None:
    log, folder = write_log(tmp_path / "log.csv", 0, 4), tmp_path / "made"
    command = ("prepare", "logs", log, folder / "data", "--name", "data", *COLUMNS)
    succeed("prepare", "logs", log, tmp_path / "expected", "--name", "data", *COLUMNS)
    expected = read_dataset(tmp_path / "expected").fingerprint()

    def check() -> None:
        if not (folder / "data").exists():
            succeed(*command)
            assert temporary_files(folder) == []
        assert read_dataset(folder / "data").fingerprint() == expected

    try_points(command, folder, lambda: emptied(folder), check)


def test_prepare_update(tmp_path: Path) -> None:
    log, later, folder = (
        write_log(tmp_path / "log.csv", 0, 4),
        write_log(tmp_path / "later.csv", 4, 1),
        tmp_path / "made",
    )
    before, data = tmp_path / "before", folder / "data"
    succeed("prepare", "logs", log, before, "--name", "data", *COLUMNS)
    succeed("prepare", "update", before, later, "--output", tmp_path / "expected")
    fingerprints = [read_dataset(path).fingerprint() for path in (before, tmp_path / "expected")]

    def prepare() -> None:
        emptied(folder)
        shutil.copytree(before, data)

    def check() -> None:
        if fingerprints.index(read_dataset(data).fingerprint()) == 0:
            succeed("prepare", "update", data, later)
            assert temporary_files(folder) == []
        assert read_dataset(data).fingerprint() == fingerprints[1]

    try_points(("prepare", "update", data, later), folder, prepare, check)


def test_train(data: Path, trained: Path, tmp_path: Path) -> None:
    folder = tmp_path / "made"
    command = ("train", data, "--run", folder / "run", *TINY)

    def check() -> None:
        succeed(*(("train", "--resume", folder / "run") if (folder / "run").exists() else command))
        assert_same_run(folder / "run", trained)
        assert temporary_files(folder) == []

    try_points(command, folder, lambda: emptied(folder), check)


def test_export(trained: Path, tmp_path: Path) -> None:
    folder, run_folder = tmp_path / "made", shutil.copytree(trained, tmp_path / "run")
    command = ("export", run_folder, folder / "exported")

    def check() -> None:
        if not (folder / "exported").exists():
            assert run(*command).returncode == 0
            assert temporary_files(folder) == []
        tagnn_fast.load(folder / "exported").recommend([[]], 3)

    try_points(command, folder, lambda: emptied(folder), check)
