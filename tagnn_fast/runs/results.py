"""What a run came to: its epochs and its figures, as dictionaries that print as tables."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.text import Text

from tagnn_fast.extras import import_pandas
from tagnn_fast.tables import Shown, Table, figures_table, main_figures


class History(Shown, list[dict[str, Any]]):
    """A record per finished epoch, as in ``history.json``: a list of dictionaries."""

    def shown(self) -> Iterator[Table | Text]:
        """Loss and time of each epoch, and what was scored after it at the longest cutoff, in percent."""
        first = [record for record in self if not record.get("refit")]
        yield _epochs("training, by epoch", first)
        if refit := self[len(first) :]:
            yield _epochs("then on all sessions", refit)

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a row per epoch; validation figures are columns such as ``validation.HR@20``."""
        return import_pandas("to_pandas").json_normalize(list(self))


class Result(Shown, dict[str, Any]):
    """The content of ``result.json``: the chosen epoch, or a blend's weights; validation and test figures; cautions."""

    @property
    def figures(self) -> dict[str, dict[str, float]]:
        """All figures, in percent, by what was scored: "validation" and "test", or "best of each metric"."""
        if "best_of_each_metric" in self:
            best = self["best_of_each_metric"]
            return {"best of each metric": {name: entry["value"] for name, entry in best.items()}}
        return {split: self[split] for split in ("validation", "test") if split in self}

    def shown(self) -> Iterator[Table | Text]:
        """The figures at the longest cutoff, and what to beware of."""
        if rows := {name: main_figures(figures) for name, figures in self.figures.items()}:
            best = "best_of_each_metric" in self
            stages = [f"epoch {self['epoch']}"] if "epoch" in self and not best else []
            stages += (
                ["weights " + " + ".join(f"{weight:.3g}" for weight in self["weights"])] if "weights" in self else []
            )
            stages += ["then trained on all sessions"] if "refit" in self and not best else []
            yield figures_table(rows, ", ".join([*stages, "in percent"]))
        if self.get("caution"):
            yield Text(f"Beware: {self['caution']}", "yellow")

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a row for each of :attr:`figures` and a column per metric."""
        return import_pandas("to_pandas").DataFrame.from_dict(self.figures, orient="index")


# A baseline has neither rates nor losses.
_WRITTEN = {"epoch": "d", "learning_rate": ".3g", "training_loss": ".4f", "training_seconds": ",.1f"}


def _epochs(title: str, records: list[dict[str, Any]]) -> Table:
    table = Table(title=title)
    scored = [main_figures(record["validation"]) if "validation" in record else {} for record in records]
    written = {name: how for name, how in _WRITTEN.items() if all(name in record for record in records)}
    for name in (*written, *(scored[0] if scored else ())):
        table.add("seconds" if name == "training_seconds" else name.replace("_", " "), right=True)
    for record, figures in zip(records, scored, strict=True):
        cells = (format(record[name], how) for name, how in written.items())
        table.add_row(*cells, *(f"{value:.2f}" for value in figures.values()))
    return table
