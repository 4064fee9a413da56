"""`tagnn-fast info` on data sets and runs; the version and the help."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tagnn_fast import __version__
from tests.cli.commands import contents, read, refused, run, succeed, words


def printed_json(printed: str) -> Any:
    """The JSON after the table."""
    return json.JSONDecoder().raw_decode(printed[printed.index("\n{") + 1 :])[0]


def test_data_set(data: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(data, tmp_path / "data"))
    before, printed = contents(data), succeed("info", data)
    information = read(data / "dataset.json")
    assert "synthetic-900-200-0: 148 items" in words(printed)
    for key, value in information["statistics"]["train"].items():
        assert f"{key.replace('_', ' ')} {value:,} {information['statistics']['test'][key]:,}" in words(printed)
    assert printed_json(printed) == {"source": information["source"]}
    after = contents(data)
    plots = {name: content for name, content in after.items() if name not in before}
    assert set(plots) == {"session_lengths.png", "item_popularity.png"}
    for name, content in plots.items():
        assert content.startswith(b"\x89PNG")
        assert f"wrote {data / name}\n" in printed
    assert {name: after[name] for name in before} == before


def test_plots_that_cannot_be_written(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the data set may only be read, the rest is printed."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tagnn_fast.data.plots._save", refuse)
    assert f"no plots in {data}: [Errno 13] Permission denied\n" in succeed("info", data)


def test_run(trained: Path) -> None:
    before, printed = contents(trained), succeed("info", trained)
    config = read(trained / "config.json")
    assert "synthetic-900-200-0: 148 items" in words(printed)
    assert printed_json(printed) == {
        "model": config["model"],
        "training": config["training"],
        "newest_checkpoint": "epoch-002-step-000000",
        "result": read(trained / "result.json"),
        "looks_at_a_test_set": 1,
    }
    assert contents(trained) == before


def test_run_that_has_not_ended(copied: Path) -> None:
    (copied / "result.json").unlink()
    (copied / "test_reads.jsonl").unlink()
    shutil.rmtree(copied / "checkpoints" / "epoch-002-step-000000")
    described = printed_json(succeed("info", copied))
    assert (described["newest_checkpoint"], described["result"], described["looks_at_a_test_set"]) == (
        None,
        "not finished",
        0,
    )


def test_neither(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "nowhere"):
        assert refused("info", path) == f"{path}: expected a data set (dataset.json) or a run (config.json)"
    (tmp_path / "config.json").write_text("{}")
    assert refused("info", tmp_path) == (f"{tmp_path / 'config.json'}: expected format 'tagnn_fast.run', got None")


def test_damaged(copied: Path, data: Path, tmp_path: Path) -> None:
    (copied / "result.json").write_text("{")
    assert str(copied / "result.json") in refused("info", copied)
    other = Path(shutil.copytree(data, tmp_path / "data"))
    (other / "test.parquet").unlink()
    assert refused("info", other) == f"{other / 'test.parquet'}: expected this file of the data set"


def test_version() -> None:
    assert succeed("--version") == f"tagnn_fast {__version__}\n"


@pytest.mark.parametrize("command", ["prepare", "prepare exchange", "train", "evaluate", "recommend", "info", "demo"])
def test_help(command: str) -> None:
    short, long = (succeed(*command.split(), option) for option in ("-h", "--help"))
    assert short == long
    assert f"tagnn-fast {command} [OPTIONS]" in words(short)


def test_no_command() -> None:
    outcome = run()
    assert "tagnn-fast [OPTIONS] COMMAND" in words(outcome.stdout + outcome.stderr)
    outcome = run("fly")
    assert outcome.returncode == 2
    assert "No such command 'fly'" in words(outcome.stderr)
