"""A data set without its test sessions: nothing opens their files."""

from __future__ import annotations

from pathlib import Path

import pytest

from tagnn_fast.data import read_dataset, synthetic_dataset, write_dataset


def test_their_files_are_not_opened(tmp_path: Path) -> None:
    dataset = write_dataset(synthetic_dataset(900, 200), tmp_path / "data")
    for name in ("test.parquet", "raw_test.parquet"):
        (tmp_path / "data" / name).write_bytes(b"poison")
    with pytest.raises(ValueError, match="damaged"):
        read_dataset(tmp_path / "data")
    read = read_dataset(tmp_path / "data", test=False)
    assert (len(read.test), read.raw_test, read.folder) == (0, None, tmp_path / "data")
    assert read.fingerprint() == dataset.without_test().fingerprint() != dataset.fingerprint()
    assert read.train.clicks.tolist() == dataset.train.clicks.tolist()


class Poison:
    """Sessions that nothing may look at."""

    def __getattr__(self, name: str) -> object:
        raise AssertionError(name)


def test_they_are_not_looked_at() -> None:
    dataset = synthetic_dataset(900, 200)
    expected = dataset.without_test().fingerprint()
    object.__setattr__(dataset, "test", Poison())
    with pytest.raises(AssertionError, match="clicks"):
        dataset.fingerprint()
    assert dataset.without_test().fingerprint() == expected
