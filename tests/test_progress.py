"""Progress bars and tables, in terminals, in notebooks and where nobody looks."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
from rich.console import Console
from rich.text import Text

from tagnn_fast.observer import Observer
from tagnn_fast.progress import ProgressObserver, progress_bar, shown
from tagnn_fast.tables import Shown, Table

RECORD = {
    "epoch": 1,
    "learning_rate": 0.001,
    "training_loss": 2.5,
    "training_seconds": 3.0,
    "validation": {"HR@20": 50.0, "MRR@20": 20.0, "HR@5": 30.0},
}
EPOCH = "epoch 1: training loss 2.5000, 3 s, validation HR@20 50.00, validation MRR@20 20.00"


def work(observer: Observer) -> None:
    observer.stage("reading [all]")
    observer.begin("epoch 1", 200, done=50)
    observer.advance(50, 1.25)
    observer.begin("validation", 10)
    observer.advance(10)
    observer.end_epoch(RECORD)


def test_terminal() -> None:
    output = io.StringIO()
    console = Console(file=output, force_terminal=True, color_system=None, width=120)
    with progress_bar(console) as progress:
        observer = ProgressObserver(progress)
        observer.stage("reading")
        progress.refresh()
        observer.begin("epoch 1", 200, done=50)
        observer.advance(50, 1.25)
        progress.refresh()
        observer.end_epoch(RECORD)
    printed = output.getvalue()
    for part in ("reading", "100 of 200", "loss 1.2500", "epoch 1: training loss 2.5000, 3 s"):
        assert part in printed


def test_file() -> None:
    """There is a line for each epoch."""
    output = io.StringIO()
    with progress_bar(Console(file=output, force_terminal=False)) as progress:
        work(ProgressObserver(progress))
    assert output.getvalue().strip() == EPOCH


def test_notebook() -> None:
    """There is, too, as a real kernel tells it."""
    client = pytest.importorskip("nbclient", reason="no notebooks here")
    notebooks = pytest.importorskip("nbformat.v4")
    lines = (
        "from tagnn_fast.progress import ProgressObserver, progress_bar",
        "from tests.test_progress import work",
        "with progress_bar() as progress:",
        "    work(ProgressObserver(progress))",
    )
    notebook = notebooks.new_notebook(cells=[notebooks.new_code_cell("\n".join(lines))])
    client.NotebookClient(notebook, resources={"metadata": {"path": Path(__file__).parent.parent}}).execute()
    shown = [output["data"]["text/plain"] for output in notebook.cells[0].outputs if "data" in output]
    assert any(EPOCH in " ".join(text.split()) for text in shown), notebook.cells[0].outputs


def test_one_of_several() -> None:
    """The name of a training comes first."""
    output = io.StringIO()
    with progress_bar(Console(file=output, force_terminal=False)) as progress:
        observer = ProgressObserver(progress)
        observer.begin("sr_gnn, seed 1: epoch 1", 200)
        observer.begin("sr_gnn, seed 1: validation", 10)
        observer.end_epoch(RECORD)
    assert output.getvalue().strip() == (
        "sr_gnn, seed 1: epoch 1: training loss 2.5000, 3 s, validation HR@20 50.00, validation MRR@20 20.00"
    )


def test_who_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    own = Observer()
    with shown(own) as observer:
        assert observer is own
        work(observer)
    assert capsys.readouterr().out == ""
    with shown(None) as observer:
        work(observer)
    assert "epoch 1: training loss 2.5000" in capsys.readouterr().out


class Figures(Shown):
    """A table and a line."""

    def shown(self) -> Iterator[Table | Text]:
        """See the base class."""
        table = Table("name", title="[title]")
        table.add_row("a" * 300)
        yield table
        yield Text("line " * 40)


def test_tables() -> None:
    """Whole as text, whatever the width; and in a notebook as HTML."""
    figures = Figures()
    lines = str(figures).splitlines()
    assert lines[0] == "[title]"
    assert any("a" * 300 in line for line in lines)
    assert lines[-1] == "line " * 40
    assert figures._repr_mimebundle_(include=[], exclude=[])["text/html"].count("line line") > 10
