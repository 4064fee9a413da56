"""Lightning's loggers, such as MLflow's: they are told what ``history.json`` and ``result.json`` say of a run.

``loggers.json`` in the run's folder keeps which of a logger's runs this one is, and how much of it is there: a run that
stops goes on in the same one, and what could not be sent is sent later.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from tagnn_fast.extras import needed_by
from tagnn_fast.files import load_json, write_json
from tagnn_fast.observer import Observer, Observers
from tagnn_fast.runs.run import Run

LoggerName = Literal["csv", "mlflow", "wandb"]
Status = Literal["success", "failed", "interrupted"]
_CLASSES: dict[LoggerName, tuple[str, str, str]] = {  # and the package that a class cannot do without
    "csv": ("lightning_fabric", "lightning_fabric.loggers", "CSVLogger"),
    "mlflow": ("mlflow", "pytorch_lightning.loggers", "MLFlowLogger"),
    "wandb": ("wandb", "pytorch_lightning.loggers", "WandbLogger"),
}
_PROJECT = "tagnn_fast"  # where neither MLflow nor W&B is told another


@runtime_checkable
class Logger(Protocol):
    """What is asked of a logger: those of ``lightning_fabric.loggers`` and ``pytorch_lightning.loggers`` have it."""

    def log_hyperparams(self, params: dict[str, Any]) -> Any:
        """The run's configuration, each time that it is trained; one that has no place for it is not told."""

    def log_metrics(self, metrics: dict[str, float], step: int) -> Any:
        """Figures after so many epochs."""

    def finalize(self, status: Any) -> Any:
        """The training has ended, with a :data:`Status`."""


def check_loggers(loggers: Sequence[LoggerName | Logger]) -> None:
    """Refuse loggers that are unknown, and names whose packages are missing.

    Raises:
        TypeError, ValueError: naming what is no logger.
        ModuleNotFoundError: naming the extra.
    """
    expected = f"loggers: expected a list of {', '.join(_CLASSES)} or objects with Lightning's logger interface"
    if isinstance(loggers, str) or not isinstance(loggers, Sequence):
        raise TypeError(f"{expected}, got {loggers!r}")
    for logger in loggers:
        if isinstance(logger, str):
            if logger not in _CLASSES:
                raise ValueError(f"{expected}, got {logger!r}")
            if loggers.count(logger) > 1:
                raise ValueError(f"loggers: expected each name once, got {logger} again")
            with needed_by(f"logger {logger}", logger):
                _class_of(logger)
        elif isinstance(logger, type) or not isinstance(logger, Logger):
            raise TypeError(f"{expected}, got {logger!r}")


@contextmanager
def logged(run: Run, loggers: Sequence[LoggerName | Logger], observer: Observer) -> Iterator[Observer]:
    """Tell loggers of what is trained in the block, and how it ended; to be told in the observer's place.

    What they lack of the epochs before comes first. Where a logger fails later, a line says so, once; it is tried again
    at the end, and whenever the run goes on.

    Args:
        run: in a folder that no other process trains in.
        loggers: see :func:`tagnn_fast.fit`.
        observer: told as well.

    Raises:
        ConnectionError: where a logger cannot be opened.
        TypeError, ValueError, ModuleNotFoundError: see :func:`check_loggers`; on a ``loggers.json`` of something else.
    """
    if not loggers:
        yield observer
        return
    check_loggers(loggers)
    logging = _Logging(run, loggers, observer)
    try:
        yield Observers(observer, logging)
    except KeyboardInterrupt:
        logging.finish("interrupted")
        raise
    except BaseException:
        logging.finish("failed")
        raise
    logging.finish("success")


@dataclass
class _Sent:
    """What a logger has of a run: which of its runs that is, so many records of the history, and the result or not."""

    version: str | None = None
    epochs: int = 0
    result: bool = False


class _Logging(Observer):
    """Loggers that are told of each epoch when it has ended."""

    def __init__(self, run: Run, loggers: Sequence[LoggerName | Logger], observer: Observer) -> None:
        self._run, self._observer, self._path = run, observer, run.folder / "loggers.json"
        self._sent = _read_sent(self._path)
        self._feeds = list[_Feed]()
        for logger in loggers:
            alike = sum(type(feed.logger) is type(logger) for feed in self._feeds)
            feed = _Feed(run, logger, alike, self._sent)
            self._feeds.append(feed)
            self._keep(feed)
        self._send()

    def end_epoch(self, record: dict[str, Any]) -> None:
        """See the base class. The record is in the history by then, perhaps behind others that were not sent."""
        self._send()

    def finish(self, status: Status) -> None:
        """Send what is still missing, and how the training ended."""
        for feed in self._feeds:
            with self._said_once(feed):
                self._send_to(feed)
                feed.finish(status)

    def _send(self) -> None:
        for feed in self._feeds:
            if not feed.failed:
                with self._said_once(feed):
                    self._send_to(feed)

    def _send_to(self, feed: _Feed) -> None:
        for _ in feed.send(self._run):
            self._keep(feed)

    def _keep(self, feed: _Feed) -> None:
        self._sent[feed.key] = feed.sent
        write_json(self._path, {key: asdict(sent) for key, sent in self._sent.items()})

    @contextmanager
    def _said_once(self, feed: _Feed) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # whatever a service raises: it must not end a training
            if not feed.failed:
                feed.failed = True
                self._observer.say(
                    f"logger {feed.name} failed: {_in_a_line(error)}; what is missing there is sent at the end, or "
                    "when the run goes on with this logger"
                )


class _Feed:
    """A logger, and what it has of a run.

    Args:
        run: that it is told of.
        given: the logger, or its name.
        alike: how many others of its class are told as well.
        known: what each had before, by its key.

    Raises:
        ConnectionError: where it cannot be opened.
    """

    def __init__(self, run: Run, given: LoggerName | Logger, alike: int, known: Mapping[str, _Sent]) -> None:
        self.name = given if isinstance(given, str) else type(given).__name__
        self.failed = False
        try:
            if isinstance(given, str):
                self.logger: Any = _open(given, run, known.get(given, _Sent()).version)
            else:
                self.logger = given
            with suppress(NotImplementedError):  # of loggers without a place for it
                self.logger.log_hyperparams(
                    {**asdict(run.model), **asdict(run.training), "dataset": run.dataset["name"]}
                )
            version = getattr(self.logger, "version", None)
        except Exception as error:
            raise ConnectionError(f"logger {self.name}: {_in_a_line(error)}") from error
        version = None if version is None else str(version)
        self.key = given if isinstance(given, str) else f"{type(given).__module__}.{self.name} {version or alike}"
        before = known.get(self.key, _Sent())
        goes_on = before.version == version and not _is_of(self.logger, "CSVLogger")  # which writes its file anew
        self.sent = before if goes_on else _Sent(version)

    def send(self, run: Run) -> Iterator[None]:
        """Send what the logger lacks, part by part."""
        for record in run.history[self.sent.epochs :]:
            self._log(_figures_of_epoch(record), self.sent.epochs + 1)
            self.sent.epochs += 1
            yield
        if (result := run.result) is not None and not self.sent.result:
            self._log(_figures_of_result(result), self.sent.epochs)
            self.sent.result = True
            yield

    def finish(self, status: Status) -> None:
        """Tell the logger how the training ended, in the words that it has for it."""
        mlflow = _is_of(self.logger, "MLFlowLogger")
        self.logger.finalize("KILLED" if mlflow and status == "interrupted" else status)
        if self.key == "wandb":  # whose run goes on until the process ends, else
            self.logger.experiment.finish(exit_code={"success": 0, "failed": 1, "interrupted": 255}[status])

    def _log(self, figures: dict[str, float], epochs: int) -> None:
        if _is_of(self.logger, "MLFlowLogger"):  # where names have no @
            figures = {name.replace("@", "_at_"): value for name, value in figures.items()}
        if figures:
            self.logger.log_metrics(figures, epochs)


def _read_sent(path: Path) -> dict[str, _Sent]:
    content = load_json(path) if path.exists() else {}
    try:
        sent = {key: _Sent(**value) for key, value in content.items()}
        if all(isinstance(each.epochs, int) and each.epochs >= 0 for each in sent.values()):
            return sent
    except (AttributeError, TypeError):
        pass
    raise ValueError(f"{path}: expected what each logger has of the run, got {content}")


def _figures_of_epoch(record: Mapping[str, Any]) -> dict[str, float]:
    """A record of ``history.json`` by names; ``refit/...`` of the training on all sessions, ``validation/...`` else."""
    before = "refit/" if "refit" in record else ""
    plain = {f"{before}{name}": value for name, value in record.items() if name not in ("refit", "validation")}
    return {**plain, **{f"validation/{name}": value for name, value in record.get("validation", {}).items()}}


def _figures_of_result(result: Mapping[str, Any]) -> dict[str, float]:
    chosen = {"chosen_epoch": result["epoch"]} if "epoch" in result else {}  # none of a baseline
    return {**chosen, **{f"test/{name}": value for name, value in result.get("test", {}).items()}}


def _class_of(name: LoggerName) -> Any:
    """The class of a logger; raises ModuleNotFoundError without the package that it needs."""
    package, loggers, class_name = _CLASSES[name]
    import_module(package)
    return getattr(import_module(loggers), class_name)


def _open(name: LoggerName, run: Run, version: str | None) -> Any:
    """A logger, in that of its runs that it had before, or a new one."""
    logger_class = _class_of(name)
    if name == "csv":
        (run.folder / "csv" / "metrics.csv").unlink(missing_ok=True)  # it warns of what it replaces
        return logger_class(run.folder, name=None, version="csv", flush_logs_every_n_steps=1)
    if name == "mlflow":
        address = import_module("mlflow").get_tracking_uri()
        experiment = os.environ.get("MLFLOW_EXPERIMENT_NAME", _PROJECT)
        logger = logger_class(experiment, run.folder.resolve().name, address, run_id=version)
        logger.experiment.update_run(logger.run_id, status="RUNNING")
        return logger
    if (other := import_module("wandb").run) is not None:
        raise ValueError(
            f"expected no run of W&B in this process, got {other.id}; a WandbLogger that is given goes on with it"
        )
    project = os.environ.get("WANDB_PROJECT", _PROJECT)
    logger = logger_class(run.folder.resolve().name, run.folder, id=version, project=project)
    _ = logger.experiment  # begins the run, which gives it its id
    return logger


def _is_of(logger: Logger, class_name: str) -> bool:
    return any(base.__name__ == class_name for base in type(logger).__mro__)


def _in_a_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
