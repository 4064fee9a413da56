"""A tuning that was killed, stopped or is still at it: the same call goes on to the same trials."""

from __future__ import annotations

import resource
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from tagnn_fast.data import Dataset
from tagnn_fast.experiments.tune_results import Tuning
from tagnn_fast.files import exclusive
from tagnn_fast.observer import Observer
from tagnn_fast.training.stopping import Interrupted
from tests.cli import commands
from tests.cli.commands import contents, read
from tests.experiments.tunings import FIX, small_dataset, small_tuning, trials_of

LONG = {**FIX, "epochs": 8}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return small_dataset(tmp_path_factory.mktemp("stopped"))


@pytest.fixture(scope="module")
def tuned(dataset: Dataset) -> Tuning:
    assert dataset.folder is not None
    return small_tuning(dataset, dataset.folder.parent / "tuned", trials=2, fix=LONG)


def states(folder: Path) -> list[TrialState]:
    study = optuna.load_study(storage=f"sqlite:///{folder / 'study.db'}", study_name=None)
    return [trial.state for trial in study.trials]


def test_killed(dataset: Dataset, tuned: Tuning, tmp_path: Path) -> None:
    """In the midst of a trial: it is marked as failed, and goes on from its checkpoint."""
    folder = tmp_path / "a"
    fixed = [argument for name, value in LONG.items() for argument in ("--fix", f"{name}={value}")]
    process = commands.start("tune", dataset.folder, folder, "--model", "sr_gnn", "--trials", 2, *fixed)
    history = folder / "running-0002" / "history.json"
    commands.wait_until(history.exists, process)
    process.kill()
    process.wait()
    assert states(folder) == [TrialState.COMPLETE, TrialState.RUNNING]
    begun = len(read(history))
    assert 1 <= begun < LONG["epochs"]
    told = Counting()
    assert trials_of(small_tuning(dataset, folder, trials=2, fix=LONG, observer=told)) == trials_of(tuned)
    assert states(folder) == [TrialState.COMPLETE, TrialState.FAIL, TrialState.COMPLETE]
    assert told.trainings <= LONG["epochs"] - begun + 1
    assert contents(folder).keys() == contents(tuned.folder).keys()


class Counting(Observer):
    """Counts the epochs that are trained."""

    trainings = 0

    def begin(self, what: str, examples: int, done: int = 0) -> None:
        self.trainings += what.startswith("trial 2: epoch")


class Stopping(Observer):
    """Presses Ctrl-C in the second trial."""

    def begin(self, what: str, examples: int, done: int = 0) -> None:
        if what.startswith("trial 2: epoch 2"):
            signal.raise_signal(signal.SIGINT)


def test_stopped(dataset: Dataset, tuned: Tuning, tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt, match="stopped in epoch 2 after step 1; saved epoch-001-step-000001"):
        small_tuning(dataset, tmp_path / "a", trials=2, fix=LONG, observer=Stopping())
    assert (tmp_path / "a" / "best.json").exists()
    assert trials_of(small_tuning(dataset, tmp_path / "a", trials=2, fix=LONG)) == trials_of(tuned)


def test_what_a_killed_process_left(dataset: Dataset, tuned: Tuning, tmp_path: Path) -> None:
    """Of a run that it was removing, or that is of an ended trial or another configuration."""
    folder = tmp_path / "a"
    small_tuning(dataset, folder, trials=1, fix=LONG)
    for name in ("running-0001", "running-0002"):
        (folder / name).mkdir()
        (folder / name / "items.parquet").write_bytes(b"")
    assert trials_of(small_tuning(dataset, folder, trials=2, fix=LONG)) == trials_of(tuned)
    assert not list(folder.glob("running-*"))


@pytest.mark.parametrize(
    ("damage", "kind", "message"),
    [
        (Path.unlink, FileNotFoundError, "study.db: expected this file of the tuning"),
        (lambda path: path.write_bytes(b"poison" * 1000), OSError, "study.db: file is not a database"),
        (
            lambda path: path.write_bytes(b""),
            ValueError,
            "study.db: expected the trials of a tuning, got a file without",
        ),
    ],
    ids=["missing", "damaged", "empty"],
)
def test_damaged(
    damage: Callable[[Path], object],
    kind: type[Exception],
    message: str,
    dataset: Dataset,
    tuned: Tuning,
    tmp_path: Path,
) -> None:
    folder = Path(shutil.copytree(tuned.folder, tmp_path / "a"))
    damage(folder / "study.db")
    with pytest.raises(kind) as error:
        small_tuning(dataset, folder, trials=2, fix=LONG)
    assert str(error.value) == f"{folder}/{message}"


def test_a_full_disk(dataset: Dataset, tuned: Tuning, tmp_path: Path) -> None:
    """The search goes on where there is space again."""
    folder = tmp_path / "a"
    small_tuning(dataset, folder, trials=1, fix=LONG)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, limits[1]))  # bytes of a file
    try:
        with pytest.raises(OSError, match="study.db: "):
            small_tuning(dataset, folder, trials=2, fix=LONG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert trials_of(small_tuning(dataset, folder, trials=2, fix=LONG)) == trials_of(tuned)


def test_two_at_once(dataset: Dataset, tmp_path: Path) -> None:
    with exclusive(tmp_path / "a"), pytest.raises(BlockingIOError, match="expected a folder that no other process"):
        small_tuning(dataset, tmp_path / "a")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("raised", "said"), [(Interrupted("saved a checkpoint"), "saved a checkpoint"), (KeyboardInterrupt(), "stopped")]
)
def test_ctrl_c_on_the_command_line(
    raised: BaseException, said: str, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def stopped(*arguments: object, **options: object) -> None:
        raise raised

    monkeypatch.setattr("tagnn_fast.cli.tune.search", stopped)
    outcome = commands.run("tune", dataset.folder, tmp_path / "a", "--model", "sr_gnn")
    assert (outcome.returncode, outcome.stderr) == (130, f"{said}\ngo on with the same command\n")
