"""Which examples a run trains on, which choose its epoch, and what is wrong with that."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from tagnn_fast.data.dataset import Dataset
from tagnn_fast.data.examples import PrefixExamples, shuffled
from tagnn_fast.data.sessions import Sessions
from tagnn_fast.runs.beginning import seen_in_test
from tagnn_fast.runs.configuration import PROTOCOLS
from tagnn_fast.runs.run import Run

_LEAST, _MOST = 0.03, 0.2  # of the sessions that are held out, where they are cut at a time


@dataclass(frozen=True)
class Protocol:
    """Examples of a run; `sessions` of each are those that they are cut from.

    Attributes:
        train: what is trained on.
        validation: what is scored after each epoch; None where the number of epochs was fixed beforehand.
        refit: what is trained on once more, from the beginning, with what the validation examples chose; None where
            nothing is.
        validation_name: what they are, for people.
        validates_on_test: whether they are the test set.
        best_per_metric: whether the best epoch of each metric is reported, each from another epoch maybe, instead of
            one epoch chosen on the validation examples and then scored once on the test set.
        caution: what a reader of the figures must know; empty for sound protocols.
    """

    train: PrefixExamples
    validation: PrefixExamples | None
    refit: PrefixExamples | None = None
    validation_name: str = "validation"
    validates_on_test: bool = False
    best_per_metric: bool = False
    caution: str = ""


def protocol_of(run: Run, dataset: Dataset) -> Protocol:
    """The examples of a run's protocol; see :func:`make_protocol`."""
    return make_protocol(run.training.protocol, dataset, run.training.seed, run.began_with)


def make_protocol(name: str, dataset: Dataset, seed: int, began_with: float | None = None) -> Protocol:
    """The examples of a protocol.

    - "held-out": trains on the first nine tenths of the training sessions, which are ordered by time, and chooses the
      epoch on the last tenth. Where times are known, sessions of one time are on one side: the cut is the change of
      time that is nearest. Where none holds out between 3% and 20% of the sessions, as where all have one time, or
      where times are not known, they are counted.
    - "held-out-refit": does that, then trains a new model on all training sessions, for as many epochs as were chosen
      at the learning rates that they had.
    - "all": trains on all training sessions for a number of epochs fixed beforehand.
    - "published": trains on a random nine tenths of the training *prefixes*, as the published code does by default, and
      reports each metric's best epoch on the other tenth.
    - "published-test": trains on all prefixes and reports each metric's best epoch on the test set.

    Where training begins with another run's weights, the sessions that are held out are later than all that these have
    seen; and the caution says so where test sessions are not.

    Args:
        name: of the protocol.
        dataset: whose examples they are.
        seed: of what is drawn.
        began_with: the time of the last session that the first weights have seen, see :attr:`Run.trained_until`; None
            for new weights.

    Raises:
        ValueError: on an unknown name, a data set too small to hold anything out, or one without later sessions.
    """
    protocol = _examples(name, dataset, seed, began_with)
    if began_with is None:
        return protocol
    return replace(protocol, caution=f"{protocol.caution} {seen_in_test(dataset, began_with)}".strip())


def _behind(sessions: Sessions, time: float) -> int:
    """The first session behind all that are not known to be later than a time."""
    earlier = torch.arange(len(sessions)) if sessions.times is None else (sessions.times <= time).nonzero().flatten()
    return int(earlier[-1]) + 1 if earlier.numel() else 0


def _examples(name: str, dataset: Dataset, seed: int, began_with: float | None) -> Protocol:
    train = dataset.train
    if name == "all":
        return Protocol(_some(PrefixExamples(train), "train"), None)
    if name in ("held-out", "held-out-refit"):
        kept = first_held_out(train)
        if began_with is not None:
            kept = max(kept, _behind(train, began_with))
            if kept == len(train):
                raise ValueError(
                    "start_from: expected a run on sessions before some of the training sessions here, to hold these "
                    f'out, got one that may have seen all {len(train):,}; protocol "all" holds out none'
                )
        return Protocol(
            _some(PrefixExamples(train.slice(0, kept)), "train"),
            _some(PrefixExamples(train.slice(kept, len(train))), "validation (the last tenth of the sessions)"),
            PrefixExamples(train) if name == "held-out-refit" else None,
        )
    if name == "published":
        everything = PrefixExamples(train)
        order = shuffled(len(everything), seed, epoch=1 << 19)  # an order that no epoch has
        kept = round(0.9 * len(everything))
        return Protocol(
            _some(PrefixExamples(train, order[:kept].sort().values), "train"),
            _some(PrefixExamples(train, order[kept:].sort().values), "validation (a tenth of the prefixes)"),
            validation_name="held-out prefixes",
            best_per_metric=True,
            caution=(
                "The scored prefixes were drawn at random from the same sessions as those trained on: most have "
                "siblings among them that differ by a click. And each metric is taken from the epoch that was best for "
                "it on these very examples. Such figures are higher than any the model reaches on new sessions."
            ),
        )
    if name == "published-test":
        return Protocol(
            _some(PrefixExamples(train), "train"),
            _some(PrefixExamples(dataset.test), "test"),
            validation_name="test set",
            validates_on_test=True,
            best_per_metric=True,
            caution=(
                "The test set was scored after every epoch, and each metric is taken from the epoch that was best for "
                "it there: the test set chose the model, so that it no longer says how the model does on new sessions."
            ),
        )
    raise ValueError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {name!r}")


def first_held_out(sessions: Sessions) -> int:
    """The first of the last tenth of the sessions; see :func:`make_protocol` for where it is cut."""
    counted = len(sessions) - len(sessions) // 10
    if sessions.times is None or counted == len(sessions):
        return counted
    changes = (sessions.times.diff() != 0).nonzero().flatten() + 1
    share = 1 - changes.double() / len(sessions)
    changes = changes[(share >= _LEAST) & (share <= _MOST)]
    return int(changes[(changes - counted).abs().argmin()]) if changes.numel() else counted


def check_times(run: Run, dataset: Dataset) -> None:
    """Raise ValueError where sessions would be held out, or their age counted, otherwise than when the run was made."""
    words = {True: "with the times of its sessions", False: "without the times of its sessions"}
    timed, found = bool(run.dataset.get("times", False)), dataset.train.times is not None
    if timed != found:
        raise ValueError(f"dataset: expected one {words[timed]}, as the run was made, got it {words[found]}")
    known = run.dataset.get("times_fingerprint")  # earlier versions' runs have none
    if known is not None and known != dataset.times_fingerprint():
        raise ValueError("dataset: expected the times of its sessions as the run was made, got others")


def _some(examples: PrefixExamples, name: str) -> PrefixExamples:
    if len(examples) == 0:
        raise ValueError(f"{name}: expected at least one session of two clicks, got none")
    return examples
