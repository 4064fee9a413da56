"""RecBole's files of examples: the sessions they were cut out of, and every example that they have."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from tagnn_fast.data import Dataset, PrefixExamples, Sessions, read_exchange
from tests.cli.commands import refused, succeed
from tests.logs.running import raw

HEADER = "session_id:token\titem_id_list:token_seq\titem_id:token"
TRAIN = [["7", "8", "7"], ["8", "9"], ["9", "9", "5", "8"]]
TEST = [["8", "4"], ["7", "9", "8"]]


def rows(sessions: list[list[str]], owner: str, growing: bool = False) -> list[str]:
    """All examples of sessions, whose owner is a number for each row, or for each session."""
    lines = []
    for number, session in enumerate(sessions):
        ends = range(1, len(session)) if growing else range(len(session) - 1, 0, -1)
        for end in ends:
            name = number if owner == "session" else len(lines)
            lines.append(f"{name}\t{' '.join(session[:end])}\t{session[end]}")
    return lines


def write(path: Path, lines: list[str], header: str = HEADER) -> Path:
    path.write_text("\n".join([header, *lines, ""]))
    return path


def benchmark(folder: Path, train: list[str], test: list[str], valid: list[str] | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    for split, lines in (("train", train), ("test", test), ("valid", valid)):
        if lines is not None:
            write(folder / f"shop-session.{split}.inter", lines)
    return folder


def examples_of(sessions: Sessions, dataset: Dataset) -> Counter[tuple[str, ...]]:
    ids = ["", *map(str, dataset.vocabulary.raw_ids.to_pylist())]
    found: Counter[tuple[str, ...]] = Counter()
    for batch in PrefixExamples(sessions).batches(100):
        bounds, items, targets = batch.offsets.tolist(), batch.items.tolist(), batch.targets.tolist()
        for begin, end, target in zip(bounds[:-1], bounds[1:], targets, strict=True):
            found[(*(ids[item] for item in items[begin:end]), ids[target])] += 1
    return found


def examples_in(lines: list[str]) -> Counter[tuple[str, ...]]:
    return Counter((*line.split("\t")[1].split(" "), line.split("\t")[2]) for line in lines)


@pytest.mark.parametrize("growing", [False, True], ids=["longest first", "shortest first"])
@pytest.mark.parametrize("owner", ["session", "row"])
def test_sessions_are_whole_again(owner: str, growing: bool, tmp_path: Path) -> None:
    lines = rows(TRAIN, owner, growing)
    data = read_exchange(benchmark(tmp_path / "shop-session", lines, rows(TEST, owner, growing)))
    assert data.name == "shop-session"
    assert raw(data.train, data) == TRAIN
    assert raw(data.test, data) == [["8", ""], ["7", "9", "8"]]  # 4 is never trained on
    assert data.train.examples.tolist() == [2, 1, 3]
    assert examples_of(data.train, data) == examples_in(lines)
    assert data.vocabulary.raw_ids.to_pylist() == [5, 7, 8, 9]
    assert data.vocabulary.counts.tolist() == [1, 2, 3, 3]
    assert data.train.times is None
    assert "validation" not in data.source


def test_leave_one_out(tmp_path: Path) -> None:
    """Of each user one example: as many as there are rows, whatever neighbours have in common."""
    lines = ["1\ta b\tc", "2\ta\tb", "3\ta b c\td", "4\tä b\tc"]
    folder = benchmark(tmp_path / "shop", [*lines, "4\tä\tb"], lines)
    for split in ("train", "test"):
        path = folder / f"shop-session.{split}.inter"
        path.write_text(path.read_text().replace("session_id:token", "user_id:token"))
    data = read_exchange(folder)
    assert raw(data.train, data) == [["a", "b", "c"], ["a", "b"], ["a", "b", "c", "d"], ["ä", "b", "c"]]
    assert data.train.examples.tolist() == [1, 1, 1, 2]
    assert examples_of(data.test, data) == examples_in(lines)
    assert len(data.test) == 4
    assert not data.vocabulary.integers


@pytest.mark.parametrize("growing", [False, True])
def test_prefixes_that_were_cut(growing: bool, tmp_path: Path) -> None:
    """The examples are those of the file, and what they count for is said."""
    session = ["1", "2", "3", "4", "5", "6", "7", "8"]
    lines = [f"1\t{' '.join(session[max(0, end - 4) : end])}\t{session[end]}" for end in range(7, 0, -1)]
    lines = lines[::-1] if growing else lines
    folder = benchmark(tmp_path / "shop", lines, rows(TEST, "session", growing))
    data = read_exchange(folder)
    assert data.source["cut_prefixes"] == 3
    assert examples_of(data.train, data) == examples_in(lines)
    assert "3 prefixes seem to be the last clicks of longer ones" in succeed(
        "prepare", "exchange", folder, tmp_path / "x"
    )


def test_validation(tmp_path: Path) -> None:
    """Left out, or trained on, as is asked for; and either is said."""
    folder = benchmark(tmp_path / "shop", rows(TRAIN, "row"), rows(TEST, "row"), rows([["5", "6"]], "row"))
    printed = succeed("prepare", "exchange", folder, tmp_path / "without")
    assert "validation examples of RecBole: left out" in printed
    without = read_exchange(folder)
    assert (len(without.train), without.source["validation"], len(without.source["files"])) == (3, "left out", 2)
    printed = succeed("prepare", "exchange", folder, tmp_path / "with", "--with-validation")
    assert "validation examples of RecBole: added to training" in printed
    added = read_exchange(folder, with_validation=True)
    assert raw(added.train, added) == [*TRAIN, ["5", "6"]]
    assert [file["name"] for file in added.source["files"]] == [
        f"shop-session.{split}.inter" for split in ("train", "valid", "test")
    ]
    (folder / "shop-session.valid.inter").unlink()
    assert "with_validation: expected a *.valid.inter" in refused(
        "prepare", "exchange", folder, tmp_path / "more", "--with-validation"
    )


@pytest.mark.parametrize(
    ("lines", "header", "message"),
    [
        (["1\t2 3"], HEADER, "expected 3 columns, got 2 in line 2"),
        (["1\t2 3\t4", "", "2\t\t4"], HEADER, "expected an id or more in 'item_id_list:token_seq', got none in line 4"),
        (["1\t2 3\t"], HEADER, "expected an id or more in 'item_id:token', got none in line 2"),
        ([], HEADER, "expected examples, got none"),
        (
            ["7\t1 2\t3", "8\t1\t2", "8\t1 2\t4", "7\t1\t2"],
            HEADER,
            "expected the rows of a session next to each other, got more of '7' in line 5",
        ),
        (["1\t\udcff\t4"], HEADER, "expected text in UTF-8, got something else in line 2"),
        (
            ["1\t2 3\t4"],
            HEADER.replace(":token_seq", ""),
            "expected one column 'item_id_list:token_seq', got session_id:token, item_id_list, item_id:token; "
            "clicks with their times are read by prepare logs --format recbole",
        ),
    ],
)
def test_refused(lines: list[str], header: str, message: str, tmp_path: Path) -> None:
    folder = benchmark(tmp_path / "shop", rows(TRAIN, "row"), rows(TEST, "row"))
    path = folder / "shop-session.test.inter"
    path.write_text("\n".join([header, *lines, ""]), errors="surrogateescape")
    with pytest.raises(ValueError) as error:
        read_exchange(folder)
    assert str(error.value) == f"{path}: {message}"


def test_files_that_do_not_go_together(tmp_path: Path) -> None:
    folder = benchmark(tmp_path / "shop", rows(TRAIN, "row"), rows(TEST, "row"))
    write(folder / "other.test.inter", rows(TEST, "row"))
    with pytest.raises(ValueError, match=r"expected one \*\.test\.inter, got other.test.inter, shop-session.test"):
        read_exchange(folder)
    for path in folder.glob("*.test.inter"):
        path.unlink()
    with pytest.raises(FileNotFoundError, match=r"shop: expected a \*\.test\.inter beside the other files of RecBole"):
        read_exchange(folder)
    (folder / "shop-session.test.inter").touch()
    with pytest.raises(ValueError, match=r"test\.inter: expected examples, got an empty file"):
        read_exchange(folder)
    with pytest.raises(ValueError, match="with_validation: expected files of RecBole, got pickled ones"):
        read_exchange(tmp_path, with_validation=True)
