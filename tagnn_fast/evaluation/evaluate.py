"""A run's model on test sessions, beside the baselines."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.text import Text

from tagnn_fast.baselines import BASELINES
from tagnn_fast.data.dataset import Dataset, read_dataset
from tagnn_fast.data.examples import PrefixExamples
from tagnn_fast.data.other_rows import by_rows_of
from tagnn_fast.evaluation.scoring import score_model
from tagnn_fast.extras import import_pandas
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.observer import Observer
from tagnn_fast.progress import shown
from tagnn_fast.recommender import Recommender
from tagnn_fast.runs.beginning import seen_in_test
from tagnn_fast.runs.run import Run, open_run
from tagnn_fast.tables import Shown, Table, figures_table, main_figures

_BESIDE = ("vs_knn", "sequential_rules", "session_popularity", "popularity")  # baselines that every model stands beside


@dataclass(frozen=True)
class Evaluation(Shown):
    """What an evaluation gave; prints as a table.

    Attributes:
        dataset: name of the data set whose test sessions were scored.
        figures: HR, MRR, NDCG and coverage at each cutoff, in percent, such as ``figures["tagnn_pp"]["HR@20"]``, by
            recommender: the model by its architecture, then the baselines.
        examples: how many prefixes were scored.
        targets_without_a_row: how many of their targets the model cannot recommend: misses of all recommenders.
        items_without_a_row: how many items the data set has that the run has not, after an update.
        looks: how often the run has looked at a test set so far, this time included.
        caution: what a reader of the figures must know; empty where nothing is wrong with them.
    """

    dataset: str
    figures: dict[str, dict[str, float]]
    examples: int
    targets_without_a_row: int
    items_without_a_row: int
    looks: int
    caution: str = ""

    def shown(self) -> Iterator[Table | Text]:
        """The figures at the longest cutoff, and what to know of them."""
        rows = {name: main_figures(figures) for name, figures in self.figures.items()}
        yield figures_table(rows, f"{self.dataset}, test sessions, in percent")
        if self.items_without_a_row:
            yield Text(
                f"targets without a row in the run, which are misses: {self.targets_without_a_row:,} of "
                f"{self.examples:,}; the data set has {self.items_without_a_row:,} items more"
            )
        yield Text(f"looks at a test set so far: {self.looks}")
        if self.caution:
            yield Text(f"Beware: {self.caution}", "yellow")

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a row per recommender and a column per metric."""
        return import_pandas("to_pandas").DataFrame.from_dict(self.figures, orient="index")


def evaluate(
    run: Run | str | Path, data: Dataset | str | Path | None = None, *, observer: Observer | None = None
) -> Evaluation:
    """Score a run's model on test sessions, beside V-SkNN, sequential rules and two kinds of popularity.

    Each call is a look at the test set, and is added to ``test_reads.jsonl`` in the run folder. Where the data set has
    been updated since, targets without a row in the run are misses, of the baselines too, which know all of it.

    Args:
        run: the run, or its folder.
        data: another data set, or its folder, that has the run's items, as after an update; its own if not given.
        observer: told how it goes; a progress bar if not given. ``Observer()`` shows nothing.

    Raises:
        FileNotFoundError: where the run or the data set is not there, or before the run's first epoch has ended.
        ValueError: where the data set lacks items of the run or has no test sessions of two clicks; or, where none is
            given, is neither the run's own nor what updates made of that.
        FloatingPointError: where a score is not finite.
    """
    run = run if isinstance(run, Run) else open_run(run)
    if data is None:
        dataset = run.read_dataset()
        run.check_dataset(dataset, updated=True)
    else:
        dataset = data if isinstance(data, Dataset) else read_dataset(data)
    own = dataset.fingerprint() == run.dataset["fingerprint"]
    seen = dataset if own else by_rows_of(run.vocabulary, dataset)
    examples = PrefixExamples(seen.test)
    if len(examples) == 0:
        raise ValueError(f"{dataset.name}: expected test sessions of two clicks or more, got none")
    with shown(observer) as told:
        figures = _figures(run, seen, examples, told)
    return Evaluation(
        dataset.name,
        figures,
        len(examples),
        int(seen.statistics()["test"]["targets_without_a_row"]),
        len(dataset.vocabulary) - len(seen.vocabulary),
        len(run.test_reads()),
        _caution(run, dataset, own),
    )


def _caution(run: Run, dataset: Dataset, own: bool) -> str:
    """Whether the run's weights may have been trained on the test sessions, or on less than the baselines were."""
    seen = run.began_with if own else run.trained_until
    found = [] if seen is None else [seen_in_test(dataset, seen)]
    if own and run.training.protocol == "published-test":
        found.append("Its epoch was chosen on these very sessions: the figures say nothing of new ones.")
    if run.training.protocol == "held-out":
        found.append(
            "The baselines beside it know the last tenth of the training sessions, too, which it was not trained on."
        )
    return " ".join(filter(None, found))


def _figures(run: Run, dataset: Dataset, examples: PrefixExamples, observer: Observer) -> dict[str, dict[str, float]]:
    """Of the model, whose look at the test set is logged before anybody sees it, and of the baselines."""
    vocabulary = dataset.vocabulary
    observer.begin(run.training.architecture, len(examples))
    figures = {run.training.architecture: score_model(run.recommender(), examples, observer.advance)}
    run.log_test_read("evaluate", dataset.name, figures[run.training.architecture])
    for name in _BESIDE:
        if name == run.training.architecture:
            continue
        baseline = BASELINES[name](ModelConfig(len(vocabulary)))
        baseline.fit(dataset.train)
        shown_name = name.replace("_", " ")
        observer.begin(shown_name, len(examples))
        figures[shown_name] = score_model(Recommender(baseline, vocabulary), examples, observer.advance)
    return figures
