"""What a tuning came to: its trials and the best of them, as a table and as files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from tagnn_fast.extras import import_pandas
from tagnn_fast.files import write_text
from tagnn_fast.tables import Shown, Table, main_figures

_SHOWN = 10  # trials


@dataclass(frozen=True)
class Trial:
    """A configuration that was tried.

    Attributes:
        number: from 1, in order.
        options: the values that were drawn, by name.
        value: of the metric, in percent; None where it was given up.
        figures: on the validation sessions, in percent; none where it was given up.
        epochs: that were trained.
        seconds: that it took, over all calls.
        reason: why it was given up.
    """

    number: int
    options: Mapping[str, Any]
    value: float | None
    figures: Mapping[str, float]
    epochs: int
    seconds: float
    reason: str

    def record(self) -> dict[str, Any]:
        """Everything by name, such as ``option.hidden_size`` and ``validation.HR@20``."""
        return {
            "trial": self.number,
            "value": self.value,
            "epochs": self.epochs,
            "seconds": self.seconds,
            "reason": self.reason,
            **{f"option.{name}": value for name, value in self.options.items()},
            **{f"validation.{name}": value for name, value in self.figures.items()},
        }


@dataclass(frozen=True)
class Tuning(Shown):
    """The trials of a tuning so far; prints as a table of the best.

    Attributes:
        folder: where it is.
        model: name of the method.
        metric: what is to be high, on the validation sessions.
        wanted: trials that were asked for.
        trials: those that have ended, in their order.
    """

    folder: Path
    model: str
    metric: str
    wanted: int
    trials: Sequence[Trial]

    @property
    def ranking(self) -> list[Trial]:
        """The trials that came to an end, best first; of equals, the first."""
        ended = [(trial.value, -trial.number, trial) for trial in self.trials if trial.value is not None]
        return [trial for _, _, trial in sorted(ended, reverse=True)]

    @property
    def best(self) -> Trial | None:
        """The best trial; None where none has come to an end."""
        return next(iter(self.ranking), None)

    @property
    def config(self) -> Path:
        """File of the best configuration, which :func:`tagnn_fast.fit` and ``tagnn-fast train`` take as config."""
        return self.folder / "best.json"

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a row per trial; columns such as ``option.hidden_size``, ``validation.HR@20``."""
        return import_pandas("to_pandas").DataFrame([trial.record() for trial in self.trials])

    def shown(self) -> Iterator[Table | Text]:
        """The best trials, and how many there were."""
        ranking = self.ranking[:_SHOWN]
        if ranking:
            table = Table("trial", title=f"{self.model} by {self.metric} of the validation sessions, in percent")
            usual = (name for name in main_figures(ranking[0].figures) if name.startswith(("HR", "MRR")))
            figures = list(dict.fromkeys([self.metric, *usual]))
            for name in (*figures, *ranking[0].options, "epochs", "seconds"):
                table.add(name, right=True)
            for trial in ranking:
                scores = (f"{trial.figures[name]:.2f}" for name in figures)
                options = (shown_value(value) for value in trial.options.values())
                table.add_row(str(trial.number), *scores, *options, str(trial.epochs), f"{trial.seconds:,.1f}")
            yield table
        given_up = sum(trial.value is None for trial in self.trials)
        line = f"{len(self.trials)} of {self.wanted} trials"
        yield Text(f"{line}, {given_up} of them given up" if given_up else line)
        if len(self.trials) < self.wanted:
            yield Text("the budget is spent; the same with more goes on", "yellow")

    def write_trials(self) -> None:
        """Write ``trials.csv``, with a row per trial."""
        records = [trial.record() for trial in self.trials]
        columns = list(dict.fromkeys(name for record in records for name in record))
        text = io.StringIO()
        writer = csv.DictWriter(text, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(records)
        write_text(self.folder / "trials.csv", text.getvalue())


def shown_value(value: object) -> str:
    """An option's value in a few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)
