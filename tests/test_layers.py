"""The rooms of the package: arrows go down only, in a circle nowhere; imports inside functions count as any other."""

from __future__ import annotations

import tomllib
from functools import cache
from graphlib import TopologicalSorter

from grimp import ImportGraph, Layer, build_graph
from setuptools import find_packages

from tests.support import ROOT

# Each floor uses those below it only; rooms side by side do not use each other, except on the lowest floor.
FLOORS = [
    Layer("cli"),
    Layer("experiments", "scoring"),
    Layer("serving", "training"),
    Layer("evaluation"),
    Layer("runs"),
    Layer("recommend_files"),
    Layer("logs", "recommender"),
    Layer("baselines"),
    Layer("data"),
    Layer("parallel"),
    Layer("nn"),
    Layer("ops"),
    Layer(
        *("batch", "checks", "extras", "files", "lazy", "memory", "observer", "progress", "recommendations", "tables"),
        "version",
        independent=False,
    ),
]


@cache
def imports() -> ImportGraph:
    return build_graph("tagnn_fast", cache_dir=None)


def test_every_module_has_a_floor() -> None:
    rooms = {f"tagnn_fast.{name}" for floor in FLOORS for name in floor.module_tails}
    assert imports().find_children("tagnn_fast") == rooms


def test_arrows_go_down() -> None:
    illegal = imports().find_illegal_dependencies_for_layers(layers=FLOORS, containers={"tagnn_fast"})
    routes = [
        " -> ".join([min(route.heads), *route.middle, min(route.tails)])
        for dependency in illegal
        for route in dependency.routes
    ]
    assert not routes


def test_no_cycle() -> None:
    modules = imports().modules
    # Raises an error that names a cycle.
    TopologicalSorter({name: imports().find_modules_directly_imported_by(name) for name in modules}).prepare()


def test_nobody_imports_the_root() -> None:
    """It is the front door of those outside."""
    assert not imports().find_modules_that_directly_import("tagnn_fast")


def test_every_room_is_installed() -> None:
    """Packages are found by their ``__init__.py``: a room without one would be left out of wheels."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    found = find_packages(str(ROOT), **options["tool"]["setuptools"]["packages"]["find"])
    assert set(found) == {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "tagnn_fast").rglob("*.py")}
