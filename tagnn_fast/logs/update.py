"""A new day's logs added to a data set: rows of old items stay, new items get rows behind them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch

from tagnn_fast.data.dataset import Dataset
from tagnn_fast.data.sessions import Sessions
from tagnn_fast.data.vocabulary import Vocabulary
from tagnn_fast.logs.assemble import RawSessions, encode_test, step_of
from tagnn_fast.logs.engines import Engine
from tagnn_fast.logs.files import LogFiles
from tagnn_fast.logs.formats import LogFormat
from tagnn_fast.logs.options import PrepareOptions
from tagnn_fast.logs.pipeline import Report
from tagnn_fast.logs.prepare import Advance, describe, read_clicks, run_pipeline


def recorded(dataset: Dataset) -> tuple[LogFormat, PrepareOptions]:
    """The format and the options that a data set was made with.

    Raises:
        ValueError: where it was not made of logs.
    """
    source: Mapping[str, Any] = dataset.source
    if source.get("kind") != "logs" or dataset.raw_test is None:
        raise ValueError(f"{dataset.name}: expected a data set made of logs, got one of {source.get('kind')!r}")
    form: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in source["format"].items()
    }
    return LogFormat(**form), PrepareOptions(**source["options"])


def update_dataset(
    engine: Engine, files: LogFiles, dataset: Dataset, max_bad_rows: int = 0, advance: Advance = lambda stage: None
) -> Dataset:
    """A data set with the sessions of new logs, by the options that it was made with.

    Its test sessions become training sessions, with all items that were clicked on in them; the new logs' last period
    is the new test set, what they have before it is trained on. Old items keep their rows and lose none. New ones with
    enough clicks, those of the old test set included, get rows behind them, in the order of their first click. Sessions
    do not go on from the old logs to the new ones.

    Raises:
        ValueError: on a data set that was not made of logs, a file that is in it already, or too many bad rows;
            where its ids are integers, those with other ids are bad.
    """
    form, options = recorded(dataset)
    known = {file["sha256"] for part in (dataset.source, *dataset.source.get("updates", [])) for file in part["files"]}
    for file in files.described:
        if file["sha256"] in known:
            raise ValueError(f"{file['name']}: expected new clicks, got a file that is in the data set already")
    # Support is counted below, old clicks included; a date that was given for the old logs is no date for the new.
    alone = dataclasses.replace(options, minimum_support=1, support_from="train", test_from=None)
    old, report = dataset.vocabulary, Report()
    parsed = read_clicks(engine, files, form, report, max_bad_rows, old.integers, advance)
    prepared = run_pipeline(engine, parsed, files, alone, report, advance)
    steps = report.steps
    raw_ids = prepared.raw_ids.cast(pa.int64()) if old.integers else prepared.raw_ids

    def of_codes(items: np.ndarray) -> pa.Array:
        return raw_ids.take(pc.index_in(pa.array(items), value_set=prepared.codes))

    held_out = dataset.raw_test
    assert held_out is not None
    ids = pa.concat_arrays([held_out.flatten(), of_codes(prepared.train.items)]).dictionary_encode()
    lengths = np.concatenate([held_out.value_lengths().to_numpy().astype(np.int64), prepared.train.lengths])
    added = RawSessions(ids.indices.to_numpy().astype(np.int64), lengths)

    place = old.encode(ids.dictionary)  # row of each distinct id among the old ones, 0 for none
    clicks = np.bincount(added.items, minlength=len(place))
    supported = (place > 0) | (clicks >= options.minimum_support)
    added = added.where(supported[added.items]).long(options.minimum_length)
    if options.maximum_length is not None:
        added = added.last_clicks(options.maximum_length)
    fresh = pa.array(added.items[place[added.items] == 0]).dictionary_encode().dictionary.to_numpy()
    place[fresh] = len(old) + 1 + np.arange(len(fresh))
    added = RawSessions(place[added.items].astype(np.int64), added.lengths)
    steps.append(step_of("sessions added to training", added))

    ids_with_rows = pa.concat_arrays([old.raw_ids, ids.dictionary.take(pa.array(fresh))])
    counts = np.bincount(added.items, minlength=len(ids_with_rows) + 1)[1:]
    counts[: len(old)] += old.counts
    test, raw_test = encode_test(prepared.test, of_codes(prepared.test.items), ids_with_rows, options)
    steps.append(step_of("test sessions with rows for their items", test))
    source = dict(dataset.source)
    news = describe(engine, files, form, options, prepared)
    source["updates"] = [
        *source.get("updates", []),
        {key: news[key] for key in ("engine", "files", "test_from_microseconds", "steps", "bad_rows")},
    ]
    return Dataset(
        dataset.name, _joined(dataset.train, added), test.encoded(), Vocabulary(ids_with_rows, counts), source, raw_test
    )


def _joined(before: Sessions, added: RawSessions) -> Sessions:
    after = added.encoded()
    return Sessions(
        torch.cat([before.clicks, after.clicks]),
        torch.cat([before.offsets, after.offsets[1:] + before.offsets[-1]]),
        torch.cat([before.examples, after.examples]),
    )
