"""`tagnn-fast prepare logs` and `prepare update`: what they leave, what they refuse, and from a log to figures."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tagnn_fast.data import read_dataset
from tagnn_fast.logs import FORMATS
from tests.cli.commands import contents, finish, read, refused, run, start, succeed, temporary_files, wait_until, words
from tests.cli.test_evaluate import row
from tests.support import shared

COLUMNS = ("--session-column", "session", "--item-column", "item", "--time-column", "time")
PHRASES = {
    "not": "not given",
    "formats": ", ".join(FORMATS),
    "units": "seconds, milliseconds, microseconds, nanoseconds",
    "zone": "name like UTC or Europe/Vienna",
    "from": "and --test-from",
}
LOOSE = ("--minimum-support", 1, "--minimum-length", 1, "--test", "1d")


def write_log(path: Path, clicks: int = 60, *more: str) -> Path:
    """Sessions of three clicks, three on a day."""
    first = datetime(2024, 5, 1, 10)
    rows = [f"s{n // 3},item-{n % 7},{first + timedelta(days=n // 9, seconds=n % 9)}" for n in range(clicks)]
    path.write_text("\n".join(["session,item,time", *rows, *more, ""]))
    return path


@pytest.fixture
def log(tmp_path: Path) -> Path:
    return write_log(tmp_path / "log.csv")


def test_columns_by_name(log: Path, tmp_path: Path) -> None:
    output = tmp_path / "made" / "data"
    printed = words(succeed("prepare", "logs", log, output, *COLUMNS))
    assert "clicks of the log 60 20 7" in printed
    assert "test sessions 12 4 7" in printed
    assert "data: 7 items" in printed
    assert f"wrote {output}" in printed
    period = "test: sessions that ended from 2024-05-06 10:00:05 to 2024-05-07 10:00:05 UTC, 1.0 days"
    assert period in printed
    assert set(contents(output.parent)) == {
        "data/dataset.json",
        *(f"data/{name}.parquet" for name in ("clicks", "items", "raw_test", "test", "train")),
    }
    assert period in words(succeed("info", output))
    source = read(output / "dataset.json")["source"]
    assert source["files"][0]["name"] == "log.csv"
    assert len(source["files"][0]["sha256"]) == 64
    assert source["format"]["owner"] == "session"
    assert source["options"]["minimum_support"] == 5
    assert source["engine"].startswith("DuckDB 2")
    assert "clicks of the log 60 20 7" in words(succeed("info", output))


def test_columns_of_another_format(tmp_path: Path) -> None:
    """No header, tabs, seconds; options change what a format says."""
    log = tmp_path / "log.tsv"
    log.write_text("".join(f"{n // 4}\t{1_700_000_000 + n * 3600}\t{n % 5}\n" for n in range(80)))
    options = (
        "--format",
        "yoochoose",
        "--separator",
        "\\t",
        "--columns",
        "session,time,item",
        "--time-unit",
        "seconds",
    )
    succeed("prepare", "logs", log, tmp_path / "data", *options)
    dataset = read_dataset(tmp_path / "data")
    assert dataset.vocabulary.integers
    assert (len(dataset.train), len(dataset.test)) == (13, 7)


def test_users(tmp_path: Path) -> None:
    """Cut by gap unless told otherwise."""
    log = tmp_path / "log.csv"
    log.write_text("user,item,time\n" + "".join(f"u,{n % 2},2024-05-01 {n:02}:00\n" for n in range(20)))
    columns = (
        "--user-column",
        "user",
        "--item-column",
        "item",
        "--time-column",
        "time",
        *LOOSE[:4],
        "--test-from",
        "2025-01-01",
    )
    for name, options, sessions in (("gap", (), 20), ("long", ("--gap", "1h"), 1), ("day", ("--sessions", "day"), 1)):
        succeed("prepare", "logs", log, tmp_path / name, *columns, *options)
        assert len(read_dataset(tmp_path / name).train) == sessions
    assert refused("prepare", "logs", log, tmp_path / "no", *columns, "--sessions", "given") == (
        "sessions: expected gap or day, since the log has users, got 'given'"
    )


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (
            (),
            "expected --format, or the columns: --session-column or --user-column, --item-column, --time-column {not}",
        ),
        ((*COLUMNS, "--user-column", "u"), "{log}: expected one column 'u', got session, item, time"),
        (("--format", "csv"), "format: expected one of {formats}, got 'csv'"),
        ((*COLUMNS, "--events", "view"), "expected --event-column and --events together"),
        ((*COLUMNS, "--preset", "best"), "preset: expected clean or published, got 'best'"),
        ((*COLUMNS, "--time-zone", "Mars/Olympus"), "time_zone: expected a {zone}, got 'Mars/Olympus'"),
        ((*COLUMNS, "--time-zone", "../etc/passwd"), "time_zone: expected a {zone}, got '../etc/passwd'"),
        (
            (*COLUMNS, "--sessions", "given", "--gap", "30"),
            "gap: expected a duration like 90s, 30m, 8h or 7d, got '30'",
        ),
        ((*COLUMNS, "--test-from", "soon"), "test_from: expected an ISO date or time, got 'soon'"),
        ((*COLUMNS, "--fraction", 0), "fraction: expected 1 or more, got 0"),
        ((*COLUMNS, "--time-unit", "years"), "time_unit: expected one of iso, {units}, got 'years'"),
        ((*COLUMNS, "--separator", ""), "separator: expected a character or up to 4 bytes of some, got ''"),
        ((*COLUMNS, "--quote", ","), "quote: expected one ASCII character other than the separator, got ','"),
        (
            (*COLUMNS, "--test", "99999999d"),
            "test: expected a duration like 90s, 30m, 8h or 7d, got '99999999d'; "
            "see --test-logs for files of test sessions",
        ),
        ((*COLUMNS, "--engine", "sqlite"), "engine: expected duckdb or spark, got 'sqlite'"),
        (
            (*COLUMNS, "--test", "900d"),
            "data: expected training sessions before the split, got none; see --test {from}",
        ),
        (
            ("--session-column", "session", "--item-column", "product", "--time-column", "time"),
            "{log}: expected one column 'product', got session, item, time",
        ),
    ],
)
def test_what_is_refused(options: tuple[object, ...], expected: str, log: Path, tmp_path: Path) -> None:
    assert refused("prepare", "logs", log, tmp_path / "data", *options) == expected.format(log=log, **PHRASES)
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "expected clicks, got an empty file"),
        (b"\n", "expected clicks, got an empty file"),
        (b"session,item,time\n", "expected clicks, got none that can be used: no rows"),
        (b"session,item\xff,time\n", "expected text in UTF-8, plain or compressed by gzip or zstd, {odd}"),
    ],
)
def test_files_without_clicks(content: bytes, expected: str, tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_bytes(content)
    assert refused("prepare", "logs", log, tmp_path / "data", *COLUMNS) == (
        f"{log}: {expected.format(odd='got something else in its first line; see --encoding')}"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_files_that_are_not_there(tmp_path: Path) -> None:
    for name in ("nothing.csv", "*.csv"):
        assert refused("prepare", "logs", tmp_path / name, tmp_path / "data", *COLUMNS) == (
            f"{str(tmp_path / name)!r}: expected a file, a folder or a pattern that files match, got none"
        )


def test_files_with_other_columns(log: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("session,time,item\ns,2024-01-01,i\n")
    message = refused("prepare", "logs", tmp_path / "*.csv", tmp_path / "data", *COLUMNS)
    assert (
        message == f"{tmp_path}/other.csv: expected the columns of {log}, session, item, time; got session, time, item"
    )


def test_bad_rows(tmp_path: Path) -> None:
    """Counted, sampled, and fatal only beyond what is allowed."""
    bad = ("s1,item-1", "s1,item-1,2024-05-01,more", "s1,,2024-05-01", "s1,item-1,yesterday", "s2,item-1,2024-13-01")
    log = write_log(tmp_path / "log.csv", 60, *bad)
    message = refused("prepare", "logs", log, tmp_path / "data", *COLUMNS, "--max-bad-rows", 4)
    assert message == (
        f"{log}: expected at most 4 bad rows (--max-bad-rows), got 5: 1 × no item, 2 × time cannot be read, "
        "2 × wrong number of columns; such as 's1,,2024-05-01'. time: got 'yesterday', expected 2024-05-31, 2024/05/31 "
        "or 20240531, from 1900 to 2199, alone or with 23:59, 23:59:59.123 or 11:59:59 PM, which Z, UTC or +02:00 may "
        "follow; others by --time-format, like '%d/%m/%Y %H:%M:%S', and --time-unit"
    )
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]
    printed = words(succeed("prepare", "logs", log, tmp_path / "data", *COLUMNS, "--max-bad-rows", 5))
    assert "dropped: wrong number of columns 2" in printed
    assert read(tmp_path / "data" / "dataset.json")["source"]["bad_rows"] == {
        "no item": {"count": 1, "some": ["s1,,2024-05-01"]},
        "time cannot be read": {"count": 2, "some": ["s1,item-1,yesterday", "s2,item-1,2024-13-01"]},
        "wrong number of columns": {"count": 2, "some": ["s1,item-1", "s1,item-1,2024-05-01,more"]},
    }


def test_force(log: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    succeed("prepare", "logs", log, data, *COLUMNS)
    before = contents(data)
    assert refused("prepare", "logs", log, data, *COLUMNS) == f"{data}: expected a folder that does not exist yet"
    assert refused("prepare", "logs", log, data, *COLUMNS, "--force", "--test", "900d").startswith(
        "data: expected train"
    )
    assert contents(data) == before
    succeed("prepare", "logs", log, data, *COLUMNS, "--force", "--test", "2d")
    assert len(read_dataset(data).test) > 3
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "letter.txt").write_text("dear")
    assert refused("prepare", "logs", log, tmp_path / "mine", *COLUMNS, "--force") == (
        f"{tmp_path / 'mine'}: expected a folder with a dataset.json to replace, got something else"
    )
    assert temporary_files(tmp_path) == []


def test_run_in_the_folder_of_the_data_set(log: Path, tmp_path: Path) -> None:
    """It is not deleted with what is replaced; pictures of the data set are."""
    data = tmp_path / "data"
    succeed("prepare", "logs", log, data, *COLUMNS)
    (data / "session_lengths.png").touch()
    (data / "run").mkdir()
    (data / "run" / "model.safetensors").touch()
    before = contents(data)
    later = tmp_path / "later.csv"
    later.write_text("session,item,time\n" + "".join(f"n,item-{n % 7},2024-06-0{1 + n}\n" for n in range(9)))
    for command in (("logs", log, data, *COLUMNS, "--force"), ("update", data, later)):
        assert refused("prepare", *command).endswith("got run: move it away first")
        assert contents(data) == before
    (data / "run").rename(tmp_path / "run")
    succeed("prepare", "update", data, later)
    assert not (data / "session_lengths.png").exists()


def test_update(log: Path, tmp_path: Path) -> None:
    """In place, or beside; a model trained on the data set before still knows its items."""
    data = tmp_path / "data"
    succeed("prepare", "logs", log, data, *COLUMNS)
    before = read_dataset(data)
    new = tmp_path / "new.csv"
    new.write_text(
        "session,item,time\n" + "".join(f"n{n},{i},2024-06-0{1 + n}\n" for n in range(9) for i in ("new", "item-3"))
    )
    succeed("prepare", "update", data, new, "--output", tmp_path / "other")
    assert read_dataset(data).fingerprint() == before.fingerprint()
    printed = words(succeed("prepare", "update", data, new))
    assert printed.startswith("clicks: 18 new, 0 repeated sessions: 9 new, 0 continued, 0 repeated")
    after = read_dataset(data)
    content = contents(data)
    printed = succeed("prepare", "update", data, new).strip()
    assert printed == f"nothing new: all clicks of these logs are in {data} already"
    assert contents(data) == content
    assert after.fingerprint() == read_dataset(tmp_path / "other").fingerprint()
    assert after.vocabulary.raw_ids[: len(before.vocabulary)].equals(before.vocabulary.raw_ids)
    assert refused("prepare", "update", tmp_path / "nowhere", new).startswith(
        f"{tmp_path / 'nowhere'}: expected a data set"
    )


def test_training_goes_on_after_an_update(log: Path, tmp_path: Path) -> None:
    """The first epoch begins with yesterday's rows, and new ones for new items; resuming knows nothing of it."""
    data, new = tmp_path / "data", tmp_path / "new.csv"
    options = ("--epochs", 1, "--accelerator", "cpu", "--protocol", "all", "--learning-rate", 0)
    succeed("prepare", "logs", log, data, *COLUMNS)
    succeed("train", data, "--run", tmp_path / "first", *options, "--hidden-size", 8, "--seed", 3)
    clicks = "".join(f"n{n},{i},2024-06-0{1 + n}\n" for n in range(9) for i in ("new", "item-3"))
    new.write_text("session,item,time\n" + clicks)
    succeed("prepare", "update", data, new)
    succeed("train", data, "--run", tmp_path / "second", *options, "--start-from", tmp_path / "first")
    before, after = (load_file(tmp_path / name / "model.safetensors") for name in ("first", "second"))
    assert after["item_embedding.weight"].shape == (9, 8)
    for name, value in before.items():
        if not name.startswith("neighbours."):  # of the sessions, new ones too
            assert torch.equal(after[name][: len(value)], value)
    assert after["item_embedding.weight"][8].abs().sum() > 0
    assert read(tmp_path / "second" / "config.json")["dataset"]["start_from"] == str(tmp_path / "first")
    refusal = refused("train", data, "--run", tmp_path / "no", "--start-from", tmp_path / "first", "--hidden-size", 9)
    assert refusal == "--start-from: expected no options of the model, which is that run's, got hidden_size"
    succeed("prepare", "synthetic", tmp_path / "other", "--clicks", 100)
    refusal = refused("train", tmp_path / "other", "--run", tmp_path / "no", "--start-from", tmp_path / "first")
    assert refusal.startswith(
        "start_from: expected a run on the data set before an update, whose 7 items are the first"
    )
    assert not (tmp_path / "no").exists()


def test_titles(log: Path, tmp_path: Path) -> None:
    titles = tmp_path / "titles.csv"
    titles.write_text('id,title\nitem-1,"Red, shoes"\nitem-9,Nothing\n')
    data = tmp_path / "data"
    succeed("prepare", "logs", log, data, *COLUMNS, "--titles", titles)
    assert read_dataset(data).vocabulary.title("item-1") == "Red, shoes"
    assert read_dataset(data).vocabulary.title("item-2") is None
    succeed(
        "train",
        data,
        "--run",
        tmp_path / "run",
        "--epochs",
        1,
        "--hidden-size",
        8,
        "--accelerator",
        "cpu",
        "--protocol",
        "all",
    )
    assert "Red, shoes" in words(succeed("recommend", tmp_path / "run", "item-2", "-k", 7))
    more = tmp_path / "more.tsv"
    more.write_text("id\ttitle\nitem-2\tHats\n")
    printed = succeed("prepare", "update", data, log, "--titles", more)
    assert "titles: 1 of 1 are of items; 5 of 7 items have none" in words(printed)
    assert [read_dataset(data).vocabulary.title(f"item-{n}") for n in (1, 2, 3)] == ["Red, shoes", "Hats", None]
    more.write_text("id\ttitle\n2\tHats\n")
    assert refused("prepare", "update", data, log, "--titles", more).startswith(
        "titles: expected ids of items, such as 'item-"
    )
    titles.write_text("id\nitem-1\n")
    assert refused("prepare", "logs", log, tmp_path / "no", *COLUMNS, "--titles", titles) == (
        f"{titles}: expected an item id and a title in each row, got the columns id"
    )


def test_killed(tmp_path: Path) -> None:
    """It leaves nothing that looks finished, and the next call clears up."""
    log = write_log(tmp_path / "log.csv", 300_000)
    process = start("prepare", "logs", log, tmp_path / "data", *COLUMNS, start_new_session=True)
    wait_until(lambda: bool(list(tmp_path.glob(".data*/*/tables.duckdb"))), process)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "data").exists()
    succeed("prepare", "logs", log, tmp_path / "data", *COLUMNS)
    assert {path.name for path in tmp_path.iterdir()} == {"log.csv", "data"}


def test_interrupted(tmp_path: Path) -> None:
    log = write_log(tmp_path / "log.csv", 300_000)
    process = start("prepare", "logs", log, tmp_path / "data", *COLUMNS)
    wait_until(lambda: bool(list(tmp_path.glob(".data*/*/tables.duckdb"))), process)
    process.send_signal(signal.SIGINT)
    outcome = finish(process)
    assert (outcome.returncode, outcome.stderr) == (130, "")
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_full_disk(tmp_path: Path) -> None:
    """One sentence, and nothing half-written; files may have 2 MB here."""
    log = write_log(tmp_path / "log.csv", 300_000)
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 21, 1 << 21))  # noqa: E731
    outcome = finish(start("prepare", "logs", log, tmp_path / "data", *COLUMNS, preexec_fn=limit))
    assert outcome.returncode == 1
    assert outcome.stderr.startswith("error: prepare: ")
    assert outcome.stderr.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["log.csv"]


def test_without_the_engine(log: Path, tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['duckdb'] = None; sys.modules['ibis'] = None; from tagnn_fast.cli import main; main()"
    )
    command = [sys.executable, "-c", code, "prepare", "logs", str(log), str(tmp_path / "data"), *COLUMNS]
    outcome = subprocess.run(command, capture_output=True, text=True)
    assert outcome.returncode == 1
    assert outcome.stderr == "error: this command needs ibis: pip install 'tagnn_fast[prepare]'\n"


def test_from_a_log_to_figures(tmp_path: Path) -> None:
    """One week of real clicks, no option given: the model beats what it must beat, on validation and test sessions."""
    data, folder = tmp_path / "data", tmp_path / "run"
    succeed("prepare", "logs", shared("data/yoochoose-clicks-100k.dat"), data, "--format", "yoochoose")
    succeed("train", data, "--run", folder)
    found = read(folder / "result.json")["validation"]
    for name in ("sequential_rules", "session_popularity"):
        succeed("train", data, "--run", tmp_path / name, "--architecture", name)
        expected = read(tmp_path / name / "result.json")["validation"]
        assert found["HR@20"] > expected["HR@20"]
        assert found["MRR@20"] > expected["MRR@20"]
    printed = succeed("evaluate", folder)
    model, rules, session = (row(printed, name) for name in ("tagnn_pp", "sequential rules", "session popularity"))
    assert model[0] > rules[0] > session[0]
    assert run("info", data).returncode == 0
