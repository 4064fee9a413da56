"""Every benchmark is found as a module, and what is started by hand says how."""

from __future__ import annotations

import importlib

import pytest

from tests.support import ROOT

MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts) for path in sorted((ROOT / "benchmarks").rglob("*.py"))
]
PROGRAMS = [
    name
    for name in MODULES
    if 'if __name__ == "__main__":' in (ROOT / f"{name.replace('.', '/')}.py").read_text(encoding="utf-8")
]


@pytest.mark.parametrize("name", MODULES)
def test_module_is_found(name: str) -> None:
    importlib.import_module(name)


@pytest.mark.parametrize("name", PROGRAMS)
def test_program_says_how_it_is_started(name: str) -> None:
    command = f"python -m {name.removesuffix('.__main__')} "
    assert command in str(importlib.import_module(name).__doc__)
