"""A small data set and a small run, made once by the command line itself. Tests that change a run take a copy."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tests.cli.commands import TINY, succeed


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared synthetic data set: 900 clicks on 148 items."""
    folder = tmp_path_factory.mktemp("cli") / "data"
    succeed("prepare", "synthetic", folder, "--clicks", 900, "--items", 200)
    return folder


@pytest.fixture(scope="session")
def trained(data: Path) -> Path:
    """A finished run. To be left as it is."""
    folder = data.parent / "trained"
    succeed("train", data, "--run", folder, *TINY)
    return folder


@pytest.fixture
def copied(trained: Path, tmp_path: Path) -> Path:
    """A copy of the finished run."""
    return Path(shutil.copytree(trained, tmp_path / "copied"))


@pytest.fixture(scope="session")
def known(data: Path) -> list[int]:
    """Item ids that the model knows."""
    ids: list[int] = pq.read_table(data / "items.parquet")["raw_id"].to_pylist()
    return ids
