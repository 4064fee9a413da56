"""A data set on disk: whole sessions in Parquet, the items, and where it all came from."""

from __future__ import annotations

import dataclasses
import hashlib
import reprlib
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa

from tagnn_fast.checks import check_path
from tagnn_fast.data.examples import PrefixExamples
from tagnn_fast.data.sessions import Sessions
from tagnn_fast.data.stored_clicks import StoredClicks
from tagnn_fast.data.stored_tables import (
    read_items,
    read_raw_test,
    read_sessions,
    read_stored_titles,
    write_items,
    write_sessions,
    write_table,
    write_titles,
)
from tagnn_fast.data.titles import FileTitles
from tagnn_fast.data.vocabulary import Vocabulary
from tagnn_fast.files import (
    check_new_folder,
    clear_up,
    describe_file,
    is_replaced_now,
    new_folder,
    read_json,
    write_json,
)

T = TypeVar("T")
FORMAT, VERSION = "tagnn_fast.dataset", 1
# What may be in the folder of a data set that is replaced: its own files, and what `tagnn-fast info` draws of them.
FILES = (
    "dataset.json",
    "train.parquet",
    "test.parquet",
    "raw_test.parquet",
    "items.parquet",
    "clicks.parquet",
    "titles.parquet",
    "session_lengths.png",
    "item_popularity.png",
)
CLICKS = "clicks.parquet"
NO_SESSIONS = Sessions.from_lists([])
_ATTEMPTS = 20  # to read one that is replaced meanwhile


@dataclass(frozen=True)
class Dataset:
    """Training sessions, test sessions, and the items that occur in training.

    Attributes:
        name: what to call it.
        train: training sessions in order of time; every item has a row.
        test: test sessions; item 0 is one that never occurs in training.
        vocabulary: raw id and training clicks of each item.
        source: how it was made, for people: any JSON object.
        raw_test: raw ids of the clicks of the test sessions as they were, before items without a row were taken away;
            None where they are not known.
        clicks: of the logs that it was made of, where it was.
        titles: what to call each raw id, as text; of items without a row too, which may get one by an update.
        folder: where it was read from or written to; None for one that is only in memory.
    """

    name: str
    train: Sessions
    test: Sessions
    vocabulary: Vocabulary
    source: Mapping[str, Any] = field(default_factory=dict)
    raw_test: pa.ListArray | pa.LargeListArray | None = None
    clicks: StoredClicks | None = None
    titles: Mapping[str, str] = field(default_factory=dict)
    folder: Path | None = field(default=None, init=False, compare=False)  # of no other that is made of it

    def __post_init__(self) -> None:
        for split, lowest in (("train", 1), ("test", 0)):
            clicks = getattr(self, split).clicks
            if clicks.numel() == 0:
                continue
            low, high = (int(bound) for bound in clicks.aminmax())
            if low < lowest or high > len(self.vocabulary):
                found = low if low < lowest else high
                raise ValueError(f"{split}: expected item indices in {lowest}..{len(self.vocabulary)}, got {found}")
        if self.train.times is not None and bool((falls := self.train.times.diff() < 0).any()):
            # The last ones are held out, and would be the first.
            raise ValueError(
                f"train: expected sessions in the order of their times, got session {int(falls.int().argmax()) + 1} "
                "with an earlier one than that before it"
            )

    def with_titles(self, titles: Mapping[str, str]) -> Dataset:
        """The same with these titles by raw id as text, and for other ids those that it has.

        Raises:
            ValueError: where none of them is an item's, or the first line of their file, which names the columns, is.
        """
        raw_ids = list(map(str, self.vocabulary.raw_ids.to_pylist()))
        if isinstance(titles, FileTitles) and titles.columns[0] in raw_ids:
            raise ValueError(
                f"titles: expected the names of the columns in the first line, got the item id {titles.columns[0]!r}"
            )
        if titles and raw_ids and titles.keys().isdisjoint(raw_ids):
            raise ValueError(
                f"titles: expected ids of items, such as {raw_ids[0]!r}, got none among {len(titles):,}, "
                f"such as {next(iter(titles))!r}"
            )
        every = {**self.titles, **titles}
        found = pa.array([every.get(raw_id) for raw_id in raw_ids], pa.string()) if every else None
        vocabulary = Vocabulary(self.vocabulary.raw_ids, self.vocabulary.counts, found)
        return dataclasses.replace(self, vocabulary=vocabulary, titles=every)

    def without_test(self) -> Dataset:
        """The same without test sessions, of the same folder; nothing looks at them."""
        dataset = dataclasses.replace(self, test=NO_SESSIONS, raw_test=None)
        return dataset if self.folder is None else _in_folder(dataset, self.folder)

    def fingerprint(self) -> str:
        """SHA-256 of sessions and items: the same for the same content in the same order, with times or without."""
        digest = hashlib.sha256("\n".join(map(str, self.vocabulary.raw_ids.to_pylist())).encode())
        for sessions in (self.train, self.test):
            for part in (sessions.clicks, sessions.offsets, sessions.examples):
                digest.update(part.contiguous().numpy().data)
        return digest.hexdigest()

    def times_fingerprint(self) -> str | None:
        """SHA-256 of the training sessions' times; None where they are not known."""
        times = self.train.times
        return None if times is None else hashlib.sha256(times.contiguous().numpy().data).hexdigest()

    def statistics(self) -> dict[str, dict[str, float]]:
        """Counts that tell whether this is the data set one thinks it is."""
        return {
            "items": {"count": len(self.vocabulary)},
            "train": _statistics(self.train),
            "test": _statistics(self.test),
        }


def _statistics(sessions: Sessions) -> dict[str, float]:
    lengths = sessions.offsets.diff()
    examples = PrefixExamples(sessions)
    prefixes = examples.prefix_lengths()
    targets = sessions.clicks[sessions.offsets[:-1].repeat_interleave(sessions.examples) + prefixes]
    return {
        "sessions": len(sessions),
        "clicks": sessions.clicks.numel(),
        "examples": len(examples),
        "mean_clicks": round(float(lengths.double().mean()), 3) if len(sessions) else 0.0,
        "longest_session": int(lengths.max()) if len(sessions) else 0,
        "longest_prefix": examples.longest_prefix(),
        "targets_without_a_row": int((targets == 0).sum()),
        "clicks_without_a_row": int((sessions.clicks == 0).sum()),
    }


def check_dataset_folder(folder: Path, replace: bool) -> None:
    """Refuse a folder that :func:`write_dataset` would refuse, before there is anything to write.

    Raises:
        FileExistsError: where the folder exists; with `replace`, where it is no data set or has anything else in it.
    """
    check_new_folder(folder, FILES if replace else None)


def write_dataset(dataset: Dataset, folder: str | Path, replace: bool = False) -> Dataset:
    """Write a data set to a folder that does not exist yet, or with `replace` is a data set; all of it, or nothing.

    ``train.parquet`` and ``test.parquet`` have a row per session: ``items``, list<int32> (large_list from 2^31 clicks
    on), ``examples``, int64, the number of last clicks that are targets, and where it is known ``time``, int64, that
    of the last click in seconds since 1970. ``items.parquet`` has a row per item: ``raw_id``, ``index``, ``count``,
    maybe ``title``. ``raw_test.parquet`` has the test sessions' raw ids, ``items``, where they are known.
    ``titles.parquet`` has a row per title, ``raw_id`` and ``title``, both strings, where there are any.
    ``clicks.parquet`` has the clicks of the logs it was made of, for `prepare update` alone. ``dataset.json`` has the
    SHA-256 of each.

    Returns:
        The same data set, as one that is in this folder.

    Raises:
        FileExistsError: see :func:`check_dataset_folder`.
        OSError: where it cannot be written.
    """
    folder = check_path(folder, "folder", "a folder to make")
    with new_folder(folder, FILES if replace else None) as temporary:
        for split in ("train", "test"):
            write_sessions(getattr(dataset, split), temporary / f"{split}.parquet")
        write_items(dataset.vocabulary, temporary / "items.parquet")
        if dataset.raw_test is not None:
            write_table(pa.table({"items": dataset.raw_test}), temporary / "raw_test.parquet")
        if dataset.titles:
            write_titles(dataset.titles, temporary / "titles.parquet")
        content: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "name": dataset.name,
            "source": dict(dataset.source),
            "statistics": dataset.statistics(),
            "files": {path.name: describe_file(path)["sha256"] for path in sorted(temporary.glob("*.parquet"))},
        }
        if dataset.clicks is not None:
            dataset.clicks.write(temporary / CLICKS)
            content["clicks"] = {"sha256": dataset.clicks.sha256}
        write_json(temporary / "dataset.json", content)
    return _in_folder(dataclasses.replace(dataset), folder)


def _in_folder(dataset: Dataset, folder: Path) -> Dataset:
    object.__setattr__(dataset, "folder", folder.absolute())  # the process may go elsewhere
    return dataset


def read_dataset(folder: str | Path, test: bool = True) -> Dataset:
    """Read a folder that :func:`write_dataset` made; if it is replaced meanwhile, what was there before or after.

    Args:
        folder: of the data set.
        test: whether to read the test sessions; there are none if not, and nothing opens their files.

    Raises:
        FileNotFoundError: where the folder or one of its files is missing.
        ValueError: on a damaged file, values that do not fit together, or a newer version.
        BlockingIOError: where it is replaced again and again.
    """
    folder = check_path(folder, "folder", "a data set's folder")
    for _ in range(_ATTEMPTS):
        before = _identity(folder)
        if before is None:
            clear_up(folder)  # a replacement may have been killed half-way
            before = _identity(folder)
        if before is None and is_replaced_now(folder):
            time.sleep(0.05)
            continue
        try:
            dataset = _read(folder, test)
        except (OSError, ValueError):
            if _identity(folder) == before:
                raise
        else:
            if _identity(folder) == before:
                return _in_folder(dataset, folder)
    raise BlockingIOError(
        f"{folder}: expected a data set that no other process replaces while it is read, got one that is"
    )


def _identity(folder: Path) -> tuple[int, ...] | None:
    """Changes whenever the data set is replaced; None where there is none."""
    try:
        found = (folder / "dataset.json").stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_dev, found.st_ino, found.st_mtime_ns


def _read(folder: Path, with_test: bool) -> Dataset:
    if not (folder / "dataset.json").exists():
        raise FileNotFoundError(f"{folder}: expected a data set folder with a dataset.json in it")
    information = read_json(folder / "dataset.json", FORMAT, VERSION)
    try:
        digests = read_digests(information, folder)
        train = read_sessions(folder / "train.parquet", digests.get("train.parquet"))
        vocabulary = read_items(folder / "items.parquet", digests.get("items.parquet"))
        test, raw_test = NO_SESSIONS, None
        if with_test:
            test = read_sessions(folder / "test.parquet", digests.get("test.parquet"))
            raw_test = read_raw_test(folder / "raw_test.parquet", vocabulary, digests.get("raw_test.parquet"))
        return Dataset(
            name=_of_type(str, information, "name", folder.name),
            train=train,
            test=test,
            vocabulary=vocabulary,
            source=_checked_source(_of_type(dict, information, "source", {})),
            raw_test=raw_test,
            clicks=_clicks(folder / CLICKS, information.get("clicks")),
            titles=read_stored_titles(folder / "titles.parquet", vocabulary, digests.get("titles.parquet")),
        )
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder}: damaged data set: {error}") from None


def read_digests(information: Mapping[str, Any], folder: Path) -> dict[str, str]:
    """The SHA-256 of files of a folder by name, as its record has them; none where an earlier version wrote it.

    Raises:
        FileNotFoundError: where one of the files is missing.
        ValueError: where the record is damaged.
    """
    files = information.get("files", {})
    if not isinstance(files, dict) or not all(isinstance(digest, str) for digest in files.values()):
        raise ValueError(f"{folder}: expected the SHA-256 of each file by name, got {reprlib.repr(files)}")
    for name in files:
        if not (folder / name).exists():
            raise FileNotFoundError(f"{folder / name}: expected this file of the data set")
    return files


def _of_type(kind: type[T], information: Mapping[str, Any], name: str, default: T) -> T:
    value = information.get(name, default)
    if not isinstance(value, kind):
        raise TypeError(f"{name}: expected {kind.__name__}, got {value!r}")
    return value


def _checked_source(source: dict[str, Any]) -> dict[str, Any]:
    """The record, where what is read again of that of logs is as it was written."""
    if source.get("kind") != "logs":
        return source
    try:
        for part in (source, *source.get("updates", [])):
            counts = [found["count"] for found in part["bad_rows"].values()]
            for step in part["steps"]:
                counts += [step[name] for name in ("clicks", "sessions", "items")]
                if not isinstance(step["step"], str):
                    raise TypeError(step)
            if not all(isinstance(count, int) for count in counts):
                raise TypeError(counts)
    except (AttributeError, KeyError, TypeError) as error:
        raise ValueError(
            f"source: expected the steps and the bad rows of logs, got a damaged record: {error}"
        ) from None
    return source


def _clicks(path: Path, described: object) -> StoredClicks | None:
    """Not looked at before an update needs them; a folder that they were taken out of is still a data set."""
    if described is None or not path.exists():
        return None
    if not isinstance(described, dict) or not isinstance(described.get("sha256"), str):
        raise ValueError(f"clicks: expected the SHA-256 of {path.name}, got {described!r}")
    return StoredClicks(path, described["sha256"])
