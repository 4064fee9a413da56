"""What benchmarks.jobs.recipes found, as a table: every recipe that was tried, losers included.

    python -m benchmarks.jobs.recipes_table RESULTS.jsonl [RESULTS.jsonl …] > TABLE.md

A row for each recipe, the best first: its options (where they are not those of `clean`), HR@20 and MRR@20 on the
validation sessions after the epoch with the highest MRR@20, as `fit` chooses it, means over its seeds with their
standard deviation, and the median time of an epoch. A training that was broken off has no row.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from statistics import mean, median, stdev
from typing import Any

from benchmarks.jobs.recipes import SHOWN
from tagnn_fast.training.recipes import resolve
from tagnn_fast.training.schedule import choose_epoch

Training = list[Mapping[str, Any]]  # a record for each epoch
UNSHOWN = {"num_items", "seed", "protocol", "accelerator", "max_clicks_per_batch", "options"}
HEADINGS = ("recipe", "options", "seeds", "epoch", *SHOWN, "seconds an epoch")


def main() -> None:
    """Print the tables, one for each data set."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks.jobs.recipes_table",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", type=Path, nargs="+", help="files of benchmarks.jobs.recipes")
    lines = [
        json.loads(line)
        for path in parser.parse_args().results
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    for data in dict.fromkeys(line["data"] for line in lines):
        trainings = defaultdict(list)
        for name, training in ended(line for line in lines if line["data"] == data):
            trainings[name].append(training)
        if trainings:
            print(f"## {data}\n\n{section(trainings)}")


def section(trainings: Mapping[str, list[Training]]) -> str:
    """The options that all of them have, and a row for each recipe, by MRR@20."""
    chosen = {name: options(of_name[0][0]["configuration"]) for name, of_name in trainings.items()}
    first, *others = chosen.values()
    common = {key: value for key, value in first.items() if all(other.get(key) == value for other in others)}
    found = [
        row(name, of_name, {key: value for key, value in chosen[name].items() if key not in common})
        for name, of_name in sorted(trainings.items(), key=lambda named: -mean(best(run)["MRR@20"] for run in named[1]))
    ]
    table = "".join(f"| {' | '.join(cells)} |\n" for cells in [HEADINGS, ["---"] * len(HEADINGS), *found])
    return f"All of them: {shown(common)}.\n\n{table}" if common else table


def ended(lines: Iterable[Mapping[str, Any]]) -> Iterator[tuple[str, Training]]:
    """The trainings that came to their end: name, and a record for each epoch."""
    begun: dict[tuple[str, int], Training] = {}
    for line in lines:
        key = line["name"], line["seed"]
        if line["epoch"] == 1:
            begun[key] = []
        begun[key].append(line)
        if line["ended"]:
            yield line["name"], begun.pop(key)


def best(training: Training) -> Mapping[str, Any]:
    """The record of the epoch that is chosen."""
    figures = [{"epoch": record["epoch"], "validation": {name: record[name] for name in SHOWN}} for record in training]
    return training[choose_epoch(figures) - 1]


def row(name: str, trainings: list[Training], different: Mapping[str, Any]) -> list[str]:
    """A recipe's cells."""
    chosen = [best(training) for training in trainings]
    figures = []
    for figure in SHOWN:
        values = [record[figure] for record in chosen]
        figures.append(f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else ""))
    epochs = [f"{record['epoch']} of {len(training)}" for record, training in zip(chosen, trainings, strict=True)]
    seconds = median(record["seconds"] for training in trainings for record in training)
    return [name, shown(different), str(len(trainings)), ", ".join(dict.fromkeys(epochs)), *figures, f"{seconds:.0f}"]


def options(configuration: Mapping[str, Any]) -> dict[str, Any]:
    """What is not as in `clean`."""
    plain = resolve("clean", {}, configuration["model"]["num_items"], 0)
    different: dict[str, Any] = {}
    for default, given in zip(plain, (configuration["model"], configuration["training"]), strict=True):
        of_all = {**given, **given.get("options", {})}
        different.update({key: value for key, value in of_all.items() if value != getattr(default, key, None)})
    return {key: value for key, value in different.items() if key not in UNSHOWN}


def shown(given: Mapping[str, Any]) -> str:
    """Options as a reader gives them."""
    return ", ".join(f"`{name}={value}`" for name, value in given.items())


if __name__ == "__main__":
    main()
