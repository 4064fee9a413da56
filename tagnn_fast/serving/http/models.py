"""The models that a service answers with, by name; a new folder in a model's place takes over while requests go on."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import torch

from tagnn_fast.checks import check_path
from tagnn_fast.memory import release_freed_memory
from tagnn_fast.serving.formats import can
from tagnn_fast.serving.http.observer import Observer
from tagnn_fast.serving.manifest import ITEMS
from tagnn_fast.serving.served_model import FORMATS, FormatName, ServedModel, load

logger = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_POLL_SECONDS = 1.0  # three file stats a model
_Signature = tuple[tuple[int, ...], ...]


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """One version of a model.

    Attributes:
        name: by which requests ask for it.
        version: the beginning of its manifest's SHA-256.
        served: what answers.
        has_strings: whether its items' ids are strings.
        k_max: the longest list it gives.
        loaded: when, in UTC.
    """

    name: str
    version: str
    served: ServedModel
    has_strings: bool
    k_max: int
    loaded: datetime = field(default_factory=lambda: datetime.now(UTC))


class Models:
    """Models by name, and which of them a request gets.

    A model's folder is looked at every second: what is new there is loaded beside, tried, and takes over; what cannot
    be loaded leaves the old one answering. Whoever has got a model goes on with it: it is freed with the last of them.

    Args:
        given: exported folders, by name, or what has been loaded, which stays as it is.
        format: to load of each folder.
        split: percent of the requests that ask for no model by name, for each model; None: the first gets all.
        observer: hears of what is loaded and refused.

    Attributes:
        split: as given.

    Raises:
        FileNotFoundError, ValueError: see :func:`tagnn_fast.serving.load`; on a split of other models, or not of 100.
        FloatingPointError: where a model's answers are not finite.
    """

    def __init__(
        self,
        given: Mapping[str, Path | ServedModel],
        format: FormatName,
        split: Mapping[str, float] | None,
        observer: Observer,
    ) -> None:
        self.split = _checked_split(split, given)
        self._folders = {name: folder for name, folder in given.items() if isinstance(folder, Path)}
        self._format, self._observer = format, observer
        self._tried = {name: self._signature(name) for name in self._folders}
        self._refused: dict[str, str] = {}
        self._current = {
            name: self._load(name) if isinstance(model, Path) else _as_given(name, model)
            for name, model in given.items()
        }
        self._thread: threading.Thread | None = None
        self._wake, self._closed, self._again = threading.Event(), False, False
        for model in self:
            observer.loaded(model.name, model.version)

    def __iter__(self) -> Iterator[LoadedModel]:
        """As they are now."""
        return iter(list(self._current.values()))

    def named(self, name: str) -> LoadedModel | None:
        """The one of this name, as it is now."""
        return self._current.get(name)

    def refused(self, name: str) -> str | None:
        """Why the newest folder of this name does not answer, if it does not."""
        return self._refused.get(name)

    def chosen_for(self, key: Callable[[], str]) -> LoadedModel:
        """The one that whoever has this key gets: always the same, while the split is."""
        if self.split is None:
            return next(iter(self._current.values()))
        digest = hashlib.blake2b(key().encode(), digest_size=8).digest()
        place, end = 100 * int.from_bytes(digest) / 2**64, 0.0
        for name, percent in self.split.items():
            end += percent
            if place < end:
                return self._current[name]
        return self._current[[name for name, percent in self.split.items() if percent][-1]]  # rounding

    def watch(self) -> None:
        """Look at the folders from now on, on a thread of its own; nothing where it does already."""
        if self._thread is None or not self._thread.is_alive():  # a fork leaves it behind
            self._closed = False
            self._thread = threading.Thread(target=self._look, name="models", daemon=True)
            self._thread.start()

    def reload(self) -> None:
        """Load every folder again soon, whether it looks new or not."""
        self._again = True
        self._wake.set()

    def close(self) -> None:
        """Look no more."""
        self._closed = True
        self._wake.set()
        if self._thread is not None and self._thread is not threading.current_thread():
            self._thread.join()

    def _look(self) -> None:
        torch.set_num_threads(1)  # of this thread: loading beside is to disturb nobody
        tried = False
        while True:
            self._wake.wait(_POLL_SECONDS)
            self._wake.clear()
            if self._closed:
                return
            if tried:  # by now nobody uses the one before
                release_freed_memory()
            again, self._again, tried = self._again, False, False
            for name in self._folders:
                signature = self._signature(name)
                if again or signature != self._tried[name]:
                    self._tried[name] = signature
                    self._try(name)
                    tried = True

    def _try(self, name: str) -> None:
        try:
            model = self._load(name)
        except Exception as error:  # whatever it is, the old one answers
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            self._refused[name] = reason
            logger.error("%s: refused what is new: %s", name, reason)
            self._observer.refused(name, reason)
            return
        self._refused.pop(name, None)
        self._current[name] = model
        logger.info("%s: version %s answers", name, model.version)
        self._observer.loaded(name, model.version)

    def _load(self, name: str) -> LoadedModel:
        folder = self._folders[name]
        version = _version(folder)
        served = load(folder, self._format)
        _warm_up(served)
        if _version(folder) != version or self._signature(name) != self._tried[name]:
            raise ValueError(f"{folder}: expected files that stay as they are while they are read, got new ones")
        manifest = served.manifest
        longest = manifest["items"] if self._format == "torchscript" else manifest["k_max"]
        return LoadedModel(name, version, served, manifest["item_ids"] == "strings", longest)

    def _signature(self, name: str) -> _Signature:
        """Another one where a file of the folder was written or replaced."""
        return tuple(_file_signature(self._folders[name] / file) for file in (_MANIFEST, ITEMS, FORMATS[self._format]))


def models_by_name(
    given: str | Path | Iterable[str | Path] | Mapping[str, str | Path | ServedModel],
) -> dict[str, Path | ServedModel]:
    """What an application is given, by name.

    Raises:
        TypeError, ValueError: see :func:`folders_by_name`.
    """
    if not isinstance(given, Mapping):
        return {**folders_by_name([given] if isinstance(given, (str, Path)) else given)}
    if not given or not all(isinstance(name, str) and name for name in given):
        raise ValueError(f"folders: expected at least one model, by its name, got {given!r}")
    return {
        name: model if isinstance(model, ServedModel) else check_path(model, "folders", "exported folders")
        for name, model in given.items()
    }


def folders_by_name(folders: Iterable[str | Path]) -> dict[str, Path]:
    """Folders given as NAME=FOLDER, or as a folder, whose own name it is then.

    Raises:
        ValueError: on the same name twice, or none at all.
    """
    named: dict[str, Path] = {}
    for given in folders:
        name, sign, rest = str(given).partition("=")
        folder = check_path(rest if sign and "/" not in name else given, "folders", "exported folders")
        name = name if sign and "/" not in name else folder.absolute().name
        if not name or name in named:
            raise ValueError(f"{given}: expected a name that no other has, as in NAME=FOLDER, got {name!r}")
        named[name] = folder
    if not named:
        raise ValueError("folders: expected at least one exported folder, got none")
    return named


def _version(folder: Path) -> str:
    manifest = folder / _MANIFEST  # of one that is not there, `load` says what is wrong
    return hashlib.sha256(manifest.read_bytes() if manifest.exists() else b"").hexdigest()[:12]


def _as_given(name: str, served: ServedModel) -> LoadedModel:
    _warm_up(served)
    manifest = served.manifest
    version = hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()[:12]
    return LoadedModel(name, version, served, manifest["item_ids"] == "strings", manifest["k_max"])


def _file_signature(path: Path) -> tuple[int, ...]:
    try:
        found = path.stat()
    except OSError:
        return ()
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _warm_up(served: ServedModel) -> None:
    """Ask of every kind what the first requests would wait for otherwise."""
    strings, version = served.manifest["item_ids"] == "strings", served.manifest["version"]
    k = min(20, served.manifest["k_max"])
    popular = served.recommend([[]], k).items[0]
    for sessions in ([popular[:1]], [popular[:3]], [popular[:3] * 2] * 8):
        for _ in range(2):  # TorchScript looks at the first call and compiles in the second
            for exclude_clicked in (False, True) if can(version, "exclude_clicked") else (False,):
                served.recommend(sessions, k, exclude_clicked=exclude_clicked)
            if can(version, "candidates"):
                served.recommend(sessions, k, candidates=popular, exclude=popular[:1])
    if served.can_explain and can(version, "explain"):
        clicks = popular[:3] if strings else torch.tensor(popular[:3])
        served.explain(clicks, torch.tensor([0, len(clicks)]), clicks[:1])


def _checked_split(split: Mapping[str, float] | None, models: Mapping[str, object]) -> dict[str, float] | None:
    if split is None:
        return None
    for name, percent in split.items():
        if name not in models:
            raise ValueError(f"split: expected names of models, {', '.join(models)}, got {name!r}")
        if not 0 <= percent <= 100:
            raise ValueError(f"split: expected 0 to 100 percent for {name}, got {percent}")
    if abs(sum(split.values()) - 100) > 1e-6:
        raise ValueError(f"split: expected 100 percent together, got {sum(split.values()):g}")
    return dict(split)
