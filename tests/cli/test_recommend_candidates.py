"""`tagnn-fast recommend` among candidates, and without what is excluded: as ids, or in files of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.commands import refused, succeed, words
from tests.cli.session_tables import UNKNOWN, answers, recommended, rows, write_sessions


@pytest.mark.parametrize("in_files", [False, True])
def test_candidates(in_files: bool, trained: Path, known: list[int], tmp_path: Path) -> None:
    """On the command line and for files of sessions."""
    chosen, excluded = [*known[10:30], UNKNOWN], [*known[12:15], "shoe"]
    options: list[object] = []
    for name, ids in (("--candidates", chosen), ("--exclude", excluded)):
        (tmp_path / f"{name}.txt").write_bytes("\r\n".join(map(str, ["", *ids])).encode())
        options += [name, f"@{tmp_path / f'{name}.txt'}"] if in_files else [word for id in ids for word in (name, id)]
    sessions = [known[:3], [UNKNOWN]]
    left = {*known[10:12], *known[15:30]}
    expected = [[values for values in recommended(trained, session, 148) if values[1] in left] for session in sessions]
    path, output = write_sessions(tmp_path / "in.csv", sessions), tmp_path / "out.parquet"
    printed = succeed("recommend", trained, *options, "--input", path, "--output", output)
    assert f"wrote {output}: up to 20 items for each of 2 sessions" in words(printed)
    found = answers(output)
    for name in (0, 1):
        assert found[name] == [(rank, *values[1:]) for rank, values in enumerate(expected[name], 1)]
    table = rows(succeed("recommend", trained, *options, *known[:3]))
    assert [row[1] for row in table] == [str(values[1]) for values in expected[0]]


def test_nothing_left(trained: Path, known: list[int], tmp_path: Path) -> None:
    printed = succeed("recommend", trained, "--candidates", UNKNOWN, known[0])
    assert "there is no item left to recommend" in words(printed)
    path = write_sessions(tmp_path / "in.csv", [known[:3]])
    files = ["--input", path, "--output", tmp_path / "out.parquet"]
    printed = refused("recommend", trained, "--candidates", UNKNOWN, *files)
    assert printed.endswith("expected an item to recommend, got none among the candidates that was not excluded")


@pytest.mark.parametrize("option", ["--candidates", "--exclude"])
def test_files_that_are_refused(option: str, trained: Path, known: list[int], tmp_path: Path) -> None:
    missing, damaged = tmp_path / "missing.txt", tmp_path / "damaged.txt"
    damaged.write_bytes(b"7\n\xff\n")
    printed = refused("recommend", trained, known[0], option, f"@{missing}")
    assert printed == f"{missing}: expected a file with an item id a line"
    printed = refused("recommend", trained, known[0], option, f"@{damaged}")
    assert printed == f"{damaged}: expected item ids in UTF-8, got the byte 0xff"
