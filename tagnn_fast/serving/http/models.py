"""The models that a service answers with, by name."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tagnn_fast.serving.served_model import FormatName, ServedModel, load


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """One version of a model.

    Attributes:
        name: by which requests ask for it.
        version: the beginning of its manifest's SHA-256.
        served: what answers.
        has_strings: whether its items' ids are strings.
        k_max: the longest list it gives.
    """

    name: str
    version: str
    served: ServedModel
    has_strings: bool
    k_max: int


class Models:
    """Models by name, and which of them a request gets.

    Args:
        folders: exported folders, by name.
        format: to load of each.
        split: percent of the requests that ask for no model by name, for each model; None: the first gets all.

    Raises:
        FileNotFoundError, ValueError: see :func:`tagnn_fast.serving.load`; on a split of other models, or not of 100.
    """

    def __init__(self, folders: Mapping[str, Path], format: FormatName, split: Mapping[str, float] | None) -> None:
        self.split = check_split(split, folders)
        self._current = {name: _load(name, folder, format) for name, folder in folders.items()}
        self._refused: dict[str, str] = {}

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
        digest = hashlib.blake2b(key().encode(errors="surrogatepass"), digest_size=8).digest()
        place = int.from_bytes(digest) / 2**64
        names, percent = [*self.split], 0.0
        for name in names[:-1]:
            percent += self.split[name]
            if 100 * place < percent:
                return self._current[name]
        return self._current[names[-1]]


def name_folders(folders: Iterable[str | Path]) -> dict[str, Path]:
    """Folders by name: NAME=FOLDER, or a folder's own name.

    Raises:
        ValueError: on the same name twice, or none at all.
    """
    named: dict[str, Path] = {}
    for given in folders:
        name, sign, folder = str(given).partition("=")
        path = Path(folder if sign and "/" not in name else given)
        name = name if sign and "/" not in name else path.resolve().name
        if name in named:
            raise ValueError(f"{given}: expected another name than {name!r}, which {named[name]} has: NAME=FOLDER")
        named[name] = path
    if not named:
        raise ValueError("folders: expected at least one exported folder, got none")
    return named


def check_split(split: Mapping[str, float] | None, names: Iterable[str]) -> dict[str, float] | None:
    """Percent by name, in the order given.

    Raises:
        ValueError: on a name that is none of these, one under 0, or where they are not 100 together.
    """
    if split is None:
        return None
    known = list(names)
    for name, percent in split.items():
        if name not in known:
            raise ValueError(f"split: expected names of models, {', '.join(known)}, got {name!r}")
        if not percent >= 0:
            raise ValueError(f"split: expected 0 percent or more for {name}, got {percent}")
    if abs(sum(split.values()) - 100) > 1e-6:
        raise ValueError(f"split: expected 100 percent together, got {sum(split.values()):g}")
    return dict(split)


def _load(name: str, folder: Path, format: FormatName) -> LoadedModel:
    version = hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()[:12]
    served = load(folder, format)
    manifest = served.manifest
    longest = manifest["items"] if format == "torchscript" else manifest["k_max"]
    return LoadedModel(name, version, served, manifest["item_ids"] == "strings", longest)
