"""What a comparison came to: figures of each method over its seeds, of groups of examples, and tests of each pair."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from rich.text import Text
from torch import Tensor

from tagnn_fast.data.dataset import Dataset
from tagnn_fast.data.examples import PrefixExamples
from tagnn_fast.evaluation.breakdowns import breakdowns
from tagnn_fast.evaluation.scoring import cutoffs_of
from tagnn_fast.evaluation.significance import PairedTest, paired_tests
from tagnn_fast.experiments.compare_trials import Ended, LeftOut, is_random
from tagnn_fast.extras import import_pandas
from tagnn_fast.tables import Shown, Table

FORMAT, VERSION = "tagnn_fast.comparison", 1
_SEEDS = 3  # that show how far trainings differ
LEVEL = 0.05  # of p-values: below, a difference is called more than chance


@dataclass(frozen=True)
class Spread:
    """A figure over seeds: its mean, its standard deviation (None for one seed), and its value for each."""

    mean: float
    deviation: float | None
    values: Sequence[float]

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """Of one value and more."""
        return cls(statistics.fmean(values), statistics.stdev(values) if len(values) > 1 else None, values)


@dataclass(frozen=True)
class MethodResult:
    """What a method came to.

    Attributes:
        name: of the method.
        options: that it was given, by name.
        configuration: all of them, the defaults too.
        seeds: those that have ended; 0 alone for a method without randomness.
        figures: of the test set, at 5, 10 and 20: HR, MRR, NDCG, coverage and popularity in percent, and the Gini
            coefficient.
        validation: HR, MRR, NDCG and coverage of the sessions held out; empty where none are.
        groups: HR and MRR at the longest cutoff of groups of test examples, by what they are grouped by and group; None
            of a group without examples.
        numbers: how many were learnt or are stored.
        bytes: of the file that has them.
        times: ``training_seconds``, and milliseconds to answer one session alone, ``single_ms``, and each of many at
            once, ``batched_ms``.
        weights: of a blend, what each member weighs, for each seed.
    """

    name: str
    options: Mapping[str, Any]
    configuration: Mapping[str, Any]
    seeds: Sequence[int]
    figures: Mapping[str, Spread]
    validation: Mapping[str, Spread]
    groups: Mapping[str, Mapping[str, Mapping[str, float] | None]]
    numbers: int
    bytes: int
    times: Mapping[str, Spread]
    weights: Sequence[Sequence[float]] = ()


@dataclass(frozen=True)
class Comparison(Shown):
    """Methods on one data set under one protocol; prints as a table.

    Attributes:
        dataset: name, fingerprint and statistics of the data set.
        protocol: which examples were trained on, and which chose the epoch.
        cutoff: length of the lists that the main figures are of: 20, or all items of a smaller catalogue.
        methods: those that have figures, best MRR first.
        left_out: trainings that have none, and why.
        tests: of the difference of each pair of methods in percent points, by metric: HR and MRR at the cutoff.
        examples: prefixes of the test set that were scored.
        sessions: that they were cut from.
        groups: how many examples each group has, by what they are grouped by.
        budget: seconds that training was given; None for no end.
        seconds: that training has taken, over all calls and seeds.
        machine: where times were measured.
    """

    dataset: Mapping[str, Any]
    protocol: str
    cutoff: int
    methods: Sequence[MethodResult]
    left_out: Sequence[LeftOut]
    tests: Mapping[str, Sequence[PairedTest]]
    examples: int
    sessions: int
    groups: Mapping[str, Mapping[str, int]]
    budget: float | None
    seconds: float
    machine: Sequence[str]

    def test(self, metric: str, first: str, second: str) -> PairedTest:
        """The test of two methods, in the order in which they are given."""
        for test in self.tests[metric]:
            if (test.first, test.second) == (first, second):
                return test
            if (test.first, test.second) == (second, first):
                low, high = (None if end is None else -end for end in (test.high, test.low))
                return PairedTest(first, second, -test.difference, low, high, test.p_value, test.corrected)
        raise KeyError(f"{first}, {second}")

    def best(self, metric: str) -> MethodResult | None:
        """The method with the highest figure; None where none has any."""
        return max(self.methods, key=lambda method: method.figures[metric].mean, default=None)

    def conclusions(self) -> list[str]:
        """Which method is best, and whether by more than chance: a few plain sentences."""
        sentences = []
        for metric, tests in self.tests.items():
            best = self.best(metric)
            if best is None:
                continue
            sentences.append(f"By {metric}, {best.name} is best: {best.figures[metric].mean:.2f}%.")
            if tests:
                sentences.append(self._beside_the_next(metric, best))
        # A blend is of all seeds already.
        trained = [method for method in self.methods if is_random(method.name) and not method.weights]
        few = [method.name for method in trained if len(method.seeds) < _SEEDS]
        if few and any(self.tests.values()):
            sentences.append(
                f"Chance is which sessions were the test set. How far trainings differ is not part of it, and takes "
                f"{_SEEDS} seeds and more to see; fewer have {', '.join(few)}."
            )
        return sentences

    def _beside_the_next(self, metric: str, best: MethodResult) -> str:
        others = [method for method in self.methods if method.name != best.name]
        others.sort(key=lambda method: -method.figures[metric].mean)
        runner_up = others[0]
        test = self.test(metric, best.name, runner_up.name)
        ahead = f"It is {test.difference:.2f} points ahead of {runner_up.name} (95% interval {test.interval}), "
        alike = [other.name for other in others if self.test(metric, best.name, other.name).corrected >= LEVEL]
        if not alike:
            return f"{ahead}which is more than chance (corrected p: {p_value(test.corrected)})."
        return f"{ahead}but chance alone may put it ahead of {', '.join(alike)} (corrected p of {LEVEL} and more)."

    def shown(self) -> Iterator[Table | Text]:
        """The main figures, which method is best, and what was left out."""
        headers = "method", *self.main_metrics(), "training", "one session"
        table = Table(title=f"{self.dataset['name']}, test sessions, in percent; {self.protocol}")
        for number, header in enumerate(headers):
            table.add(header, right=number > 0)
        for method in self.methods:
            figures = (spread(method.figures[name]) for name in self.main_metrics())
            training, single = method.times["training_seconds"].mean, method.times["single_ms"].mean
            table.add_row(method.name, *figures, duration(training), f"{single:.2f} ms")
        yield table
        yield from map(Text, self.conclusions())
        for left in self.left_out:
            yield Text(f"left out: {left.method}, seed {left.seed}: {left.reason}", "yellow")

    def main_metrics(self) -> list[str]:
        """Names of the figures that come first."""
        return [f"{name}@{self.cutoff}" for name in ("HR", "MRR", "coverage")]

    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame`` with a row per method: the mean of each figure and time, and its deviation."""
        rows = {}
        for method in self.methods:
            spreads = {**method.figures, **method.times}
            means = {name: value.mean for name, value in spreads.items()}
            deviations = {f"{name} deviation": value.deviation for name, value in spreads.items()}
            counts = {"seeds": len(method.seeds), "numbers": method.numbers, "bytes": method.bytes}
            rows[method.name] = {**means, **deviations, **counts}
        return import_pandas("to_pandas").DataFrame.from_dict(rows, orient="index")

    def to_json(self) -> dict[str, Any]:
        """All of it, as in ``results.json``."""
        return {"format": FORMAT, "version": VERSION, **asdict(self)}


def make_comparison(
    dataset: Dataset,
    protocol: str,
    outcomes: Sequence[Ended | LeftOut],
    budget: float | None,
    seconds: float,
) -> Comparison:
    """What some trials came to.

    Args:
        dataset: that they were made on.
        protocol: of all of them.
        outcomes: of each trial.
        budget: seconds that training was given.
        seconds: that it has taken.
    """
    examples = PrefixExamples(dataset.test)
    parts = breakdowns(examples, torch.from_numpy(dataset.vocabulary.counts))
    cutoff = cutoffs_of(len(dataset.vocabulary))[-1]
    ended: dict[str, list[Ended]] = {}
    for outcome in outcomes:
        if isinstance(outcome, Ended):
            ended.setdefault(outcome.trial.method, []).append(outcome)

    def groups(trials: Sequence[Ended]) -> dict[str, dict[str, dict[str, float] | None]]:
        found: dict[str, dict[str, dict[str, float] | None]] = {}
        for part in parts:
            by_seed = [part.figures(trial.ranked.ranks, cutoff) for trial in trials]
            found[part.title] = {
                group: {
                    metric: statistics.fmean(figures[number][metric] for figures in by_seed)
                    for metric in (f"HR@{cutoff}", f"MRR@{cutoff}")
                }
                if by_seed[0][number]
                else None
                for number, group in enumerate(part.groups)
            }
        return found

    methods = [_method(name, trials, groups(trials)) for name, trials in ended.items()]
    methods.sort(key=lambda method: -method.figures[f"MRR@{cutoff}"].mean)
    sessions = examples.session_numbers().numpy()
    values = {method.name: [trial.ranked.ranks for trial in ended[method.name]] for method in methods}
    return Comparison(
        dataset={
            "name": dataset.name,
            "fingerprint": dataset.fingerprint(),
            "statistics": dataset.statistics(),
        },
        protocol=protocol,
        cutoff=cutoff,
        methods=methods,
        left_out=[outcome for outcome in outcomes if isinstance(outcome, LeftOut)],
        tests={
            f"HR@{cutoff}": paired_tests({name: _mean(ranks, _hits) for name, ranks in values.items()}, sessions),
            f"MRR@{cutoff}": paired_tests({name: _mean(ranks, _inverses) for name, ranks in values.items()}, sessions),
        },
        examples=len(examples),
        sessions=len(np.unique(sessions)),
        groups={part.title: dict(zip(part.groups, part.sizes, strict=True)) for part in parts},
        budget=budget,
        seconds=seconds,
        machine=sorted({trial.machine for trials in ended.values() for trial in trials}),
    )


def _method(
    name: str, trials: Sequence[Ended], groups: Mapping[str, Mapping[str, Mapping[str, float] | None]]
) -> MethodResult:
    figures = [{**trial.ranked.figures, **trial.ranked.lists} for trial in trials]
    options = {key: value for key, value in trials[0].trial.options.items() if key not in ("seed", "architecture")}
    times = ("training_seconds", "single_ms", "batched_ms")
    return MethodResult(
        name=name,
        options=options,
        configuration=trials[0].configuration,
        seeds=[trial.trial.seed for trial in trials],
        figures={metric: Spread.of([of_seed[metric] for of_seed in figures]) for metric in figures[0]},
        validation={
            metric: Spread.of([trial.validation[metric] for trial in trials]) for metric in trials[0].validation
        },
        groups=groups,
        numbers=trials[0].numbers,
        bytes=trials[0].bytes,
        times={time: Spread.of([getattr(trial, time) for trial in trials]) for time in times},
        weights=[trial.weights for trial in trials if trial.weights],
    )


def _mean(ranks: Sequence[Tensor], value: Any) -> np.ndarray:
    """Of each example, the mean over seeds."""
    return np.mean([value(of_seed.double()).numpy() for of_seed in ranks], axis=0)  # type: ignore[no-any-return]


def _hits(ranks: Tensor) -> Tensor:
    return 100 * (ranks > 0).double()


def _inverses(ranks: Tensor) -> Tensor:
    return torch.where(ranks > 0, 100 / ranks.clamp(min=1), 0)


def spread(value: Spread, digits: int = 2) -> str:
    """Mean ± deviation, for people."""
    mean = f"{value.mean:,.{digits}f}"
    return mean if value.deviation is None else f"{mean} ± {value.deviation:,.{digits}f}"


def duration(seconds: float) -> str:
    """A time, for people."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 3600 else f"{seconds / 3600:.1f} h"


def p_value(value: float) -> str:
    """A p-value, for people."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"
