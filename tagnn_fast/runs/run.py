"""A run folder: configuration, items, checkpoints, model, history, and a log of every look at a test set."""

from __future__ import annotations

import fcntl
import platform
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from tagnn_fast._C import cpu_capability
from tagnn_fast.baselines.baseline import Baseline
from tagnn_fast.checks import check_path
from tagnn_fast.data.dataset import Dataset, read_dataset, read_digests, write_dataset
from tagnn_fast.data.stored_tables import read_items, write_items
from tagnn_fast.data.vocabulary import Vocabulary
from tagnn_fast.files import describe_file, load_json, new_folder, read_json, replaced_file, write_json
from tagnn_fast.nn.blend import BlendRanker
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.nn.session_model import SessionModel
from tagnn_fast.recommender import Recommender, popularity
from tagnn_fast.runs.beginning import beginning, check_items, grown_weights, known_until, last_time
from tagnn_fast.runs.checkpoints import digest_of, load_learnt, load_parameters, save_tensors
from tagnn_fast.runs.configuration import (
    TrainingConfig,
    configuration_from_json,
    configuration_json,
    make_baseline,
    make_model,
)
from tagnn_fast.runs.hub import push
from tagnn_fast.runs.looks import append_look, read_looks
from tagnn_fast.runs.members import check_members, check_weights, read_choice
from tagnn_fast.runs.results import History, Result
from tagnn_fast.version import __version__

FORMAT, VERSION = "tagnn_fast.run", 1
_DATA = "data"  # folder in the run's, of a data set that had none
_MEMBERS = "members"  # folder in a blend's, of the runs that it was made of


@dataclass(frozen=True)
class Run:
    """An opened run folder.

    Attributes:
        folder: where it is.
        model: the model's configuration.
        training: the training's.
        dataset: name, path (relative to the run's folder where it is in it), fingerprint and statistics of the data set
            trained on.
        vocabulary: the items.
        members: of a blend, the runs that it was made of: where they were, their method and seed, and a digest of their
            weights.
    """

    folder: Path
    model: ModelConfig
    training: TrainingConfig
    dataset: Mapping[str, Any]
    vocabulary: Vocabulary
    members: Sequence[Mapping[str, Any]] = ()

    @property
    def configuration(self) -> dict[str, dict[str, Any]]:
        """Both configurations, as in ``config.json``."""
        return configuration_json(self.model, self.training)

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / "checkpoints"

    @property
    def weights(self) -> Path:
        """File of the chosen epoch's weights so far; of a blend, of what each member weighs."""
        return self.folder / ("weights.json" if self.training.is_blend else "model.safetensors")

    @property
    def held_out_weights(self) -> Path:
        """File of the chosen epoch's weights that have not seen the sessions held out, where the run has one.

        Those from before the training on all sessions, where there is one; earlier versions did not keep them.
        """
        return self.weights if self.training.protocol == "held-out" else self.folder / "held_out.safetensors"

    def check_held_out(self) -> None:
        """Raise FileNotFoundError where the run has no weights that have not seen the sessions held out."""
        if not self.held_out_weights.exists():
            raise FileNotFoundError(
                f"{self.held_out_weights}: expected weights that have not seen the sessions held out; runs of earlier "
                "versions kept none, and trained again they do"
            )

    @property
    def initial_weights(self) -> Path:
        """File of the weights to begin with, where they come from another run."""
        return self.folder / "initial.safetensors"

    @property
    def test_ranks(self) -> Path:
        """File of the rank of each target of the test set, from the look at the end of training."""
        return self.folder / "test_ranks.parquet"

    @property
    def history(self) -> History:
        """What each finished epoch gave so far; a list of dictionaries that prints as a table."""
        path = self.folder / "history.json"
        return History(load_json(path)) if path.exists() else History()

    @property
    def result(self) -> Result | None:
        """What training came to, a dictionary that prints as a table; None before it has ended."""
        path = self.folder / "result.json"
        return Result(load_json(path)) if path.exists() else None

    @property
    def trained_until(self) -> float:
        """Time of the last session that the run's weights have seen, seconds since 1970; infinite if not known."""
        return known_until(self.dataset.get("trained_until"))

    @property
    def began_with(self) -> float | None:
        """The same of the weights that it began with, another run's; None where they were new."""
        if "start_from" not in self.dataset and "began_with" not in self.dataset:
            return None
        return known_until(self.dataset.get("began_with"))

    def read_dataset(self) -> Dataset:
        """The data set that the run was made with, or what an update made of it since.

        Raises:
            FileNotFoundError: where it is no longer there.
            ValueError: where it is damaged.
        """
        return read_dataset(self.folder / self.dataset["path"])

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Keep other processes from training this run; raises BlockingIOError where one does."""
        with (self.folder / "config.json").open("r+") as file:  # network file systems lock what may be written
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise BlockingIOError(f"{self.folder}: expected a run that no other process trains") from None
            yield

    def check_dataset(self, dataset: Dataset, updated: bool = False) -> None:
        """Raise ValueError unless this is the data set the run was made with, or with `updated` what became of it."""
        updates = dataset.source.get("updates", []) if updated else []
        known = [update.get("fingerprint_before") for update in updates]
        if None in known:  # an earlier version's, which does not say
            return
        if self.dataset["fingerprint"] not in [*known, dataset.fingerprint()]:
            raise ValueError(
                f"dataset: expected the sessions and items of the run's, {self.dataset['name']!r}, "
                f"got others, of {dataset.name!r}"
            )

    def keep_model(self, parameters: Mapping[str, torch.Tensor], epoch: int) -> None:
        """Make these the run's weights."""
        with replaced_file(self.weights) as temporary:
            save_tensors(parameters, temporary, epoch=str(epoch))

    def keep_held_out(self) -> None:
        """Keep the run's weights a second time, before a training on all sessions replaces them."""
        with replaced_file(self.held_out_weights) as temporary:
            shutil.copyfile(self.weights, temporary)

    def kept_epoch(self) -> int:
        """The epoch whose weights are kept.

        Raises:
            FileNotFoundError: where there are none.
            ValueError: where they are damaged.
        """
        try:
            with safe_open(self.weights, "pt") as file:
                return int((file.metadata() or {}).get("epoch", 0))
        except (SafetensorError, ValueError) as error:
            raise ValueError(f"{self.weights}: expected a safetensors file with its epoch, got {error}") from None

    def recommender(
        self, device: str | torch.device = "cpu", bfloat16_table: bool = False, screen: bool = True
    ) -> Recommender:
        """The run's model, ready to recommend.

        Args:
            device: where it is to run.
            bfloat16_table: see :class:`Recommender`.
            screen: see there; on the CPU, for networks in float32 with thousands of items.

        Raises:
            FileNotFoundError: before the first epoch has ended.
            ValueError: where the weights are damaged or not of this configuration, or no model can be made of it; for a
                baseline or a blend, on another device than the CPU or a bfloat16_table.
        """
        self.check_trained()
        if (self.training.is_baseline or self.training.is_blend) and torch.device(device).type != "cpu":
            kind = "baselines" if self.training.is_baseline else "blends"
            raise ValueError(f"device: expected cpu, which {kind} run on, got {device}")
        if self.training.is_blend:
            rankers = [member.recommender(screen=False).ranker for member in self.open_members()]
            weights = read_choice(self.weights, len(self.members))["weights"]
            blend = BlendRanker(self.model, rankers, weights, *popularity(self.vocabulary))
            return Recommender(blend, self.vocabulary, bfloat16_table)
        return Recommender(self._model(self.weights).to(device), self.vocabulary, bfloat16_table, screen)

    def held_out_recommender(self) -> Recommender:
        """The model of the chosen epoch that has not seen the sessions held out.

        Raises:
            FileNotFoundError: where the run has none.
            ValueError: see :meth:`recommender`.
        """
        self.check_held_out()
        return Recommender(self._model(self.held_out_weights), self.vocabulary)

    def open_members(self) -> list[Run]:
        """The runs of a blend, as it keeps them; raises ValueError on weights that are not those it was made of."""
        runs = [open_run(self.folder / _MEMBERS / str(number)) for number in range(len(self.members))]
        check_weights(self.members, {run.weights: digest_of(run.weights) for run in runs}, self.folder)
        return runs

    def describe_member(self) -> dict[str, Any]:
        """What a blend of this run says of it."""
        return {
            "run": str(self.folder),
            "architecture": self.training.architecture,
            "seed": None if self.training.is_baseline else self.training.seed,
            "weights": digest_of(self.weights),
        }

    def check_trained(self) -> None:
        """Raise FileNotFoundError before the first epoch has ended."""
        if not self.weights.exists():
            raise FileNotFoundError(f"{self.weights}: expected weights; the run has not finished an epoch")

    def _model(self, weights: Path) -> SessionModel | Baseline:
        with self._made_of_the_configuration():
            make: Any = make_baseline if self.training.is_baseline else make_model
            model: SessionModel | Baseline = make(self.model, self.training)
        if isinstance(model, Baseline):
            load_learnt(model, weights)
            return model
        if self.training.precision == "64-true":
            model = model.double()
        load_parameters(model, weights)
        return model

    @contextmanager
    def _made_of_the_configuration(self) -> Iterator[None]:
        """Whatever fails on its values is a ValueError that names the file."""
        try:
            yield
        except (MemoryError, RuntimeError, TypeError, ValueError) as error:
            where, reason = self.folder / "config.json", str(error).partition("\n")[0]
            raise ValueError(f"{where}: expected sizes of a model, got others: {reason}") from None

    def push_to_hub(self, name: str, private: bool | None = None, token: str | None = None) -> str:
        """Put what recommends of this run on a model hub, with its figures and a model card.

        Weights, items, options, history, result and looks at test sets go there; no data set, no checkpoint, no path of
        this machine, and no exported program. What the repository had of another run is removed.

        Args:
            name: of the repository there, ``owner/name``; made if there is none.
            private: whether a new one is; the hub's default if not given.
            token: of the hub; the one that was logged in with if not given.

        Returns:
            The commit's hash, which is the `revision` for :func:`tagnn_fast.from_pretrained`.

        Raises:
            FileNotFoundError: before the run's first epoch has ended.
            ModuleNotFoundError: without the extra ``tagnn_fast[hub]``, which is named.
            OSError: where the hub does not take it.
        """
        self.check_trained()
        return push(self.folder, name, private, token)

    def log_test_read(self, reader: str, dataset: str, figures: Mapping[str, float], **more: object) -> None:
        """Append a look at a test set to ``test_reads.jsonl``."""
        record = {"time": _now(), "reader": reader, "dataset": dataset, **more, "figures": dict(figures)}
        append_look(self.folder / "test_reads.jsonl", record)

    def test_reads(self) -> list[dict[str, Any]]:
        """All looks at test sets so far.

        Raises:
            ValueError: where their log is damaged.
        """
        return read_looks(self.folder / "test_reads.jsonl")


def create_run(
    folder: Path,
    model: ModelConfig,
    training: TrainingConfig,
    dataset: Dataset,
    source: Path | None,
    start_from: Run | None = None,
    members: Sequence[Run] = (),
) -> Run:
    """Make the folder of a new run.

    Args:
        folder: to make.
        model: the model's configuration.
        training: the training's.
        dataset: what is to be trained on.
        source: its folder; None where it is in none: the run then has it in its own.
        start_from: a run whose weights to begin with, of the same model but for items behind its own.
        members: of a blend, the runs to copy what recommends of.

    Raises:
        FileExistsError: where it exists.
        ValueError: where `start_from` has other items.
    """
    described: dict[str, Any] = {
        "name": dataset.name,
        "path": str(source.resolve()) if source is not None else _DATA,
        "fingerprint": dataset.fingerprint(),
        "items": dataset.vocabulary.fingerprint(),
        "statistics": dataset.statistics(),
        "times": dataset.train.times is not None,
        "times_fingerprint": dataset.times_fingerprint(),
        "trained_until": last_time(dataset, [one.trained_until for one in (*members, start_from) if one is not None]),
        **beginning([*(one.began_with for one in members), start_from.trained_until if start_from else None]),
    }
    if start_from is not None:
        described["start_from"] = str(start_from.folder.resolve())
    environment = {
        "tagnn_fast": __version__,
        "torch": torch.__version__,
        "python": platform.python_version(),
        "threads": torch.get_num_threads(),
        "cpu_capability": cpu_capability(),
    }
    weights = None
    if start_from is not None:
        check_items(start_from.vocabulary, dataset.vocabulary)
        weights = grown_weights(start_from.recommender().model.state_dict(), model, training)
    with new_folder(folder) as temporary:
        if weights is not None:
            save_tensors(weights, temporary / "initial.safetensors")
        write_items(dataset.vocabulary, temporary / "items.parquet")
        (temporary / "checkpoints").mkdir()
        for number, member in enumerate(members):
            (own := temporary / _MEMBERS / str(number)).mkdir(parents=True)
            for name in ("config.json", "items.parquet", member.weights.name):
                shutil.copyfile(member.folder / name, own / name)
        if source is None:
            write_dataset(dataset, temporary / _DATA)
        content = {"format": FORMAT, "version": VERSION, "created": _now(), **configuration_json(model, training)}
        if members:
            content["members"] = [member.describe_member() for member in members]
        files = {"items.parquet": describe_file(temporary / "items.parquet")["sha256"]}
        write_json(
            temporary / "config.json", {**content, "dataset": described, "environment": environment, "files": files}
        )
    return open_run(folder)


def open_run(folder: str | Path) -> Run:
    """Open a run folder.

    Raises:
        FileNotFoundError: where there is none.
        ValueError: where it is damaged or from a newer version.
    """
    folder = check_path(folder, "folder", "a run's folder").absolute()  # the process may go elsewhere
    path = folder / "config.json"
    if not path.exists():
        raise FileNotFoundError(f"{folder}: expected a run folder with a config.json in it")
    content = read_json(path, FORMAT, VERSION)
    model, training = configuration_from_json(content, path)
    dataset = content.get("dataset")
    if not isinstance(dataset, dict) or not {"name", "path", "fingerprint", "statistics"} <= dataset.keys():
        raise ValueError(f"{path}: expected the run's data set, got {dataset!r}")
    vocabulary = read_items(folder / "items.parquet", read_digests(content, folder).get("items.parquet"))
    if len(vocabulary) != model.num_items:
        raise ValueError(
            f"{folder / 'items.parquet'}: expected the {model.num_items} items of config.json, got {len(vocabulary)}"
        )
    if dataset.get("items", vocabulary.fingerprint()) != vocabulary.fingerprint():  # runs of before have none
        raise ValueError(f"{folder / 'items.parquet'}: expected the items of config.json, got others")
    members = check_members(content.get("members"), path) if training.is_blend else []
    return Run(folder, model, training, dataset, vocabulary, members)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
