"""Files of titles: a row is a line, whatever its quotes; what cannot be read is named by its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from tagnn_fast.data import Dataset, Sessions, Vocabulary, read_dataset, read_titles, write_dataset


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("id,title\n1,One\n2,Two\n", {"1": "One", "2": "Two"}),
        ('id\ttitle\n1\t"Heroes\n2\tTwo "2"\n3\tsaid "no\n', {"1": '"Heroes', "2": 'Two "2"', "3": 'said "no'}),
        ('id,title\n1,"Red, shoes"\n"2","say ""two"""\n3,"a"b"\n', {"1": "Red, shoes", "2": 'say "two"', "3": '"a"b"'}),
        ("\ufeffid,title\r\n007,Bond\r\n7,Seven\r\n\r\n", {"007": "Bond", "7": "Seven"}),
        ("id,title\r1,One\r2,Two", {"1": "One", "2": "Two"}),
        ("id,title\n1,\n2,Two\n1,One\n", {"1": "One", "2": "Two"}),
        ("id,title\n1,One\n1,One\n", {"1": "One"}),
        # Which separator it is, the first line alone does not say.
        ('id,"a\ttitle"\n1,One\n2,"T\two"\n', {"1": "One", "2": "T\two"}),
        ("id, or sku\ttitle, in English\n1\tOne\n2\tTwo, and more\n", {"1": "One", "2": "Two, and more"}),
        ("id\ttitle\tprice\n1\tSigur Rós\t2\n", {"1": "Sigur Rós"}),
    ],
)
def test_what_is_read(content: str, expected: dict[str, str], tmp_path: Path) -> None:
    path = tmp_path / "titles.csv"
    path.write_bytes(content.encode())
    assert read_titles(path) == expected


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected titles, got an empty file"),
        (b"\n\n", "expected titles, got an empty file"),
        (b"id,title\n", "expected titles, got only the columns id, title"),
        (b"id\n1\n", "expected an item id and a title in each row, got the columns id"),
        (b"1,One\n2,Two\n", "expected the names of the columns in line 1, got the item id '1'"),
        (b"id,title\n1,One\n2\n", "expected 2 columns, got 1 in line 3"),
        (b"id,title\n1,One\n\n2,Two, or more\n", "expected 2 columns, got 3 in line 4"),
        (b'id,title\n1,"One\nand more"\n', "expected 2 columns, got 1 in line 3"),
        (b"id,title\n1,One\n,Two\n", "expected an item id, got none in line 3"),
        (b"id,title\n1,One\n2,Two\n1,Uno\n", "expected one title for '1', got 'One' in line 2 and 'Uno' in line 4"),
        (b"id,title\n1,caf\xe9\n", "expected text in UTF-8, got something else in line 2"),
    ],
)
def test_what_is_refused(content: bytes, message: str, tmp_path: Path) -> None:
    path = tmp_path / "titles.csv"
    path.write_bytes(content)
    with pytest.raises(ValueError) as error:
        read_titles(path)
    assert str(error.value) == f"{path}: {message}"


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="expected a file of titles"):
        read_titles(tmp_path)


def make(titles: pa.Array | None = None) -> Dataset:
    sessions = Sessions.from_lists([[1, 2]])
    return Dataset("two", sessions, sessions, Vocabulary(pa.array([7, 8]), np.array([1, 1]), titles))


def test_titles_of_a_data_set(tmp_path: Path) -> None:
    """By the ids' text; those of items without a row are kept, since an update may give them one."""
    with pytest.raises(ValueError) as error:
        make().with_titles({"007": "Bond", "9": "Nine"})
    assert str(error.value) == "titles: expected ids of items, such as '7', got none among 2, such as '007'"
    dataset = make().with_titles({"007": "Bond", "7": "Seven"})
    write_dataset(dataset, tmp_path / "data")
    again = read_dataset(tmp_path / "data")
    assert again.titles == {"007": "Bond", "7": "Seven"}
    assert again.vocabulary.titles.to_pylist() == ["Seven", None]
    assert again.with_titles({"7": "VII", "8": "VIII"}).titles == {"007": "Bond", "7": "VII", "8": "VIII"}


def test_first_line_that_is_an_item(tmp_path: Path) -> None:
    """Of a file without a header, where ids are no integers: the first item would lose its title."""
    dataset = Dataset("two", *[Sessions.from_lists([[1, 2]])] * 2, Vocabulary(pa.array(["a", "b"]), np.array([1, 1])))
    path = tmp_path / "titles.csv"
    path.write_text("a,Apple\nb,Bread\n")
    with pytest.raises(ValueError) as error:
        dataset.with_titles(read_titles(path))
    assert str(error.value) == "titles: expected the names of the columns in the first line, got the item id 'a'"
    path.write_text("c,Cream\nb,Bread\n")  # no item: it may be a name
    titles = read_titles(path)
    assert (dataset.with_titles(titles).titles, titles.columns) == ({"b": "Bread"}, ["c", "Cream"])


def test_titles_that_an_earlier_version_wrote(tmp_path: Path) -> None:
    write_dataset(make(pa.array([None, "Eight"])), tmp_path / "data")
    again = read_dataset(tmp_path / "data")
    assert again.titles == {"8": "Eight"}
    assert again.with_titles({"7": "Seven"}).vocabulary.titles.to_pylist() == ["Seven", "Eight"]
