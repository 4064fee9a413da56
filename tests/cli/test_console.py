"""What is printed: nothing is cut, and help says what the source says."""

from __future__ import annotations

import io
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from tagnn_fast.cli import app
from tagnn_fast.cli.info import dataset_table, steps_table
from tagnn_fast.tables import Table, WideConsole, figures_table
from tests.cli.commands import succeed
from tests.runs.small_runs import write_run

LONG = [f"{number}" * 64 for number in range(1, 6)]


def test_long_ids_are_whole_where_nobody_looks(tmp_path: Path) -> None:
    path = write_run(tmp_path, LONG, [f"title {number} " * 20 for number in range(5)])
    for printed in (
        succeed("recommend", path, *LONG),
        succeed("recommend", path, "x" * 64),
        succeed("similar", path, LONG[0]),
    ):
        assert "…" not in printed
        lines = [line.split("│") for line in printed.splitlines() if line.startswith("│")]
        assert {line[2].strip() for line in lines} | {LONG[0]} == set(LONG)
        assert {len(line) for line in lines} == {6}
        assert all(len(line[4].strip()) == len("title 0 " * 20) - 1 for line in lines)
    assert f"after {' '.join(LONG)}\n" in succeed("recommend", path, *LONG)


def test_other_tables_are_whole_where_nobody_looks() -> None:
    name = "n" * 300
    counts = {"sessions": 10**30, name: 1}
    split: dict[str, dict[str, float]] = {"items": {"count": 1}, "train": counts, "test": counts}
    source = {"bad_rows": {name: {"count": 1}}, "steps": [{"step": name, "clicks": 1, "sessions": 1, "items": 1}]}
    figures = {f"HR@{k}": 1.0 for k in range(40)}
    for table in (dataset_table(name, split), steps_table(source), figures_table({name: figures}, name)):
        output = io.StringIO()
        WideConsole(file=output).print(table)
        assert "…" not in output.getvalue()
        assert f" {name} " in output.getvalue()
        assert all(text in output.getvalue() for text in (figures if table.row_count == 1 else []))


@pytest.mark.parametrize("width", [20, 40, 79])
def test_terminals_fold(width: int) -> None:
    """All of an id is there, on as many lines as it takes."""
    table = Table("rank", title=f"after {LONG[0]}")
    table.add("item", right=True)
    table.add_row("1", LONG[1])
    output = io.StringIO()
    WideConsole(file=output, force_terminal=True, color_system=None, width=width).print(table)
    text = output.getvalue()
    assert all(len(line) <= width for line in text.splitlines())
    assert (text.count("1"), text.count("2"), text.count("…")) == (64 + 1, 64, 0)


def test_brackets_are_no_markup(tmp_path: Path) -> None:
    path = write_run(tmp_path, ["[bold]", "[/x]", ":smile:"])
    printed = succeed("recommend", path, "[bold]", "[/x]")
    assert printed.startswith("after [bold] [/x]\n")
    assert all(f" {item} " in printed for item in ("[bold]", "[/x]", ":smile:"))


def commands() -> Iterator[tuple[list[str], Any]]:
    def below(names: list[str], command: Any) -> Iterator[tuple[list[str], Any]]:
        yield names, command
        for name, part in getattr(command, "commands", {}).items():
            yield from below([*names, name], part)

    return below([], typer.main.get_command(app))


@pytest.mark.parametrize(
    ("names", "command"), list(commands()), ids=lambda value: " ".join(value) if isinstance(value, list) else ""
)
def test_help_is_what_the_source_says(names: list[str], command: Any) -> None:
    """Every text that a command and its options are described by, brackets and all."""
    printed = "".join(succeed(*names, "--help").split())
    callback = command.callback
    texts = [callback.__doc__ if callback and names else command.help]
    for hint in typing.get_type_hints(callback, include_extras=True).values() if callback else ():
        texts += [part.help for part in getattr(hint, "__metadata__", ()) if getattr(part, "help", None)]
    for text in texts:
        assert "".join(text.split()) in printed
