"""`tagnn_fast.evaluate`: the model beside the baselines, as tables, dictionaries and frames."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

import tagnn_fast
from tagnn_fast.data import Dataset, Sessions, synthetic_dataset, write_dataset
from tagnn_fast.evaluation.evaluate import evaluate
from tagnn_fast.observer import Observer
from tagnn_fast.runs.configuration import TrainingConfig, make_model
from tagnn_fast.runs.run import Run, create_run
from tests.cli.commands import succeed

QUIET = Observer()
ROWS = ["tagnn_pp", "vs knn", "sequential rules", "session popularity", "popularity"]


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return write_dataset(synthetic_dataset(900, 200), tmp_path / "data")


@pytest.fixture
def run(dataset: Dataset, tmp_path: Path) -> Run:
    """Of a model that nobody trained."""
    model, training = tagnn_fast.ModelConfig(len(dataset.vocabulary), hidden_size=8), TrainingConfig()
    run = create_run(tmp_path / "run", model, training, dataset, dataset.folder)
    run.keep_model(make_model(model, training).state_dict(), 1)
    return run


def test_figures(run: Run, dataset: Dataset) -> None:
    """Every look is logged, by whichever way it is had, and the figures are the same."""
    first = evaluate(run, observer=QUIET)
    assert list(first.figures) == ROWS
    assert list(first.figures["popularity"]) == [
        f"{name}@{cutoff}" for cutoff in (5, 10, 20) for name in ("HR", "MRR", "NDCG", "coverage")
    ]
    assert (first.dataset, first.looks, first.items_without_a_row) == (dataset.name, 1, 0)
    assert first.examples == dataset.statistics()["test"]["examples"]
    second = evaluate(run.folder, dataset, observer=QUIET)
    third = evaluate(str(run.folder), dataset.folder, observer=QUIET)
    assert [(other.figures, other.looks) for other in (second, third)] == [(first.figures, 2), (first.figures, 3)]
    assert [look["figures"] for look in run.test_reads()] == [first.figures["tagnn_pp"]] * 3


def test_what_is_printed(run: Run) -> None:
    """The same by Python as by the command line."""
    evaluation = evaluate(run, observer=QUIET)
    printed = succeed("evaluate", run.folder).strip().splitlines()
    assert str(evaluation).splitlines()[:-1] == printed[:-1]
    assert (str(evaluation).splitlines()[-1], printed[-1]) == (
        "looks at a test set so far: 1",
        "looks at a test set so far: 2",
    )


def test_a_data_frame(run: Run) -> None:
    evaluation = evaluate(run, observer=QUIET)
    frame = evaluation.to_pandas()
    assert list(frame.index) == ROWS
    assert frame.loc["popularity", "HR@20"] == evaluation.figures["popularity"]["HR@20"]
    assert np.isfinite(frame.to_numpy()).all()


def test_sessions_that_were_trained_on(dataset: Dataset, tmp_path: Path) -> None:
    """A later data set's test period may begin before the run's own: its figures come with a warning."""
    train = dataset.train
    times = torch.arange(len(train))
    timed = Sessions(train.clicks, train.offsets, train.examples, times)
    test = dataset.test
    test = Sessions(test.clicks, test.offsets, test.examples, len(train) + times[: len(test)])
    own = dataclasses.replace(dataset, train=timed, test=test)
    model, training = tagnn_fast.ModelConfig(len(dataset.vocabulary), hidden_size=8), TrainingConfig()
    run = create_run(tmp_path / "run", model, training, own, None)
    run.keep_model(make_model(model, training).state_dict(), 1)
    assert evaluate(run, observer=QUIET).caution == ""
    later = dataclasses.replace(own, train=timed.slice(0, len(train) - 20))
    assert evaluate(run, later, observer=QUIET).caution == ""
    earlier = dataclasses.replace(later, test=timed.slice(len(train) - 20, len(train)))
    evaluation = evaluate(run, earlier, observer=QUIET)
    assert evaluation.caution.startswith("Of 20 test sessions 20 are not known to be later than those")
    assert f"Beware: {evaluation.caution}" in " ".join(str(evaluation).split())


def test_baselines_that_know_more(dataset: Dataset, tmp_path: Path) -> None:
    model = tagnn_fast.ModelConfig(len(dataset.vocabulary), hidden_size=8)
    for protocol, known in (("held-out", True), ("held-out-refit", False)):
        training = TrainingConfig(protocol=protocol)
        run = create_run(tmp_path / protocol, model, training, dataset, None)
        run.keep_model(make_model(model, training).state_dict(), 1)
        assert ("baselines beside it know the last tenth" in evaluate(run, observer=QUIET).caution) == known


def test_sessions_that_chose_the_epoch(dataset: Dataset, tmp_path: Path) -> None:
    model, training = tagnn_fast.ModelConfig(len(dataset.vocabulary)), TrainingConfig(protocol="published-test")
    run = create_run(tmp_path / "chosen", model, training, dataset, None)
    run.keep_model(make_model(model, training).state_dict(), 1)
    assert evaluate(run, observer=QUIET).caution.startswith("Its epoch was chosen on these very sessions")
    others = dataclasses.replace(dataset, test=dataset.test.slice(0, 10))
    assert "chosen" not in evaluate(run, others, observer=QUIET).caution


def test_what_is_refused(run: Run, tmp_path: Path) -> None:
    """Without a look."""
    with pytest.raises(ValueError, match="dataset: expected the items of the run"):
        evaluate(run, synthetic_dataset(300, 30), observer=QUIET)
    with pytest.raises(FileNotFoundError, match="expected a run folder"):
        evaluate(tmp_path / "nowhere", observer=QUIET)
    run.weights.unlink()
    with pytest.raises(FileNotFoundError, match="expected weights"):
        evaluate(run, observer=QUIET)
    weights = make_model(run.model, run.training).state_dict()
    run.keep_model({name: torch.full_like(value, torch.nan) for name, value in weights.items()}, 1)
    with pytest.raises(FloatingPointError):
        evaluate(run, observer=QUIET)
    assert run.test_reads() == []
