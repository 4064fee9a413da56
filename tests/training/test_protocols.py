"""Protocols: who is trained on, who is scored, and that the sound ones keep them apart."""

from __future__ import annotations

import pytest
import torch

from tagnn_fast.data import Dataset, PrefixExamples, Sessions, synthetic_dataset
from tagnn_fast.runs.configuration import PROTOCOLS
from tagnn_fast.training.protocols import first_held_out, make_protocol

DATASET = synthetic_dataset(clicks=600, items=40)


def as_set(examples: PrefixExamples) -> set[tuple[tuple[int, ...], int]]:
    items, offsets, targets = examples.cut(torch.arange(len(examples)))
    bounds = offsets.tolist()
    return {
        (tuple(items[begin:end].tolist()), target)
        for begin, end, target in zip(bounds[:-1], bounds[1:], targets.tolist(), strict=True)
    }


def test_held_out_is_the_last_tenth_of_the_sessions() -> None:
    protocol = make_protocol("held-out", DATASET, seed=0)
    assert protocol.validation is not None
    kept = len(DATASET.train) - len(DATASET.train) // 10
    bound = int(DATASET.train.offsets[kept])
    assert torch.equal(protocol.train.sessions.clicks, DATASET.train.clicks[:bound])
    assert torch.equal(protocol.validation.sessions.clicks, DATASET.train.clicks[bound:])
    assert protocol.caution == ""
    assert not protocol.best_per_metric


def test_refit_is_on_all_sessions() -> None:
    """After what held-out does."""
    protocol, held_out = (make_protocol(name, DATASET, seed=0) for name in ("held-out-refit", "held-out"))
    assert protocol.refit is not None
    assert protocol.refit.sessions is DATASET.train
    assert held_out.refit is None
    for name in ("train", "validation"):
        examples, expected = getattr(protocol, name), getattr(held_out, name)
        assert torch.equal(examples.sessions.clicks, expected.sessions.clicks)
        assert torch.equal(examples.sessions.offsets, expected.sessions.offsets)


@pytest.mark.parametrize(
    ("groups", "first"),
    [
        ([1] * 40, 36),
        ([30, 5, 5], 35),
        ([30, 7, 3], 37),
        ([20, 20], 36),  # a cut that held out half would not be the protocol any more
        ([1, 39], 36),
        ([39, 1], 36),
        ([40], 36),  # one time is no time
        ([9], 9),
        ([4, 5], 9),  # a tenth is none
    ],
)
def test_cut_at_a_change_of_time(groups: list[int], first: int) -> None:
    times = [86_400 * day for day, sessions in enumerate(groups) for _ in range(sessions)]
    sessions = [[1, 2]] * len(times)
    assert first_held_out(Sessions.from_lists(sessions, times)) == first
    assert first_held_out(Sessions.from_lists(sessions)) == len(times) - len(times) // 10


def timed(train: list[int], test: list[int]) -> Dataset:
    """Sessions of two clicks at these times."""
    parts = [Sessions.from_lists([[1, 2]] * len(times), times) for times in (train, test)]
    return Dataset("timed", *parts, DATASET.vocabulary)


@pytest.mark.parametrize(("began_with", "first"), [(None, 36), (20.0, 36), (35.0, 36), (36.0, 37), (38.0, 39)])
def test_what_the_first_weights_have_seen_is_not_held_out(began_with: float | None, first: int) -> None:
    """Of a run that this one starts from, all sessions until a time: fewer are held out, and none of those."""
    dataset = timed(list(range(40)), [40, 41])
    for name in ("held-out", "held-out-refit"):
        protocol = make_protocol(name, dataset, 0, began_with)
        assert protocol.validation is not None
        assert len(protocol.train.sessions) == first
        assert len(protocol.validation.sessions) == 40 - first
        assert protocol.caution == ""


def test_nothing_left_to_hold_out() -> None:
    dataset = timed(list(range(40)), [40, 41])
    untimed = Dataset("untimed", *(Sessions.from_lists([[1, 2]] * 40) for _ in range(2)), DATASET.vocabulary)
    for data, began_with in ((dataset, 39.0), (dataset, float("inf")), (untimed, 3.0)):
        with pytest.raises(
            ValueError, match="^start_from: expected a run on sessions before some of the training sess"
        ):
            make_protocol("held-out", data, 0, began_with)
        assert make_protocol("all", data, 0, began_with).validation is None


def test_what_the_first_weights_have_seen_of_the_test_set() -> None:
    dataset = timed(list(range(40)), [40, 41, 42])
    assert make_protocol("all", dataset, 0, 39.0).caution == ""
    caution = make_protocol("all", dataset, 0, 41.0).caution
    assert caution.startswith("Of 3 test sessions 2 are not known to be later than those that the weights were")
    assert "Of 3 test sessions 3 are" in make_protocol("all", dataset, 0, float("inf")).caution
    published = make_protocol("published", dataset, 0, 41.0).caution
    assert "siblings" in published
    assert published.endswith(caution)


def test_all_has_no_validation() -> None:
    protocol = make_protocol("all", DATASET, seed=0)
    assert protocol.validation is None
    assert as_set(protocol.train) == as_set(PrefixExamples(DATASET.train))


def test_published_splits_prefixes() -> None:
    """A random tenth of the prefixes, by the seed; its siblings are trained on, and the caution says so."""
    protocol = make_protocol("published", DATASET, seed=0)
    assert protocol.validation is not None
    everything = len(PrefixExamples(DATASET.train))
    assert len(protocol.train) == round(0.9 * everything)
    numbers = torch.cat([protocol.train.subset, protocol.validation.subset])
    assert torch.equal(numbers.sort().values, torch.arange(everything))
    again, other = (make_protocol("published", DATASET, seed).train.subset for seed in (0, 1))
    assert torch.equal(again, protocol.train.subset)
    assert not torch.equal(other, protocol.train.subset)
    assert "siblings" in protocol.caution
    assert protocol.best_per_metric


def test_published_test_scores_the_test_set() -> None:
    protocol = make_protocol("published-test", DATASET, seed=0)
    assert protocol.validation is not None
    assert as_set(protocol.validation) == as_set(PrefixExamples(DATASET.test))
    assert protocol.validates_on_test
    assert "test set was scored after every epoch" in protocol.caution


@pytest.mark.parametrize("name", PROTOCOLS)
def test_too_small(name: str) -> None:
    sessions = Sessions.from_lists([[1], [2]])
    with pytest.raises(ValueError, match="expected at least one session of two clicks, got none"):
        make_protocol(name, Dataset("tiny", sessions, sessions, DATASET.vocabulary), seed=0)


def test_unknown() -> None:
    with pytest.raises(ValueError, match="protocol: expected one of held-out, held-out-refit, all, .*, got 'x'"):
        make_protocol("x", DATASET, seed=0)
