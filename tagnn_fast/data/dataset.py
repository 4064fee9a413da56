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

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from tagnn_fast.data.arrow import lists, one_chunk
from tagnn_fast.data.examples import PrefixExamples
from tagnn_fast.data.sessions import Sessions
from tagnn_fast.data.stored_clicks import StoredClicks
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
_ATTEMPTS = 20  # to read one that is replaced meanwhile
TITLES = {"raw_id": pa.string(), "title": pa.string()}


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

    def with_titles(self, titles: Mapping[str, str]) -> Dataset:
        """The same with these titles by raw id as text, and for other ids those that it has.

        Raises:
            ValueError: where none of them is an item's.
        """
        raw_ids = list(map(str, self.vocabulary.raw_ids.to_pylist()))
        if titles and raw_ids and titles.keys().isdisjoint(raw_ids):
            raise ValueError(
                f"titles: expected ids of items, such as {raw_ids[0]!r}, got none among {len(titles):,}, "
                f"such as {next(iter(titles))!r}"
            )
        every = {**self.titles, **titles}
        found = pa.array([every.get(raw_id) for raw_id in raw_ids], pa.string()) if every else None
        vocabulary = Vocabulary(self.vocabulary.raw_ids, self.vocabulary.counts, found)
        return dataclasses.replace(self, vocabulary=vocabulary, titles=every)

    def fingerprint(self) -> str:
        """SHA-256 of sessions and items: the same for the same content in the same order."""
        digest = hashlib.sha256("\n".join(map(str, self.vocabulary.raw_ids.to_pylist())).encode())
        for sessions in (self.train, self.test):
            for part in (sessions.clicks, sessions.offsets, sessions.examples):
                digest.update(part.contiguous().numpy().data)
        return digest.hexdigest()

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
    on), and ``examples``, int64, the number of last clicks that are targets. ``items.parquet`` has a row per item:
    ``raw_id``, ``index``, ``count``, maybe ``title``. ``raw_test.parquet`` has the test sessions' raw ids, ``items``,
    where they are known. ``titles.parquet`` has a row per title, ``raw_id`` and ``title``, both strings, where there
    are any. ``clicks.parquet`` has the clicks of the logs it was made of, for `prepare update` alone. ``dataset.json``
    has the SHA-256 of each.

    Returns:
        The same data set, as one that is in this folder.

    Raises:
        FileExistsError: see :func:`check_dataset_folder`.
        OSError: where it cannot be written.
    """
    with new_folder(Path(folder), FILES if replace else None) as temporary:
        for split in ("train", "test"):
            sessions: Sessions = getattr(dataset, split)
            items = lists(sessions.offsets.numpy(), pa.array(sessions.clicks.numpy()))
            table = pa.table({"items": items, "examples": sessions.examples.numpy()})
            _write_table(table, temporary / f"{split}.parquet")
        write_items(dataset.vocabulary, temporary / "items.parquet")
        if dataset.raw_test is not None:
            _write_table(pa.table({"items": dataset.raw_test}), temporary / "raw_test.parquet")
        if dataset.titles:
            columns = {"raw_id": list(dataset.titles), "title": list(dataset.titles.values())}
            _write_table(pa.table(columns, pa.schema(TITLES)), temporary / "titles.parquet")
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
    return _in_folder(dataclasses.replace(dataset), Path(folder))


def _in_folder(dataset: Dataset, folder: Path) -> Dataset:
    object.__setattr__(dataset, "folder", folder)
    return dataset


def read_dataset(folder: str | Path) -> Dataset:
    """Read a folder that :func:`write_dataset` made; if it is replaced meanwhile, what was there before or after.

    Raises:
        FileNotFoundError: where the folder or one of its files is missing.
        ValueError: on a damaged file, values that do not fit together, or a newer version.
        BlockingIOError: where it is replaced again and again.
    """
    folder = Path(folder)
    for _ in range(_ATTEMPTS):
        before = _identity(folder)
        if before is None:
            clear_up(folder)  # a replacement may have been killed half-way
            before = _identity(folder)
        if before is None and is_replaced_now(folder):
            time.sleep(0.05)
            continue
        try:
            dataset = _read(folder)
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


def _read(folder: Path) -> Dataset:
    if not (folder / "dataset.json").exists():
        raise FileNotFoundError(f"{folder}: expected a data set folder with a dataset.json in it")
    information = read_json(folder / "dataset.json", FORMAT, VERSION)
    try:
        digests = read_digests(information, folder)
        train, test = (_sessions(folder / name, digests.get(name)) for name in ("train.parquet", "test.parquet"))
        vocabulary = read_items(folder / "items.parquet", digests.get("items.parquet"))
        return Dataset(
            name=_of_type(str, information, "name", folder.name),
            train=train,
            test=test,
            vocabulary=vocabulary,
            source=_checked_source(_of_type(dict, information, "source", {})),
            raw_test=_raw_test(folder / "raw_test.parquet", vocabulary, digests.get("raw_test.parquet")),
            clicks=_clicks(folder / CLICKS, information.get("clicks")),
            titles=_titles(folder / "titles.parquet", vocabulary, digests.get("titles.parquet")),
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


def write_items(vocabulary: Vocabulary, path: Path) -> None:
    """Write a vocabulary to Parquet: ``raw_id``, ``index``, ``count``, and ``title`` where there are any."""
    index = np.arange(1, len(vocabulary) + 1, dtype=np.int32)
    columns = {"raw_id": vocabulary.raw_ids, "index": index, "count": vocabulary.counts}
    _write_table(pa.table(columns if vocabulary.titles is None else {**columns, "title": vocabulary.titles}), path)


def read_items(path: Path, sha256: str | None = None) -> Vocabulary:
    """Read what :func:`write_items` wrote.

    Args:
        path: of the file.
        sha256: of its bytes, where it is known.

    Raises:
        FileNotFoundError: where it is missing.
        ValueError: where it is damaged.
    """
    items = _read_table(path, {"raw_id": None, "index": pa.int32(), "count": pa.int64()}, sha256)
    if not np.array_equal(items["index"].to_numpy(), np.arange(1, items.num_rows + 1)):
        raise ValueError(f"{path}: expected index to count from 1")
    try:
        titles = one_chunk(items["title"]) if "title" in items.column_names else None
        return Vocabulary(one_chunk(items["raw_id"]), items["count"].to_numpy(), titles)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from None


def _sessions(path: Path, sha256: str | None) -> Sessions:
    table = _read_table(path, {"items": pa.list_(pa.int32()), "examples": pa.int64()}, sha256)
    items = one_chunk(table["items"])
    # A list array may be a window of a longer one: its offsets say where it begins.
    offsets = items.offsets.to_numpy().astype(np.int64)
    clicks = items.values.to_numpy()[offsets[0] : offsets[-1]]
    examples = table["examples"].to_numpy()
    return Sessions(
        *(torch.from_numpy(np.require(part, requirements="W")) for part in (clicks, offsets - offsets[0], examples))
    )


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


def _raw_test(path: Path, vocabulary: Vocabulary, sha256: str | None) -> pa.ListArray | pa.LargeListArray | None:
    if not path.exists():
        return None
    sessions = one_chunk(_read_table(path, {"items": None}, sha256)["items"])
    if sessions.type not in (pa.list_(vocabulary.raw_ids.type), pa.large_list(vocabulary.raw_ids.type)):
        raise TypeError(f"{path}: expected lists of {vocabulary.raw_ids.type}, got {sessions.type}")
    return sessions


def _titles(path: Path, vocabulary: Vocabulary, sha256: str | None) -> dict[str, str]:
    """Those of items with a row where an earlier version wrote the data set."""
    if path.exists():
        table = _read_table(path, TITLES, sha256)
        return dict(zip(table["raw_id"].to_pylist(), table["title"].to_pylist(), strict=True))
    if vocabulary.titles is None:
        return {}
    pairs = zip(vocabulary.raw_ids.to_pylist(), vocabulary.titles.to_pylist(), strict=True)
    return {str(raw_id): title for raw_id, title in pairs if title is not None}


def _clicks(path: Path, described: object) -> StoredClicks | None:
    """Not looked at before an update needs them; a folder that they were taken out of is still a data set."""
    if described is None or not path.exists():
        return None
    if not isinstance(described, dict) or not isinstance(described.get("sha256"), str):
        raise ValueError(f"clicks: expected the SHA-256 of {path.name}, got {described!r}")
    return StoredClicks(path, described["sha256"])


def _write_table(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd", write_page_checksum=True)


def _read_table(path: Path, types: Mapping[str, pa.DataType | None], sha256: str | None) -> pa.Table:
    if not path.exists():
        raise FileNotFoundError(f"{path}: expected this file of the data set")
    try:
        content = path.read_bytes()
        if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
            raise ValueError(f"{path}: damaged Parquet file: expected the SHA-256 that was recorded, got another")
        file = pq.ParquetFile(pa.BufferReader(content), page_checksum_verification=True)
        table, rows = file.read(), file.metadata.num_rows
    except (pa.ArrowException, OSError) as error:
        raise ValueError(f"{path}: damaged Parquet file: {' '.join(str(error).split())}") from None  # in one line
    if table.num_rows != rows:  # a schema that is damaged in the right place gives lists without rows
        raise ValueError(f"{path}: damaged Parquet file: expected {rows:,} rows, got {table.num_rows:,}")
    for name, expected in types.items():
        found = table.schema.field(name).type if name in table.column_names else None
        wide = found is not None and pa.types.is_large_list(found)
        if found is None or expected not in (None, pa.list_(found.value_type) if wide else found):
            raise ValueError(f"{path}: expected a column {name!r} of {expected or 'ids'}, got {found or 'none'}")
        nulls = table[name].null_count
        if not nulls and (wide or pa.types.is_list(found)):
            nulls = pc.list_flatten(table[name]).null_count
        if nulls:
            raise ValueError(f"{path}: expected no nulls in {name!r}, got {nulls}")
    return table
