"""The report of a comparison, for a merchandiser first and a researcher then: text, tables and plots, in no format."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from tagnn_fast.evaluation.significance import FEWEST, RESAMPLES
from tagnn_fast.experiments.compare_results import LEVEL, Comparison, MethodResult, Spread, duration, p_value, spread


@dataclass(frozen=True)
class Heading:
    """A heading of a level, 1 for that of the report."""

    level: int
    text: str


@dataclass(frozen=True)
class Paragraph:
    """Some sentences."""

    text: str


@dataclass(frozen=True)
class Rows:
    """A table: what it shows, the names of its columns, and its rows, whose first cells are their names."""

    caption: str
    headers: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Bars:
    """A plot of values by name, side by side for each series.

    Attributes:
        title: what it shows.
        names: along the axis.
        series: of each, a value for each name.
        deviations: of each value.
        unit: of the values.
    """

    title: str
    names: Sequence[str]
    series: Mapping[str, Sequence[float]]
    deviations: Mapping[str, Sequence[float]]
    unit: str


@dataclass(frozen=True)
class Lines:
    """A plot of values by group, a line for each series.

    Attributes:
        title: what it shows.
        names: of the groups, along the axis.
        series: of each, a value for each group.
        unit: of the values.
    """

    title: str
    names: Sequence[str]
    series: Mapping[str, Sequence[float]]
    unit: str


@dataclass(frozen=True)
class Points:
    """A plot of points with names, the horizontal axis logarithmic."""

    title: str
    names: Sequence[str]
    x: Sequence[float]
    y: Sequence[float]
    x_label: str
    y_label: str


Plot = Bars | Lines | Points
Block = Heading | Paragraph | Rows | Plot


def report(comparison: Comparison) -> Iterator[Block]:
    """The report from top to bottom."""
    yield Heading(1, f"Comparison on {comparison.dataset['name']}")
    yield from _in_short(comparison)
    if comparison.methods:
        yield from _accuracy(comparison)
        yield from _differences(comparison)
        yield from _groups(comparison)
        yield from _lists(comparison)
        yield from _costs(comparison)
    yield from _how(comparison)


def _in_short(comparison: Comparison) -> Iterator[Block]:
    main, methods = comparison.main_metrics(), comparison.methods
    hits = comparison.best(main[0])
    if hits is None:
        yield Paragraph("No method has any figures yet.")
    else:
        yield Paragraph(
            f"{hits.name} finds the most: in {hits.figures[main[0]].mean:.0f} of 100 cases, what a visitor clicked on "
            f"next was among its {comparison.cutoff} recommendations. " + " ".join(comparison.conclusions())
        )
        rows = [
            [
                method.name,
                *(spread(method.figures[name]) for name in main),
                duration(method.times["training_seconds"].mean),
                f"{method.times['single_ms'].mean:.2f} ms",
            ]
            for method in methods
        ]
        headers = ["method", *main, "training", "one session"]
        yield Rows("The main figures of the test sessions, in percent, best MRR first", headers, rows)
    if comparison.left_out:
        yield Paragraph("Left out, and in no figure of this report:")
        rows = [[left.method, str(left.seed), left.reason] for left in comparison.left_out]
        yield Rows("Trainings without figures", ["method", "seed", "why"], rows)


def _accuracy(comparison: Comparison) -> Iterator[Block]:
    hit, inverse, _ = comparison.main_metrics()
    methods = comparison.methods
    yield Heading(2, "How often the next click was recommended")
    yield Bars(
        f"{hit} and {inverse}, with the standard deviation over seeds",
        [method.name for method in methods],
        {name: [method.figures[name].mean for method in methods] for name in (hit, inverse)},
        {name: [method.figures[name].deviation or 0.0 for method in methods] for name in (hit, inverse)},
        "%",
    )
    yield Paragraph(
        "HR@K: targets among the first K recommendations. MRR@K: mean of 1 / rank, 0 beyond K. NDCG@K: mean of "
        "1 / log2(rank + 1), 0 beyond K. Over the full catalogue, one target for each prefix of each test session. "
        "Mean ± standard deviation over seeds; methods without randomness have one run."
    )
    yield _table(comparison, "Accuracy on the test sessions, in percent", ("HR", "MRR", "NDCG"))
    if validated := [method for method in methods if method.validation]:
        names = [name for name in validated[0].validation if name.startswith(("HR", "MRR", "NDCG"))]
        rows = [[method.name, *(spread(method.validation[name]) for name in names)] for method in validated]
        yield Rows("The same on the sessions held out of training, which chose epochs", ["method", *names], rows)


def _table(comparison: Comparison, caption: str, metrics: Sequence[str]) -> Rows:
    names = [name for name in comparison.methods[0].figures if name.partition("@")[0] in metrics]
    names.sort(key=lambda name: metrics.index(name.partition("@")[0]))
    rows = [[method.name, *(_figure(name, method.figures[name]) for name in names)] for method in comparison.methods]
    return Rows(caption, ["method", *names], rows)


def _figure(name: str, value: Spread) -> str:
    return spread(value, 3 if name.startswith("Gini") else 2)


def _differences(comparison: Comparison) -> Iterator[Block]:
    if len(comparison.methods) < 2:
        return
    yield Heading(2, "Which differences are more than chance")
    yield Paragraph(
        f"Each pair of methods on the same {comparison.sessions:,} test sessions; whole sessions are drawn and "
        "swapped, since the prefixes of one are not independent. Intervals are 95% percentile intervals of a paired "
        f"bootstrap, of {FEWEST} sessions and more; p is of a paired randomisation test, two-sided, both of "
        f"{RESAMPLES:,} draws, corrected for the number of pairs after Holm. More than chance: corrected p below "
        f"{LEVEL}. Seeds are averaged: chance is which "
        "sessions were the test set, and not how trainings differ."
    )
    order = [method.name for method in comparison.methods]
    for metric in comparison.tests:
        rows = []
        for first, second in combinations(order, 2):
            test = comparison.test(metric, first, second)
            rows.append(
                [
                    f"{first} − {second}",
                    f"{test.difference:+.2f}",
                    test.interval,
                    p_value(test.p_value),
                    p_value(test.corrected),
                    "yes" if test.corrected < LEVEL else "no",
                ]
            )
        headers = ["pair", "difference", "95% interval", "p", "corrected p", "more than chance"]
        yield Rows(f"Differences in {metric}, in percent points", headers, rows)


def _groups(comparison: Comparison) -> Iterator[Block]:
    yield Heading(2, "Whom averages hide")
    metrics = comparison.main_metrics()[:2]
    for title, sizes in comparison.groups.items():
        yield Heading(3, f"By {title}")
        filled = [group for group, size in sizes.items() if size]
        yield Lines(
            f"{metrics[0]} by {title}",
            filled,
            {
                method.name: [_of_group(method, title, group, metrics[0]) for group in filled]
                for method in comparison.methods
            },
            "%",
        )
        for metric in metrics:
            headers = ["method", *(f"{group}: {sizes[group]:,} examples" for group in filled)]
            rows = [
                [method.name, *(f"{_of_group(method, title, group, metric):.2f}" for group in filled)]
                for method in comparison.methods
            ]
            yield Rows(f"{metric} by {title}, in percent", headers, rows)


def _of_group(method: MethodResult, title: str, group: str, metric: str) -> float:
    figures = method.groups[title][group]
    assert figures is not None  # it has examples
    return figures[metric]


def _lists(comparison: Comparison) -> Iterator[Block]:
    yield Heading(2, "What is recommended")
    yield Paragraph(
        "Coverage: items of the catalogue that anybody is recommended. Popularity: mean over lists of the mean "
        "training clicks of their items, in percent of those of the most clicked item; the higher, the more a method "
        "recommends what everybody knows. Gini: how unevenly items are recommended, from 0, all equally often, to 1, "
        "always the same one."
    )
    yield _table(comparison, "Coverage and popularity in percent, Gini from 0 to 1", ("coverage", "popularity", "Gini"))


def _costs(comparison: Comparison) -> Iterator[Block]:
    methods, metric = comparison.methods, comparison.main_metrics()[1]
    yield Heading(2, "What it costs")
    yield Points(
        f"{metric} and the time to answer one session",
        [method.name for method in methods],
        [method.times["single_ms"].mean for method in methods],
        [method.figures[metric].mean for method in methods],
        "milliseconds to answer one session",
        f"{metric}, %",
    )
    yield Paragraph(
        "Training: seconds of all epochs, or of counting, without what is scored between and after them. One session: "
        "the median time to answer one session alone. Many at once: the time for each of 512 in one call. Both on the "
        "CPU, of the most recent training sessions, 20 recommendations. Numbers: how many were learnt, or are stored. "
        f"Measured on {'; '.join(comparison.machine)}."
    )
    rows = [
        [
            method.name,
            spread(method.times["training_seconds"], 1),
            spread(method.times["single_ms"], 3),
            spread(method.times["batched_ms"], 3),
            f"{method.numbers:,}",
            f"{method.bytes / 1e6:,.1f}",
        ]
        for method in methods
    ]
    headers = ["method", "training, s", "one session, ms", "many at once, ms each", "numbers", "megabytes"]
    yield Rows("Time and size", headers, rows)


def _how(comparison: Comparison) -> Iterator[Block]:
    statistics = comparison.dataset["statistics"]
    yield Heading(2, "How this was made")
    limit = "no limit" if comparison.budget is None else f"a budget of {duration(comparison.budget)}"
    yield Paragraph(
        f"Every method was fitted under the protocol {comparison.protocol} and scored the test set once, which chose "
        "nothing. A target that no training session has is a miss of every method; a prefix without a known click is "
        "answered by popularity; equal scores stand in a fixed order. Training and "
        f"validation took {duration(comparison.seconds)} in all, under {limit}."
    )
    if any(method.weights for method in comparison.methods):
        yield Paragraph(
            "Ensembles rank items by the mean of the shares of 1 that a method with several seeds gives them; hybrids "
            "mix two methods by one weight, chosen by MRR on the sessions held out, by runs that had not seen them. "
            "Their training is that of their members, and choosing the weight."
        )
    yield Rows(
        "Data set",
        ["", "value"],
        [
            ["name", str(comparison.dataset["name"])],
            ["fingerprint", str(comparison.dataset["fingerprint"])],
            ["items", f"{statistics['items']['count']:,}"],
            ["training sessions", f"{statistics['train']['sessions']:,}"],
            ["test sessions scored", f"{comparison.sessions:,}"],
            ["test prefixes scored", f"{comparison.examples:,}"],
            ["of which targets without a row", f"{statistics['test']['targets_without_a_row']:,}"],
        ],
    )
    rows = [
        [
            method.name,
            ", ".join(map(str, method.seeds)),
            _given(method),
        ]
        for method in comparison.methods
    ]
    if rows:
        yield Rows("Methods", ["method", "seeds", "options given"], rows)


def _given(method: MethodResult) -> str:
    """The options that a method was given, or what the members of a blend weigh with each seed."""
    if method.weights:
        return "weights " + "; ".join(" + ".join(f"{one:.3g}" for one in of_seed) for of_seed in method.weights)
    return ", ".join(f"{name} {value}" for name, value in method.options.items() if name != "protocol") or "defaults"
