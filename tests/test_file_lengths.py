"""A file that outgrows 400 lines is two ideas."""

from __future__ import annotations

from tests.support import ROOT

FOLDERS = ["benchmarks", "csrc", "examples", "tagnn_fast", "tests"]
SUFFIXES = {".py", ".pyi", ".cpp", ".h", ".cu"}


def test_no_file_is_longer_than_400_lines() -> None:
    files = [*ROOT.glob("*.py"), *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))]
    lengths = {
        str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines())
        for path in files
        if path.suffix in SUFFIXES and path.is_file()
    }
    assert len(lengths) > 200
    assert {name: length for name, length in lengths.items() if length > 400} == {}
