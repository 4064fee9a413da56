"""Lightning's loggers beside a training: all of the run, once, whatever stops it; and never the training's end."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import mlflow
import pytest
from pytorch_lightning.loggers import MLFlowLogger
from pytorch_lightning.loggers.logger import Logger as LightningLogger

from tagnn_fast.data import synthetic_dataset
from tagnn_fast.files import write_text
from tagnn_fast.observer import Observer
from tagnn_fast.runs.run import Run
from tagnn_fast.training import loop
from tagnn_fast.training.fit import fit
from tests.cli.commands import assert_same_run

DATASET = synthetic_dataset(clicks=500, items=40)
OPTIONS: dict[str, Any] = {"hidden_size": 8, "epochs": 2, "batch_size": 128, "accelerator": "cpu"}


@pytest.fixture(scope="module", autouse=True)
def quick_curves() -> Iterator[None]:
    """A picture takes longer than all the rest."""
    with mock.patch.object(loop, "plot_curves", lambda history, name, path: write_text(path, name)):
        yield


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run without any logger."""
    return fit(DATASET, tmp_path_factory.mktemp("loggers") / "run", **OPTIONS, observer=Observer())


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """MLflow's file store."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # which it sets itself, too
    mlflow.set_tracking_uri(store := (tmp_path / "mlruns").as_uri())
    yield store
    mlflow.set_tracking_uri(None)


class Telling(Observer):
    """Keeps lines; stops after the first epoch, if it is to."""

    def __init__(self, stop: bool = False) -> None:
        self.lines, self.to_stop, self.ended = list[str](), stop, False

    def end_epoch(self, record: dict[str, Any]) -> None:
        self.ended = True

    def say(self, line: str) -> None:
        self.lines.append(line)

    def stop(self) -> bool:
        return self.to_stop and self.ended


class Recorder(LightningLogger):
    """Lightning's interface, in memory; fails as often as it is told to."""

    name, version = "recorder", None

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.failures, self.params, self.logged, self.status = failures, dict[str, Any](), list[Any](), list[str]()

    def log_hyperparams(self, params: Any) -> None:
        self.params.update(params)

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        if step == 2 and self.failures > 0:
            self.failures -= 1
            raise ConnectionError("the server\nis gone")
        self.logged.append((step, metrics))

    def finalize(self, status: str) -> None:
        self.status.append(status)


def figures(run: Run) -> list[tuple[int, dict[str, float]]]:
    """What a logger is to have of a run: each record of its history, and the test's figures."""
    told = []
    for number, record in enumerate(run.history, 1):
        before = "refit/" if record.get("refit") else ""
        names = ("epoch", "learning_rate", "training_loss", "training_seconds")
        validation = {f"validation/{name}": value for name, value in record.get("validation", {}).items()}
        told.append((number, {f"{before}{name}": record[name] for name in names} | validation))
    assert run.result is not None
    test = {f"test/{name}": value for name, value in run.result["test"].items()}
    return [*told, (len(told), {"chosen_epoch": run.result["epoch"]} | test)]


def read_csv(run: Run) -> list[tuple[int, dict[str, float]]]:
    with (run.folder / "csv" / "metrics.csv").open(newline="") as file:
        rows = [{name: float(value) for name, value in row.items() if value} for row in csv.DictReader(file)]
    return [(int(row.pop("step")), row) for row in rows]


def test_run_that_goes_on(store: str, expected: Run, tmp_path: Path) -> None:
    """In the same run of MLflow and the same CSV file; a logger that is new by then gets all; nothing comes twice."""
    folder = tmp_path / "run"
    with pytest.raises(KeyboardInterrupt):
        fit(DATASET, folder, **OPTIONS, loggers=["csv", "mlflow"], observer=Telling(stop=True))
    client = mlflow.MlflowClient()
    (experiment,) = client.search_experiments(filter_string="name = 'tagnn_fast'")
    (stopped,) = client.search_runs([experiment.experiment_id])
    assert (stopped.info.status, stopped.info.run_name) == ("KILLED", "run")
    assert stopped.data.metrics["epoch"] == 1

    recorder = Recorder()
    telling = Telling()
    for _ in range(2):  # the second time it has ended
        run = fit(DATASET, folder, **OPTIONS, loggers=["csv", "mlflow", recorder], observer=telling)
    assert_same_run(run.folder, expected.folder)
    assert telling.lines == []
    assert len(run.history) == 2 + run.result["refit"]["epochs"]  # type: ignore[index]
    assert recorder.logged == read_csv(run) == figures(run)
    assert recorder.status == ["success", "success"]
    assert recorder.params.items() >= {"hidden_size": 8, "batch_size": 128, "dataset": DATASET.name}.items()
    (ended,) = client.search_runs([experiment.experiment_id])
    assert (ended.info.status, ended.info.run_id) == ("FINISHED", stopped.info.run_id)
    assert ended.data.params.items() >= {"hidden_size": "8", "protocol": "held-out-refit"}.items()
    for name in {name for _, told in figures(run) for name in told}:
        logged = client.get_metric_history(ended.info.run_id, name.replace("@", "_at_"))
        wanted = [(step, told[name]) for step, told in figures(run) if name in told]
        assert [(metric.step, metric.value) for metric in logged] == wanted


@pytest.mark.parametrize(("failures", "missing"), [(1, 0), (2, 3)])
def test_logger_that_fails(failures: int, missing: int, expected: Run, tmp_path: Path) -> None:
    """It is said once, and the training is the same; what is missing comes at the end, or when the run goes on."""
    folder, failing, telling = tmp_path / "run", Recorder(failures), Telling()
    run = fit(DATASET, folder, **OPTIONS, loggers=[failing, "csv"], observer=telling)
    assert_same_run(run.folder, expected.folder)
    (line,) = telling.lines
    assert line.startswith("logger Recorder failed: the server is gone; what is missing there is sent at the end, or ")
    wanted = figures(run)
    assert read_csv(run) == wanted
    assert failing.logged == (wanted if not missing else wanted[:1])
    assert failing.status == ([] if missing else ["success"])
    later = Recorder()
    fit(DATASET, folder, **OPTIONS, loggers=[later], observer=telling)
    assert failing.logged + later.logged == wanted
    assert later.status == ["success"]


def test_training_that_diverges(store: str, tmp_path: Path) -> None:
    recorder = Recorder()
    with pytest.raises(FloatingPointError):
        fit(
            DATASET,
            tmp_path / "run",
            **OPTIONS,
            learning_rate=1e30,
            loggers=[recorder, MLFlowLogger(tracking_uri=store)],
        )
    assert (recorder.logged, recorder.status) == ([], ["failed"])
    (run,) = mlflow.MlflowClient().search_runs(mlflow.MlflowClient().search_experiments()[0].experiment_id)
    assert run.info.status == "FAILED"


def test_two_alike(tmp_path: Path) -> None:
    """Each has its own place in what is kept; so has each of a baseline's figures."""
    recorders = Recorder(), Recorder()
    options: dict[str, Any] = {"architecture": "popularity", "loggers": recorders, "observer": Observer()}
    for _ in range(2):
        run = fit(DATASET, tmp_path / "run", **options)
    assert run.result is not None
    assert recorders[0].logged == recorders[1].logged
    assert [step for step, _ in recorders[0].logged] == [1, 2, 2]
    assert recorders[0].logged[0][1]["validation/HR@20"] == run.result["validation"]["HR@20"]
    assert recorders[0].logged[2][1]["test/HR@20"] == run.result["test"]["HR@20"]


@pytest.mark.parametrize(
    ("loggers", "error", "got"),
    [
        ("csv", TypeError, "'csv'"),
        (["csv", "tensorbord"], ValueError, "'tensorbord'"),
        ([3], TypeError, "3"),
        ([MLFlowLogger], TypeError, "<class 'pytorch_lightning.loggers.mlflow.MLFlowLogger'>"),
        (["csv", "csv"], ValueError, None),
    ],
)
def test_what_is_refused(loggers: Any, error: type[Exception], got: str | None, tmp_path: Path) -> None:
    """Before anything is written."""
    expected = "loggers: expected each name once, got csv again"
    if got is not None:
        expected = (
            f"loggers: expected a list of csv, mlflow, wandb or objects with Lightning's logger interface, got {got}"
        )
    with pytest.raises(error) as caught:
        fit(DATASET, tmp_path / "run", **OPTIONS, loggers=loggers)
    assert str(caught.value) == expected
    assert list(tmp_path.iterdir()) == []


def test_what_cannot_be_opened(store: str, expected: Run) -> None:
    """A run that MLflow has not, and a file of something else."""
    path = expected.folder / "loggers.json"
    unknown = "0123456789abcdef" * 2
    path.write_text(json.dumps({"mlflow": {"version": unknown, "epochs": 1, "result": False}}))
    with pytest.raises(ConnectionError) as caught:
        fit(DATASET, expected.folder, **OPTIONS, loggers=["mlflow"], observer=Observer())
    assert str(caught.value) == f"logger mlflow: Run '{unknown}' not found"
    for content in ('{"csv": 3}', '{"csv": {"epochs": "1"}}', '{"csv": {"epoch": 1}}', "[]"):
        path.write_text(content)
        with pytest.raises(ValueError, match="expected what each logger has of the run, got ") as refused:
            fit(DATASET, expected.folder, **OPTIONS, loggers=["csv"], observer=Observer())
        assert str(refused.value).startswith(f"{path}: ")
    path.unlink()
