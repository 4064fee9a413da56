"""Ensembles and hybrids of ended runs: a run folder of their own, which opens like any other."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from tagnn_fast.checks import check_path
from tagnn_fast.data.dataset import Dataset
from tagnn_fast.data.examples import PrefixExamples
from tagnn_fast.evaluation.ranks import RankedTargets, rank_model
from tagnn_fast.evaluation.scoring import score_model
from tagnn_fast.files import clear_up, remove_leftovers, write_json
from tagnn_fast.nn.blend import BlendRanker
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.observer import Observer
from tagnn_fast.progress import shown
from tagnn_fast.recommender import Recommender
from tagnn_fast.runs.checkpoints import digest_of
from tagnn_fast.runs.configuration import VALIDATED, TrainingConfig
from tagnn_fast.runs.members import read_choice
from tagnn_fast.runs.run import Run, create_run, open_run
from tagnn_fast.training.blend_weights import best_of, weigh
from tagnn_fast.training.protocols import check_times, make_protocol
from tagnn_fast.training.stopping import Interrupted, stop_on_signal
from tagnn_fast.training.test_set import earlier_look, look_at_test_set

_EPOCH = 1  # under which its record and its look at the test set stand
_SOUND = (*VALIDATED, "all")


def blend(runs: Sequence[Run | str | Path], folder: str | Path, *, observer: Observer | None = None) -> Run:
    """Put ended runs together: an ensemble of one method with several seeds, or a hybrid of two methods.

    Items are ranked by the weighted sum of their shares in each member, see :class:`~tagnn_fast.nn.blend.BlendRanker`.
    In an ensemble all members weigh alike. In a hybrid the first method weighs 0, 0.05, ... or 1 and the second the
    rest, by the highest MRR on the sessions held out, with the members' weights from before any training on them; the
    members of one method weigh alike. The test set is read once, after that. Two runs are of one method where nothing
    differs but the seed.

    The folder is a run like any other: to evaluate, recommend, export and serve. It has copies of what it needs of its
    members in ``members``, and what each of them weighs in ``weights.json``, with the figures of all weights that were
    tried. Stopped or killed at any time, the same call goes on.

    Args:
        runs: the members, or their folders: of one data set and one protocol that fits whole sessions.
        folder: to make, or one that the same call has begun.
        observer: told how it goes; a progress bar if not given. ``Observer()`` shows nothing.

    Raises:
        TypeError: on anything but runs.
        ValueError: on fewer than two, more than two methods, a run twice, one that has not ended or is a blend itself,
            other sessions, items or protocols, or another run in `folder`.
        FileNotFoundError: on a hybrid of runs without weights from before the training on all sessions, as earlier
            versions left them, or where the data set is no longer there.
        FileExistsError: where `folder` is something else.
        KeyboardInterrupt: on Ctrl-C.
        FloatingPointError, MemoryError, OSError: see :func:`tagnn_fast.fit`.
    """
    if isinstance(runs, (str, Path, Run)) or not isinstance(runs, Iterable):
        raise TypeError(f"runs: expected some runs or their folders, got {runs!r}")
    members = [
        run if isinstance(run, Run) else open_run(check_path(run, "runs", "a run or its folder")) for run in runs
    ]
    methods = check_blend(members)
    return make_blend(methods, check_path(folder, "folder", "a path").absolute(), members[0].read_dataset(), observer)


def make_blend(
    methods: Sequence[Sequence[Run]], folder: Path, dataset: Dataset, observer: Observer | None = None
) -> Run:
    """:func:`blend` of the runs of each method, which were checked, on the data set that they were made with."""
    members = [run for runs in methods for run in runs]
    for run in members:
        run.check_dataset(dataset)
        check_times(run, dataset)
    if (folder / "config.json").exists():
        run = open_run(folder)
        if [_identity(one) for one in run.open_members()] != [_identity(one) for one in members]:
            raise ValueError(f"{folder}: expected a blend of these runs to go on with, got another run")
    else:
        training = TrainingConfig("ensemble" if len(methods) == 1 else "hybrid", members[0].training.protocol)
        in_its_run = not Path(members[0].dataset["path"]).is_absolute()
        source = None if in_its_run else dataset.folder
        run = create_run(folder, ModelConfig(len(dataset.vocabulary)), training, dataset, source, members=members)
    with run.lock(), shown(observer) as told, stop_on_signal() as stop:
        clear_up(folder)
        remove_leftovers(folder)
        if run.result is None:
            _Blending(run, methods, dataset, told, lambda: stop() or told.stop()).run_to_end()
    return run


def check_blend(members: Sequence[Run]) -> list[list[Run]]:
    """The runs of each method, in the order in which they are given; raises what :func:`blend` does."""
    if len(members) < 2:
        raise ValueError(f"runs: expected two and more, got {len(members)}")
    first, known = members[0], set[tuple[str, str]]()
    for run in members:
        where = f"runs: expected runs that can be put together, got {run.folder}"
        if run.training.is_blend:
            raise ValueError(f"{where}, a blend itself")
        if run.result is None:
            raise ValueError(f"{where}, which has not ended")
        if run.training.protocol not in _SOUND:
            raise ValueError(f"{where}, whose protocol is {run.training.protocol} and none of {', '.join(_SOUND)}")
        if run.training.protocol != first.training.protocol:
            protocols = f"{run.training.protocol} and {first.training.protocol}"
            raise ValueError(f"{where}, whose protocol is another than the first's: {protocols}")
        if run.dataset["fingerprint"] != first.dataset["fingerprint"]:
            raise ValueError(f"{where}, which was trained on other sessions or items than the first")
        identity = _identity(run)
        if identity in known:
            raise ValueError(f"runs: expected another in each, got {run.folder} with options and weights of one before")
        known.add(identity)
    methods: dict[str, list[Run]] = {}
    for run in members:
        methods.setdefault(_method(run), []).append(run)
    if len(methods) > 2:
        names = ", ".join(runs[0].training.architecture for runs in methods.values())
        raise ValueError(
            f"runs: expected one method with several seeds, or two, between which one weight is chosen, got "
            f"{len(methods)}: {names}; options that differ make another method"
        )
    if len(methods) == 2:
        if first.training.protocol not in VALIDATED:
            raise ValueError(
                "runs: expected a protocol that holds out sessions to choose a hybrid's weight on, got "
                f"{first.training.protocol}"
            )
        for run in members:
            run.check_held_out()
    return list(methods.values())


class _Blending:
    def __init__(
        self,
        run: Run,
        methods: Sequence[Sequence[Run]],
        dataset: Dataset,
        observer: Observer,
        stop: Callable[[], bool],
    ) -> None:
        self.run, self.methods, self.dataset = run, methods, dataset
        self.observer, self.stop = observer, stop
        began = [run.began_with for runs in methods for run in runs if run.began_with is not None]
        self.protocol = make_protocol(run.training.protocol, dataset, 0, max(began, default=None))

    def run_to_end(self) -> None:
        run = self.run
        if not run.weights.exists():
            write_json(run.weights, self._choose())
        choice = read_choice(run.weights, len(run.members))
        weighed = zip(run.members, choice["weights"], strict=True)
        nothing = ", ".join(dict.fromkeys(member["architecture"] for member, weight in weighed if not weight))
        cautions = (
            f"{nothing}: weighs nothing, the other method alone was best." if nothing else "",
            self.protocol.caution,
        )
        result: dict[str, Any] = {
            "protocol": run.training.protocol,
            "caution": " ".join(filter(None, cautions)),
            "weights": choice["weights"],
        }
        record: dict[str, Any] = {"epoch": _EPOCH, "training_seconds": choice["seconds"]}
        if "validation" in choice:
            result["validation"] = record["validation"] = choice["validation"]
        if len(PrefixExamples(self.dataset.test)) > 0:
            figures = earlier_look(run, _EPOCH)
            result["test"] = figures if figures is not None else self._test()
        write_json(run.folder / "history.json", [record])
        write_json(run.folder / "result.json", result)

    def _choose(self) -> dict[str, Any]:
        """The content of ``weights.json``; its seconds are those of the members' trainings too."""
        members = [run for runs in self.methods for run in runs]
        seconds = sum(record["training_seconds"] for run in members for record in run.history)
        choice: dict[str, Any] = {"weights": self._weights([1 / len(self.methods)] * len(self.methods))}
        examples = self.protocol.validation
        if examples is None or not all(run.held_out_weights.exists() for run in members):
            return {**choice, "seconds": seconds}
        rankers = [[run.held_out_recommender().ranker for run in runs] for runs in self.methods]
        if len(self.methods) > 1:
            start = time.perf_counter()
            self.observer.begin("weights on the sessions held out", len(examples))
            first, second = (self._blended(part, [1 / len(part)] * len(part)) for part in rankers)
            choice["tried"] = weigh(first, second, examples, self._advance)
            choice["weights"] = self._weights(best_of(choice["tried"])["weights"])
            seconds += time.perf_counter() - start
        self.observer.begin(self.protocol.validation_name, len(examples))
        ranker = self._blended([ranker for part in rankers for ranker in part], choice["weights"])
        choice["validation"] = score_model(Recommender(ranker, self.run.vocabulary), examples, self._advance)
        return {**choice, "seconds": round(seconds, 3)}

    def _weights(self, of_methods: Sequence[float]) -> list[float]:
        """What each member weighs: those of a method alike."""
        return [weight / len(runs) for weight, runs in zip(of_methods, self.methods, strict=True) for _ in runs]

    def _blended(self, rankers: Sequence[torch.nn.Module], weights: Sequence[float]) -> BlendRanker:
        """By the popularity of the sessions that the members were trained on before."""
        clicks = self.protocol.train.sessions.clicks.long()
        counts = torch.bincount(clicks, minlength=self.run.model.num_items + 1)[1:].double()
        return BlendRanker(self.run.model, rankers, weights, counts, counts.argsort(descending=True, stable=True))

    def _test(self) -> dict[str, float]:
        recommender = self.run.recommender()

        def rank(examples: PrefixExamples) -> RankedTargets:
            return rank_model(recommender, examples, self._advance)

        return look_at_test_set(self.run, self.dataset, rank, _EPOCH, self.observer)

    def _advance(self, scored: int) -> None:
        self.observer.advance(scored)
        if self.stop():
            raise Interrupted("stopped; the same call goes on")


def _identity(run: Run) -> tuple[str, str]:
    """Its method and its weights; what counting methods do is not all in the latter."""
    return _method(run), digest_of(run.weights)


def _method(run: Run) -> str:
    """All that makes it what it is but the seed."""
    configuration = run.configuration
    training = {name: value for name, value in configuration["training"].items() if name not in ("seed", "accelerator")}
    return json.dumps([configuration["model"], training, run.began_with], sort_keys=True)
