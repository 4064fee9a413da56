"""The training loop: plain, on one device or one for each of some processes, resumable to the bit."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any, NoReturn

import torch

from tagnn_fast.data.dataset import Dataset
from tagnn_fast.data.examples import PrefixExamples
from tagnn_fast.evaluation.ranks import RankedTargets, rank_model
from tagnn_fast.evaluation.scoring import score_model
from tagnn_fast.files import clear_up, remove_leftovers, write_json
from tagnn_fast.memory import enough_memory
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.observer import Observer
from tagnn_fast.parallel.processes import ALONE, Processes, process_seed
from tagnn_fast.recommender import Recommender
from tagnn_fast.runs.checkpoints import (
    REFIT,
    Progress,
    digest_tensors,
    list_checkpoints,
    load_checkpoint,
    load_parameters,
    save_checkpoint,
)
from tagnn_fast.runs.configuration import VALIDATED, make_model
from tagnn_fast.runs.run import Run
from tagnn_fast.training.curves import plot_curves
from tagnn_fast.training.device import make_fabric
from tagnn_fast.training.loggers import Logger, LoggerName, logged
from tagnn_fast.training.protocols import Protocol, check_times, protocol_of
from tagnn_fast.training.schedule import choose_epoch, is_over, learning_rate, order_of_epoch, rate_of_step
from tagnn_fast.training.steps import Steps, begin_training, matrix_precision, set_learning_rate
from tagnn_fast.training.stopping import Interrupted
from tagnn_fast.training.tensorboard import TensorBoard
from tagnn_fast.training.test_set import earlier_look, log_look, look_at_test_set

LOG_EVERY = 50  # steps
ASK_EVERY = 10  # steps on GPUs, which take less time than it takes processes to agree
_LESS = "a lower --max-clicks-per-batch or --batch-size of `train`"  # takes less memory


def train(
    run: Run,
    dataset: Dataset,
    observer: Observer | None = None,
    stop: Callable[[], bool] = lambda: False,
    processes: Processes = ALONE,
    kind: type[Training] | None = None,
    loggers: Sequence[LoggerName | Logger] = (),
) -> dict[str, Any]:
    """Train a run to its end, from its newest checkpoint where it has one.

    Args:
        run: the run folder.
        dataset: the data set that it was made with.
        observer: told how it goes.
        stop: asked after each step; where it says so, a checkpoint is written.
        processes: that all train this run, each with a share of each batch and of what is scored. The first one writes.
            Where one of them is to stop, all do.
        kind: the class that does it; None for :class:`Training`.
        loggers: told how it goes; see :func:`tagnn_fast.fit`.

    Returns:
        What is in ``result.json``, with the chosen epoch, its validation and test figures, and what to beware of.

    Raises:
        Interrupted: after `stop` said so.
        FloatingPointError: where the loss is not finite; checkpoints are from before.
        MemoryError: where there is not enough memory for a step.
        OSError: where a checkpoint cannot be written; the one before stays. Where another process trains the run, or a
            logger cannot be opened.
        ValueError: on another data set, or a checkpoint that is damaged or of another configuration.
    """
    with run.lock() if processes.is_first else nullcontext(), enough_memory("a step of training", _LESS):
        if processes.is_first:
            clear_up(run.folder)  # what is left of making it
            remove_leftovers(run.folder)
            remove_leftovers(run.checkpoints)
        processes.wait()
        training = (kind or Training)(run, dataset, observer or Observer(), stop, processes)
        with logged(run, loggers, training.observer) as training.observer:
            return training.run_to_end()


class Training:
    """A run's way from where it stands to its end; see :func:`train`."""

    def __init__(
        self, run: Run, dataset: Dataset, observer: Observer, stop: Callable[[], bool], processes: Processes
    ) -> None:
        run.check_dataset(dataset)
        if run.training.protocol in VALIDATED or run.training.example_half_life:
            check_times(run, dataset)
        self.run, self.dataset, self.observer, self.processes = run, dataset, observer, processes
        self.stop, self.asked_to_stop = stop, False
        self.protocol: Protocol = protocol_of(run, dataset)
        self.fabric = make_fabric(run.training, processes.local_rank)
        self.progress = self._stand()
        self._check_same()

    def _begin(self, examples: PrefixExamples) -> None:
        """A new model, to be trained on these examples."""
        options = self.run.training
        torch.manual_seed(options.seed)
        self.examples = examples
        self.steps_per_epoch = math.ceil(len(examples) / options.batch_size)
        self._make(examples)

    def _make(self, examples: PrefixExamples) -> None:
        """Make the model, its optimiser and its steps."""
        options = self.run.training
        self.model = make_model(self.run.model, options)
        if self.run.initial_weights.exists():
            load_parameters(self.model, self.run.initial_weights)
        self.steps: Steps
        self.optimizer, self.steps = begin_training(self.fabric, self.model, options, examples, self.processes)

    def _stand(self) -> Progress:
        """Where the run stands: at its newest checkpoint, or at the beginning."""
        checkpoints = list_checkpoints(self.run.checkpoints)
        path = checkpoints[-1] if checkpoints else None
        refit = self.protocol.refit if path is not None and path.name.startswith(REFIT) else None
        self._begin(refit if refit is not None else self.protocol.train)
        if path is None:
            return Progress()
        try:
            progress = self._load(path)
        except ValueError as error:
            way_out = f"; without {path} the run goes on from {checkpoints[-2].name}" if len(checkpoints) > 1 else ""
            raise ValueError(f"{error}{way_out}") from None
        validates = self.protocol.validation is not None
        if (
            (progress.refit is not None) != (refit is not None)
            or any(("validation" in record) != validates for record in progress.history)
            or any("validation" in record for record in progress.refit or [])
            or (progress.refit is not None and not is_over(self.run.training, progress.history))
            or progress.epoch > self._most_epochs(progress)
            or progress.step > self.steps_per_epoch
        ):
            raise ValueError(f"{path}: expected a checkpoint of this run, got {path.name} of another")
        return progress

    def _load(self, path: Path) -> Progress:
        return load_checkpoint(path, self.model, self.optimizer, self.run.configuration, self._average)

    def _check_same(self) -> None:
        """Raise ValueError where not all processes stand where the first one does."""
        if not self.processes.is_group:
            return
        progress, tensors = self.progress, {name: value.cpu() for name, value in self.model.state_dict().items()}
        here = f"{progress.refit is not None} {progress.epoch} {progress.step} {digest_tensors(tensors)}"
        if self.processes.any(self.processes.told(here) != here):
            raise ValueError(f"{self.run.folder}: expected the same checkpoint on all processes, got different ones")

    def _most_epochs(self, progress: Progress) -> int:
        return self.run.training.epochs if progress.refit is None else choose_epoch(progress.history)

    @property
    def _is_over(self) -> bool:
        """Whether the present training has no epoch more."""
        progress = self.progress
        if progress.refit is None:
            return is_over(self.run.training, progress.history)
        return len(progress.refit) == self._most_epochs(progress)

    def _rate(self) -> float:
        """The learning rate of the present epoch; on all sessions, what it was before."""
        progress = self.progress
        if progress.refit is None:
            return learning_rate(self.run.training, progress.history)
        return float(progress.history[progress.epoch]["learning_rate"])

    @property
    def _steps_done(self) -> int:
        """Of the run, on all sessions too."""
        progress = self.progress
        done = progress.epoch * self.steps_per_epoch + progress.step
        if progress.refit is not None:
            done += len(progress.history) * math.ceil(len(self.protocol.train) / self.run.training.batch_size)
        return done

    def run_to_end(self) -> dict[str, Any]:
        """See :func:`train`."""
        if self.run.result is None or not self.run.weights.exists():
            self._keep_chosen()
        elif not self.progress.history:
            return self.run.result  # it has ended, and its checkpoints were removed
        with TensorBoard(self.run.folder if self.processes.is_first else None, self._steps_done) as self.tensorboard:
            self._train()
            if self.protocol.refit is not None and self.progress.refit is None:
                if self.processes.is_first:
                    self.run.keep_held_out()
                self._begin(self.protocol.refit)
                self.progress = Progress(history=self.progress.history, refit=[])
                self._train()
            return self._finish_run()

    def _train(self) -> None:
        while not self._is_over:
            with matrix_precision(self.run.training.precision, self.fabric.device):
                self._train_epoch()
            self._finish_epoch()

    def _train_epoch(self) -> None:
        options, progress, examples = self.run.training, self.progress, self.examples
        size = options.batch_size
        rate = before = self._rate()
        set_learning_rate(self.optimizer, rate)
        self.model.train()
        self.steps.begin_epoch(order_of_epoch(options, examples, progress.epoch))
        loss_sum = torch.tensor(progress.loss_sum, dtype=torch.float64, device=self.fabric.device)
        done = min(progress.step * size, len(examples))
        self.observer.begin(self._epoch_name(), len(examples), done)
        start = time.perf_counter()
        for begin in range(progress.step * size, len(examples), size):
            now = rate_of_step(options, rate, progress.epoch, progress.step, self.steps_per_epoch)
            if now != before:
                set_learning_rate(self.optimizer, now)
                before = now
            if self.processes.is_group:
                torch.manual_seed(
                    process_seed(options.seed, progress.refit is not None, self._steps_done, self.processes.rank)
                )
            loss = self.steps.take(progress.step)
            taken = min(size, len(examples) - begin)
            progress.step += 1
            loss_sum += loss.double() * taken
            mean = None
            if progress.step % LOG_EVERY == 0:
                mean = self._mean_loss(loss_sum, min(progress.step * size, len(examples)))
                self.tensorboard.show_step(float(loss), self._steps_done, progress.refit is not None)
            self.observer.advance(taken, mean)
            if self._is_to_stop(progress.step):
                self._mean_loss(loss_sum, min(progress.step * size, len(examples)))
                progress.loss_sum = float(loss_sum)
                progress.seconds += time.perf_counter() - start
                self._interrupt()
        self._mean_loss(loss_sum, len(examples))
        progress.loss_sum = float(loss_sum)
        progress.seconds += time.perf_counter() - start

    def _is_to_stop(self, step: int = 0) -> bool:
        """Whether one of the processes was asked to stop: all of them get the same answer, at the same step."""
        self.asked_to_stop = self.asked_to_stop or self.stop()
        if self.fabric.device.type == "cuda" and self.processes.is_group and step % ASK_EVERY:
            return False
        return self.processes.any(self.asked_to_stop)

    def _mean_loss(self, loss_sum: torch.Tensor, examples: int) -> float:
        mean = float(loss_sum) / examples
        if not math.isfinite(mean):
            raise FloatingPointError(
                f"loss: expected finite numbers, got {mean} in {self._epoch_name()}: training diverged; "
                "a lower learning rate may help"
            )
        return mean

    def _epoch_name(self) -> str:
        name = f"epoch {self.progress.epoch + 1}"
        return name if self.progress.refit is None else f"{name} on all sessions"

    def _finish_epoch(self) -> None:
        progress, protocol = self.progress, self.protocol
        self._check_parameters()
        record: dict[str, Any] = {
            "epoch": progress.epoch + 1,
            "learning_rate": self._rate(),
            "training_loss": progress.loss_sum / len(self.examples),
            "training_seconds": round(progress.seconds, 2),
        }
        if progress.refit is not None:
            record["refit"] = True
        elif protocol.validation is not None:
            record["validation"] = self._evaluate(protocol.validation, protocol.validation_name)
            if protocol.validates_on_test and self.processes.is_first:
                log_look(self.run, self.dataset, record["validation"], record["epoch"])
        progress.records.append(record)
        progress.epoch, progress.step, progress.loss_sum, progress.seconds = progress.epoch + 1, 0, 0.0, 0.0
        self.tensorboard.show_epoch(record, self._steps_done, protocol.validation_name)
        self._save()
        self._keep_chosen()
        self.observer.end_epoch(record)

    def _keep_chosen(self) -> None:
        """Make the weights of an epoch that has just ended the run's: the best so far; on all sessions, the last.

        The checkpoint comes first: where the run is stopped between the two, they are taken from it.
        """
        progress = self.progress
        if progress.records and progress.step == 0 and choose_epoch(progress.history) == progress.epoch:
            self._keep_model(progress.epoch)

    def _keep_model(self, epoch: int) -> None:
        if self.processes.is_first:
            self.run.keep_model(self._scored_model().state_dict(), epoch)

    def _check_parameters(self) -> None:
        for name, value in self.model.named_parameters():
            if not bool(value.isfinite().all()):
                raise FloatingPointError(f"{name}: expected finite parameters, got others: training diverged")

    def _finish_run(self) -> dict[str, Any]:
        history, protocol = self.progress.history, self.protocol
        chosen = choose_epoch(history)
        result: dict[str, Any] = {"protocol": self.run.training.protocol, "epoch": chosen, "caution": protocol.caution}
        if protocol.validation is not None:
            result["validation"] = history[chosen - 1]["validation"]
        if protocol.refit is not None:
            result["refit"] = {"epochs": chosen, "examples": len(protocol.refit)}
        if protocol.best_per_metric:
            metrics = history[0]["validation"]
            best = {name: max((record["validation"][name], -record["epoch"]) for record in history) for name in metrics}
            result["best_of_each_metric"] = {name: {"value": v, "epoch": -e} for name, (v, e) in best.items()}
        elif len(PrefixExamples(self.dataset.test)) > 0:
            result["test"] = self._test(chosen)
        if self.processes.is_first:
            self._write_history()
            write_json(self.run.folder / "result.json", result)
            plot_curves(history, protocol.validation_name, self.run.folder / "curves.png")
        self.processes.wait()  # for what the first one writes: the run has ended for all
        return result

    def _test(self, epoch: int) -> dict[str, float]:
        """The one look at the test set, or what it gave if a run that was stopped after it goes on."""
        if (figures := earlier_look(self.run, epoch)) is not None:
            return figures
        self.processes.wait()  # until they are written
        self._load_weights(self.run.weights)
        if self.run.kept_epoch() != epoch:
            raise ValueError(f"{self.run.weights}: expected the weights of epoch {epoch}, got {self.run.kept_epoch()}")
        return look_at_test_set(self.run, self.dataset, self._rank, epoch, self.observer, self.processes)

    def _load_weights(self, path: Path) -> None:
        load_parameters(self.model, path)

    def _rank(self, examples: PrefixExamples) -> RankedTargets:
        return rank_model(Recommender(self.model, self.run.vocabulary), examples, self._advance, self.processes)

    def _evaluate(self, examples: PrefixExamples, what: str) -> dict[str, float]:
        self.observer.begin(what, len(examples))
        recommender = Recommender(self._scored_model(), self.run.vocabulary)
        return score_model(recommender, examples, self._advance, self.processes)

    def _scored_model(self) -> SessionModel:
        """The model after its last epoch, as it is scored and kept."""
        average = self.steps.average
        if average is None:
            return self.model
        return average.averaged(self.progress.epoch * self.steps_per_epoch + self.progress.step)

    @property
    def _average(self) -> dict[str, torch.Tensor] | None:
        return None if self.steps.average is None else self.steps.average.sums

    def _advance(self, scored: int) -> None:
        self.observer.advance(scored)
        if self._is_to_stop():
            self._interrupt()

    def _interrupt(self) -> NoReturn:
        name = self._save()
        where = f"in {self._epoch_name()} after step {self.progress.step}"
        if self._is_over:
            where = "while scoring the test set"
        raise Interrupted(f"stopped {where}; saved {name}")

    def _save(self) -> str:
        self._check_parameters()  # nothing diverged is ever saved
        self.tensorboard.flush()
        name = self._write_checkpoint()
        if self.processes.is_first:
            self._write_history()
        return name

    def _write_checkpoint(self) -> str:
        """Write it, if this is the process that does; its name."""
        if not self.processes.is_first:
            return ""
        of_model = self.model, self.optimizer, self.progress, self.run.configuration, self._average
        return save_checkpoint(self.run.checkpoints, *of_model).name

    def _write_history(self) -> None:
        write_json(self.run.folder / "history.json", self.progress.history + (self.progress.refit or []))
