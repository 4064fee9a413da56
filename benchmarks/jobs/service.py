"""The HTTP service under an open-loop load, and the same model behind FastAPI.

    python -m benchmarks.jobs.service REPORT_FOLDER --seconds 60

exports models of random weights, starts `tagnn-fast serve` on each, sends it sessions of one to many clicks, as many as
Yoochoose's have, k = 20, and writes a table (table.md) and the figures (figures.json). Every answer is compared with
the model's, loaded here, after the load. Each case is ITEMS:HIDDEN:RATE,..., the rates in requests a second; the first
is also put under twice the load that it can carry, gets ten new models and broken folders under load, is ended
(SIGTERM) under load, and runs behind FastAPI where that is installed. `--only` names those that are wanted.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import re
import resource
import shutil
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any, Optional

import numpy as np
import typer

import tagnn_fast
from benchmarks.jobs.serving import export
from benchmarks.load import LOST, NOT_CONNECTED, Outcome, arrival_times, post, run
from benchmarks.service_process import OURS, PEER, Checker, K, Service, serving
from tagnn_fast.data import PrefixExamples, read_exchange, synthetic_dataset
from tests.support import SHARED

CASES = ["43097:100:100,1000", "10000:100:100,200,2000", "1000000:32:10,50,100,200,500", "100000:100:250"]
SCENARIOS = ["rates", "overload", "swaps", "end", "fastapi"]
SESSIONS = 1000  # different ones
SWAPS = 10
CROWD = 4000  # connections at most where there are too many requests


@cache
def session_lengths() -> np.ndarray:
    """Clicks of each of Yoochoose's test sessions; of synthetic ones where they are not there."""
    folder = SHARED / "data" / "yoochoose1_64"
    test = read_exchange(folder).test if folder.exists() else synthetic_dataset(clicks=50_000, items=300).test
    return PrefixExamples(test).prefix_lengths().numpy()


class Case:
    """Two exported models of a size, and what they are asked.

    Args:
        folders: two exported folders, of the same items.
        seconds: of load.
    """

    def __init__(self, folders: Sequence[Path], seconds: float) -> None:
        self.folders, self.seconds = folders, seconds
        random = np.random.default_rng(0)
        models = [tagnn_fast.load(folder) for folder in folders]
        ids = np.asarray(models[0].vocabulary.raw_ids.to_pylist())
        lengths = random.choice(session_lengths(), SESSIONS)
        self.sessions = [random.choice(ids, length).tolist() for length in lengths]
        self.requests = [post("/v1/recommend", json.dumps({"session": s, "k": K}).encode()) for s in self.sessions]
        self.models = models

    def load(
        self,
        service: Service,
        rate: float,
        connections: int = 256,
        events: Sequence[tuple[float, Callable[[], None]]] = (),
    ) -> tuple[Outcome, float]:
        """So many requests a second, and the CPU seconds that the service took."""
        before = service.cpu_seconds()
        outcome = run(service.address, self.requests, arrival_times(rate, self.seconds), connections, events)
        return outcome, (service.cpu_seconds() if service.process.poll() is None else np.nan) - before

    def capacity(self, service: Service) -> float:
        """Answers a second where 64 connections ask again at once; warms up as well."""
        asked = np.zeros(len(self.requests))
        run(service.address, self.requests, asked[:200], 16)
        repeats = 1
        while True:
            wall = run(service.address, self.requests, np.repeat(asked, repeats), 64).wall
            if wall >= min(5.0, self.seconds):
                return len(asked) * repeats / wall
            repeats *= 2

    def figures(self, outcome: Outcome, cpu: float, checker: Checker) -> dict[str, Any]:
        """Of one load; times in milliseconds."""
        answered = outcome.statuses == 200
        count = int(answered.sum())
        known = {"answered": 200, "refused": 503, "late": 504, "lost": LOST, "not_connected": NOT_CONNECTED}
        found: dict[str, Any] = {name: int((outcome.statuses == status).sum()) for name, status in known.items()}
        found["other"] = len(answered) - sum(found.values())
        found["wrong"] = checker.wrong(outcome.bodies)
        found["rate"] = len(answered) / self.seconds
        found["answered_rate"] = count / max(outcome.wall, self.seconds)
        found |= quantiles(outcome.seconds[answered], "")
        found |= quantiles(outcome.seconds[outcome.statuses == 503], "refused_")
        found |= quantiles(outcome.late, "generator_")
        found["cpu_ms"] = 1e3 * cpu / count if count else None
        return found


def quantiles(seconds: np.ndarray, name: str) -> dict[str, float | None]:
    shares = (50, 90, 99)
    if not len(seconds):
        return {f"{name}p{share}_ms": None for share in shares}
    return {f"{name}p{share}_ms": 1e3 * float(np.quantile(seconds, share / 100)) for share in shares}


def ours(folder: Path) -> list[str]:
    return [*OURS, f"shop={folder}"]


def version(service: Service) -> str:
    return str(json.loads(service.get("/v1/models"))["models"][0]["version"])


def rates(case: Case, wanted: Sequence[float]) -> list[dict[str, Any]]:
    """One load after the other, and what the service can carry at most."""
    with serving(ours(case.folders[0])) as service:
        checker = Checker(case.sessions, {version(service): case.models[0]})
        capacity = case.capacity(service)
        return [
            {"what": "rate", "capacity": capacity, **case.figures(*case.load(service, rate), checker)}
            for rate in wanted
        ]


def overload(case: Case) -> list[dict[str, Any]]:
    """Twice what it can carry; memory and descriptors after it was warm, and when all clients are gone."""
    with serving(ours(case.folders[0])) as service:
        checker = Checker(case.sessions, {version(service): case.models[0]})
        capacity = case.capacity(service)
        run(service.address, case.requests, arrival_times(2 * capacity, min(5.0, case.seconds)), CROWD)  # warm
        time.sleep(2)
        before = service.memory(), service.descriptors()
        outcome, cpu = case.load(service, 2 * capacity, CROWD)
        time.sleep(2)
        found = case.figures(outcome, cpu, checker)
        after = service.memory(), service.descriptors()
    memory = {"memory_before_mb": before[0], "memory_after_mb": after[0]}
    return [
        {"what": "overload", "capacity": capacity, **found, **memory, "descriptors": [before[1], after[1]]},
    ]


def swaps(case: Case, rate: float, count: int) -> list[dict[str, Any]]:
    """New models in turn, each after a broken folder, while requests go on."""
    with TemporaryDirectory() as temporary:
        folder = Path(temporary)
        shutil.copytree(case.folders[0], folder / "broken")
        with (folder / "broken" / "model.ts").open("r+b") as file:
            file.truncate(1000)
        link = folder / "served"
        link.symlink_to(case.folders[0].absolute())

        def point_at(target: Path) -> Callable[[], None]:
            def point() -> None:
                (folder / "next").symlink_to(target.absolute())
                os.replace(folder / "next", link)

            return point

        with serving(ours(link)) as service:
            case.capacity(service)
            before = service.memory()
            versions = {version(service): case.models[0]}
            gap = case.seconds / (count + 1)
            events = []
            for swap in range(count):
                events.append((gap * (swap + 0.5), point_at(folder / "broken")))
                events.append((gap * (swap + 1), point_at(case.folders[(swap + 1) % 2])))
            outcome, cpu = case.load(service, rate, events=events)
            point_at(case.folders[1])()
            while version(service) in versions:
                time.sleep(0.1)
            versions[version(service)] = case.models[1]
            found = case.figures(outcome, cpu, Checker(case.sessions, {**versions}))
            loads = dict(re.findall(r'model_loads_total\{.*outcome="(\w+)"\} ([\d.]+)', service.get("/metrics")))
            after = service.memory()
    memory = {"memory_before_mb": before, "memory_after_mb": after}
    return [{"what": "swaps", **found, **memory, "loads": {name: float(count) for name, count in loads.items()}}]


def end(case: Case, rate: float) -> list[dict[str, Any]]:
    """SIGTERM in the middle of the load: what was sent is answered, and nobody listens afterwards."""
    with serving(ours(case.folders[0])) as service:
        checker = Checker(case.sessions, {version(service): case.models[0]})
        case.capacity(service)
        outcome, _ = case.load(service, rate, events=[(case.seconds / 2, service.process.terminate)])
        status = service.process.wait(timeout=30)
    return [{"what": "end", **case.figures(outcome, np.nan, checker), "cpu_ms": None, "exit_status": status}]


def fastapi(case: Case, wanted: Sequence[float]) -> list[dict[str, Any]]:
    """The same model as most people serve it."""
    with serving([*PEER, str(case.folders[0])]) as service:
        checker = Checker(case.sessions, {None: case.models[0]})
        capacity = case.capacity(service)
        return [
            {"what": "FastAPI", "capacity": capacity, **case.figures(*case.load(service, rate), checker)}
            for rate in wanted
        ]


def measure(case: Case, wanted: Sequence[float], scenarios: Sequence[str], swap_count: int) -> list[dict[str, Any]]:
    """What is wanted of one case, a row each."""
    found: list[dict[str, Any]] = []
    if "rates" in scenarios:
        found += rates(case, wanted)
    if "overload" in scenarios:
        found += overload(case)
    if "swaps" in scenarios:
        found += swaps(case, max(wanted) / 2, swap_count)
    if "end" in scenarios:
        found += end(case, max(wanted) / 2)
    if "fastapi" in scenarios and importlib.util.find_spec("fastapi") is None:
        print("fastapi: not installed here, left out", file=sys.stderr)
    elif "fastapi" in scenarios:
        found += fastapi(case, wanted)
    return found


def table(rows: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each row."""
    titles = "items | d | what | requests/s | answered/s | at most/s | p50 | p90 | p99 | 503 | their p99 | lost | wrong"
    titles += " | CPU | memory before, after | late generator"
    lines = [f"| {titles} |", "|" + "---|" * (titles.count("|") + 1)]
    for row in rows:
        memory = [row.get(f"memory_{when}_mb") for when in ("before", "after")]
        cells = [
            f"{row['items']:,}",
            str(row["hidden_size"]),
            row["what"],
            f"{row['rate']:,.0f}",
            f"{row['answered_rate']:,.0f}",
            _number(row.get("capacity"), ",.0f"),
            *(_number(row[f"p{share}_ms"], ".2f", " ms") for share in (50, 90, 99)),
            f"{row['refused']:,}",
            _number(row["refused_p99_ms"], ".1f", " ms"),
            f"{row['lost'] + row['late'] + row['other']:,}",
            f"{row['wrong']:,}",
            _number(row["cpu_ms"], ".2f", " ms"),
            ", ".join(_number(value, ".0f", " MB") for value in memory if value is not None),
            _number(row["generator_p99_ms"], ".2f", " ms"),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def _number(value: float | None, form: str, unit: str = "") -> str:
    return "" if value is None else f"{value:{form}}{unit}"


def main(
    report: Annotated[Path, typer.Argument(help="Folder to write to.")],
    seconds: Annotated[float, typer.Option(help="Of each load.")] = 60.0,
    case: Annotated[Optional[list[str]], typer.Option(metavar="ITEMS:HIDDEN:RATE,...")] = None,
    only: Annotated[Optional[list[str]], typer.Option(help=f"Some of {', '.join(SCENARIOS)}.")] = None,
) -> None:
    """Measure everything and write a report."""
    scenarios = only or SCENARIOS
    if not set(scenarios) <= set(SCENARIOS):
        raise typer.BadParameter(f"expected some of {', '.join(SCENARIOS)}", param_hint="--only")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(2 * CROWD, hard)), hard))  # of services too
    rows: list[dict[str, Any]] = []
    for number, described in enumerate(case or CASES):
        items, hidden_size, wanted = described.split(":")
        with TemporaryDirectory() as folder:
            folders = [
                export(int(items), Path(folder) / name, int(hidden_size), scale) / "exported"
                for name, scale in (("a", 1.0), ("b", 2.0))[: 2 if number == 0 and "swaps" in scenarios else 1]
            ]
            made = Case(folders, seconds)
            chosen = scenarios if number == 0 else [name for name in scenarios if name == "rates"]
            for row in measure(made, [float(rate) for rate in wanted.split(",")], chosen, SWAPS):
                rows.append({"items": int(items), "hidden_size": int(hidden_size), **row})
                print(table(rows)[-1], flush=True)
    report.mkdir(parents=True, exist_ok=True)
    figures = {"machine": platform.processor(), "cores": os.cpu_count(), "seconds": seconds, "rows": rows}
    (report / "table.md").write_text("\n".join(["# The service under load", "", *table(rows)]) + "\n", encoding="utf-8")
    (report / "figures.json").write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    print("\n".join(table(rows)))


if __name__ == "__main__":
    typer.run(main)
