"""Blends that stop at any call that changes the disk, or on request: the same call comes to the same."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tagnn_fast.observer import Observer
from tagnn_fast.runs.run import Run, open_run
from tagnn_fast.training.blend import blend
from tests.cli.commands import looks_at_test_set, read, temporary_files
from tests.stopping import Disk, Killed
from tests.training.blends import QUIET, trained

# All calls are tried with 1.
STRIDE = int(os.environ.get("TAGNN_FAST_STRIDE", 17))


@pytest.fixture(scope="module", autouse=True)
def without_curves() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tagnn_fast.training.loop.plot_curves", lambda *arguments: None)
        yield


@pytest.fixture(scope="module")
def members(tmp_path_factory: pytest.TempPathFactory) -> list[Run]:
    folder = tmp_path_factory.mktemp("members")
    return [trained(folder / name, name) for name in ("sr_gnn", "sequential_rules")]


@pytest.fixture(scope="module")
def whole(members: list[Run], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """A blend that nothing stops, and how often it changes the disk."""
    folder = tmp_path_factory.mktemp("whole") / "blend"
    with Disk().in_use() as disk:
        blend(members, folder, observer=QUIET)
    return folder, disk.calls


def assert_same_blend(actual: Path, expected: Path) -> None:
    assert read(actual / "result.json") == read(expected / "result.json")
    for name in ("weights", "tried", "validation"):
        assert read(actual / "weights.json")[name] == read(expected / "weights.json")[name]
    looks = [[look["figures"] for look in looks_at_test_set(folder)] for folder in (actual, expected)]
    assert looks[0] == looks[1]
    assert len(looks[0]) == 1
    files = [{path.relative_to(folder) for path in folder.rglob("*")} for folder in (actual, expected)]
    assert files[0] | {Path("test_ranks.parquet")} == files[1]  # a stop between a look and its ranks loses these
    assert temporary_files(actual.parent) == []
    open_run(actual).recommender()


@pytest.mark.parametrize("kind", ["killed", "full"])
def test_goes_on(kind: str, members: list[Run], whole: tuple[Path, int], tmp_path: Path) -> None:
    expected, calls = whole
    for stop_at in range(1 + (STRIDE // 2 if kind == "full" else 0), calls + 1, STRIDE):
        folder = tmp_path / str(stop_at) / "blend"
        error = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) if kind == "full" else None
        with Disk(stop_at, error).in_use() as disk:
            try:
                blend(members, folder, observer=QUIET)
            except Killed:
                assert kind == "killed"
            except OSError:
                assert kind == "full"
        assert disk.stopped
        blend(members, folder, observer=QUIET)
        assert_same_blend(folder, expected)
        shutil.rmtree(folder)


class Stops(Observer):
    """Wants to stop in the stage of this number."""

    def __init__(self, stage: int) -> None:
        self.left = stage

    def begin(self, what: str, examples: int, done: int = 0) -> None:
        self.left -= 1

    def stop(self) -> bool:
        return self.left < 0


@pytest.mark.parametrize("stage", range(3))
def test_stopped_on_request(stage: int, members: list[Run], whole: tuple[Path, int], tmp_path: Path) -> None:
    """While a weight is chosen, the sessions held out are scored, or the test set is."""
    with pytest.raises(KeyboardInterrupt, match="^stopped; the same call goes on$"):
        blend(members, tmp_path / "blend", observer=Stops(stage))
    assert open_run(tmp_path / "blend").weights.exists() == (stage == 2)
    assert looks_at_test_set(tmp_path / "blend") == []
    if stage < 2:
        with pytest.raises(FileNotFoundError, match=r"weights\.json: expected weights"):
            open_run(tmp_path / "blend").recommender()
    blend(members, tmp_path / "blend", observer=QUIET)
    assert_same_blend(tmp_path / "blend", whole[0])
