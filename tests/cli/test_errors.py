"""What a user can mend, or the machine lacks, is one line and a status; a fault of ours is a traceback."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from tests.cli.commands import message, refused, run, succeed
from tests.runs.small_runs import write_run
from tests.support import forget_digests


def failing(monkeypatch: pytest.MonkeyPatch, fail: Callable[[], object]) -> None:
    """Let `tagnn-fast evaluate` fail like this."""

    def open_run(path: Path) -> None:
        fail()

    monkeypatch.setattr("tagnn_fast.cli.evaluate.open_run", open_run)


def raising(error: BaseException) -> Callable[[], None]:
    def fail() -> None:
        raise error

    return fail


@pytest.mark.parametrize(
    ("fail", "expected"),
    [
        (lambda: torch.empty(2**50, dtype=torch.uint8), "not enough memory: "),
        (lambda: np.empty(2**58), "not enough memory: Unable to allocate"),
        (lambda: pa.allocate_buffer(2**60), "not enough memory: malloc of size"),
        (raising(MemoryError()), "not enough memory"),
        (raising(RuntimeError("std::bad_alloc")), "not enough memory: std::bad_alloc"),
        (raising(torch.OutOfMemoryError("CUDA out of memory")), "not enough memory: CUDA out of memory"),
        (raising(pa.ArrowNotImplementedError("lists")), "lists"),
        (raising(pa.ArrowCapacityError("too much")), "too much"),
        (raising(OverflowError("int too big")), "int too big"),
        (raising(ValueError("first\nsecond")), "first second"),
        (raising(ValueError()), "ValueError"),
        (lambda: Path("/nowhere").read_text(), "[Errno 2] No such file or directory: '/nowhere'"),
        (lambda: Path("/nowhere/\udcff").read_text(), "[Errno 2] No such file or directory: '/nowhere/\\udcff'"),
    ],
)
def test_what_a_user_can_mend(
    fail: Callable[[], object], expected: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    failing(monkeypatch, fail)
    assert refused("evaluate", tmp_path).startswith(expected)


@pytest.mark.parametrize(
    "error", [KeyError("a"), IndexError(), AttributeError(), RuntimeError("a size that does not fit"), AssertionError()]
)
def test_faults_of_ours(error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failing(monkeypatch, raising(error))
    with pytest.raises(type(error)):
        run("evaluate", tmp_path)


def test_interrupted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    failing(monkeypatch, raising(KeyboardInterrupt()))
    outcome = run("evaluate", tmp_path)
    assert (outcome.returncode, outcome.stdout, outcome.stderr) == (130, "", "")


@pytest.mark.parametrize("command", ["info", "evaluate", "recommend", "similar", "export", "train", "prepare update"])
def test_paths_with_odd_bytes(command: str, tmp_path: Path) -> None:
    more = {"recommend": ["1"], "similar": ["1"], "export": [tmp_path / "out"], "prepare update": [tmp_path / "log"]}
    options = ["--run", tmp_path / "run"] if command == "train" else more.get(command, [])
    assert "expected a " in refused(*command.split(), tmp_path / "\udcff", *options)


def test_numbers_beyond_any(data: Path, tmp_path: Path) -> None:
    for option in ("--hidden-size", "--seed"):
        refused("train", data, "--run", tmp_path / "run", option, 10**20)
    refused("prepare", "synthetic", tmp_path / "data", "--clicks", 10**20)
    assert list(tmp_path.iterdir()) == []


def test_items_of_another_run(tmp_path: Path) -> None:
    """Named, before anything is answered by them."""
    one, other = (write_run(tmp_path / str(count), range(count)) for count in (5, 6))
    (other / "items.parquet").rename(one / "items.parquet")
    forget_digests(one / "config.json")
    for command in (["recommend", one, 1], ["similar", one, 1], ["export", one, tmp_path / "out"]):
        assert refused(*command) == f"{one / 'items.parquet'}: expected the 5 items of config.json, got 6"


def test_as_many_items_of_another_run(tmp_path: Path) -> None:
    """Also named; a run of before items had a fingerprint is taken as it is."""
    one, other = (write_run(tmp_path / str(first), range(first, first + 5)) for first in (0, 1))
    (other / "items.parquet").rename(one / "items.parquet")
    forget_digests(one / "config.json")
    assert refused("recommend", one, 1) == f"{one / 'items.parquet'}: expected the items of config.json, got others"
    config = json.loads((one / "config.json").read_text())
    del config["dataset"]["items"]
    (one / "config.json").write_text(json.dumps(config))
    assert "after 1" in succeed("recommend", one, 1)


@pytest.mark.parametrize("damage", [lambda data: data[:50], lambda data: b"", lambda data: b"PAR1" + data[4:-9]])
def test_damaged_items(damage: Callable[[bytes], bytes], tmp_path: Path) -> None:
    path = write_run(tmp_path, range(5)) / "items.parquet"
    path.write_bytes(damage(path.read_bytes()))
    assert refused("recommend", path.parent, 1).startswith(f"{path}: damaged Parquet file")


def test_items_with_other_columns(tmp_path: Path) -> None:
    path = write_run(tmp_path, range(5)) / "items.parquet"
    table = pq.read_table(path)
    pq.write_table(table.set_column(0, "raw_id", pa.array([0.5] * 5)), path)
    forget_digests(path.with_name("config.json"))
    assert refused("recommend", path.parent, 1) == f"{path}: raw_ids: expected int64 or string, got double"


def in_a_process(*arguments: object, **options: object) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "tagnn_fast.cli", *map(str, arguments)]
    environment = {**os.environ, "PYTHONIOENCODING": "ascii"}
    return subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, **options)  # type: ignore[call-overload,no-any-return]


def test_letters_that_an_encoding_lacks(tmp_path: Path) -> None:
    """What is printed to a pipe in ASCII: escapes, not a traceback."""
    path = write_run(tmp_path, ["Björk", "Sigur Rós"])
    process = in_a_process("recommend", path, "Björk", "\udcff", stdout=subprocess.PIPE)
    output, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (0, b"")
    assert b"after Bj\\xf6rk \\udcff (1 unknown, skipped)" in output
    assert b"Sigur R\\xf3s" in output


def test_nobody_reads(tmp_path: Path) -> None:
    """As before `head`: silence, and a status that is not 0."""
    path = write_run(tmp_path, range(5))
    reading, writing = os.pipe()
    os.close(reading)
    process = in_a_process("recommend", path, 1, stdout=writing)
    os.close(writing)
    _, errors = process.communicate(timeout=300)
    assert (process.returncode, errors) == (1, b"")


def test_configuration_nested_too_deeply(tmp_path: Path) -> None:
    path = write_run(tmp_path, range(5))
    (path / "config.json").write_text("[" * 100_000)
    assert "config.json: expected JSON, got " in refused("info", path)
    (path / "config.json").write_text(json.dumps([]))
    assert "config.json: expected format" in message(run("info", path))


def test_success_is_silent_elsewhere(tmp_path: Path) -> None:
    assert "like 3" in succeed("similar", write_run(tmp_path, range(5)), 3)
