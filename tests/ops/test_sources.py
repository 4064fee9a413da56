"""How csrc is laid out: names that say whose they are, files that make knows of."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import defaultdict

import pytest

from tests.support import ROOT

SOURCES = sorted(path for path in (ROOT / "csrc").rglob("*") if path.suffix in (".cpp", ".cu", ".h"))


def test_one_name_one_class() -> None:
    """Two definitions under one name, in a process that has both backends, are whichever the linker keeps."""
    places = defaultdict(list)
    for path in SOURCES:
        for name in re.findall(r"^ *(?:struct|class|enum class) (\w+)(?: : .*)? \{", path.read_text(), re.MULTILINE):
            places[name].append(str(path.relative_to(ROOT)))
    assert len(places) > 50
    assert {name: paths for name, paths in places.items() if len(paths) > 1} == {}


@pytest.mark.parametrize("backend", ["cpu", "cuda"])
def test_backends_have_namespaces_of_their_own(backend: str) -> None:
    files = [path for path in SOURCES if path.parent == ROOT / "csrc" / backend]
    assert files
    for path in files:
        names = set(re.findall(r"^namespace ([\w:]+) \{", path.read_text(), re.MULTILINE))
        assert names == {f"tagnn_fast::{backend}"}, path


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_rebuilds_when_any_source_changes() -> None:
    database = subprocess.run(["make", "-pRrq", "lint"], cwd=ROOT, capture_output=True, text=True).stdout
    rule = re.search(r"^\.venv/installed: (.+)$", database, re.MULTILINE)
    assert rule is not None
    assert {str(path.relative_to(ROOT)) for path in SOURCES} <= set(rule[1].split())
