"""The pipeline by DuckDB: published goldens, and the same rules click by click on a log with everything in it."""

from __future__ import annotations

import dataclasses
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import torch

from tagnn_fast.data import Dataset, PrefixExamples, Sessions
from tagnn_fast.logs import FORMATS, LogFormat, PrepareOptions
from tests.logs.by_hand import prepare_by_hand
from tests.logs.messy import write_messy_log
from tests.logs.running import CASES, GOLDENS, USER_LOG, golden_log, prepared, raw
from tests.support import shared


def assert_equals_golden(dataset: Dataset, name: str) -> None:
    """Sessions and prefix examples, order included."""
    golden = np.load(shared(f"goldens/preprocess/{name}.npz"))
    clicks, offsets = dataset.train.clicks.numpy(), dataset.train.offsets.numpy()
    # The published sessions of a fraction keep clicks of the first that none of its examples has.
    cut = next(
        (step["cut_off_the_first_session"] for step in dataset.source["steps"] if "cut_off_the_first_session" in step),
        [],
    )
    clicks = np.insert(clicks, offsets[1], dataset.vocabulary.encode(cut)) if cut else clicks
    np.testing.assert_array_equal(clicks, golden["train_sessions/values"])
    np.testing.assert_array_equal(offsets[1:] + len(cut), golden["train_sessions/offsets"][1:])
    for split, sessions in (("train", dataset.train), ("test", dataset.test)):
        for part, values in examples_of(sessions).items():
            np.testing.assert_array_equal(values, golden[f"{split}_pairs/{part}"], err_msg=f"{split} {part}")


def examples_of(sessions: Sessions) -> dict[str, np.ndarray]:
    """All examples, session after session, longest prefix first."""
    batches = list(PrefixExamples(sessions).batches(4096))
    lengths = np.concatenate([batch.offsets.diff().numpy() for batch in batches])
    return {
        "values": np.concatenate([batch.items.numpy() for batch in batches]),
        "offsets": np.concatenate([[0], lengths.cumsum()]),
        "targets": np.concatenate([batch.targets.numpy() for batch in batches]),
    }


@pytest.mark.parametrize("name", GOLDENS)
def test_published_preprocessing(name: str) -> None:
    dataset = prepared(*golden_log(name), bad=0)
    assert_equals_golden(dataset, name)
    times = [part.times for part in (dataset.train, dataset.test) if part.times is not None]
    assert len(times) == 2
    assert bool((torch.cat(times).diff() >= 0).all())
    split = dataset.source["test_from_microseconds"] / 10**6
    assert int(times[0].max()) < split < int(times[1].min())
    days = bool((torch.cat(times) % 86400 == 0).all())
    assert days == name.startswith("diginetica")  # whose clicks have no clock


@pytest.fixture(scope="module")
def messy(tmp_path_factory: pytest.TempPathFactory) -> str:
    return write_messy_log(tmp_path_factory.mktemp("messy"), 20_000)


@pytest.mark.parametrize("case", CASES)
def test_equals_the_rules_by_hand(case: str, messy: str) -> None:
    options = PrepareOptions(**CASES[case])
    dataset = prepared(messy, USER_LOG, options)
    expected = prepare_by_hand(list(Path(messy).parent.iterdir()), USER_LOG, options)
    assert len(expected.train) > 100
    assert len(expected.test) > 20
    assert raw(dataset.train, dataset) == expected.train
    known = set(chain.from_iterable(expected.train))
    assert raw(dataset.test, dataset) == [
        [item if item in known else "" for item in session] for session in expected.test
    ]
    assert dataset.raw_test.to_pylist() == expected.raw_test
    numbered = list(dict.fromkeys(chain.from_iterable(expected.train)))
    assert dataset.vocabulary.raw_ids.to_pylist() == numbered
    bad = {reason: found["count"] for reason, found in dataset.source["bad_rows"].items() if reason != "another event"}
    assert bad == expected.bad
    assert set(bad) - {"before --from", "at --until or later"} == {
        "wrong number of columns",
        "no user",
        "no item",
        "no time",
        "time cannot be read",
    }


def test_gap_is_inclusive(tmp_path: Path) -> None:
    """A pause of exactly the gap does not end a session, across midnight neither."""
    log = tmp_path / "log.csv"
    times = ["2024-02-28 23:50:00", "2024-02-29 00:20:00", "2024-02-29 00:50:00.000001", "2024-02-29 00:51:00"]
    log.write_text("user,item,time,event\n" + "".join(f"u,{n},{time},view\n" for n, time in enumerate(times)))
    options = PrepareOptions(sessions="gap", minimum_length=1, minimum_support=1, test_from="2025-01-01")
    dataset = prepared(str(log), USER_LOG, options)
    assert raw(dataset.train, dataset) == [["0", "1"], ["2", "3"]]
    assert dataset.vocabulary.integers


@pytest.mark.parametrize(
    ("unit", "first", "second"),
    [("seconds", "1400000000", "1400000000.5"), ("milliseconds", "1400000000000", "1400000000500")],
)
def test_numbers_as_times(unit: str, first: str, second: str, tmp_path: Path) -> None:
    log = tmp_path / "log.tsv"
    rows = [("s", "b", second), ("s", "a", first), ("t", "c", first), ("t", "d", "x"), ("t", "d", "1e9")]
    log.write_text("SessionId\tItemId\tTime\n" + "".join("\t".join(row) + "\n" for row in rows))
    form = FORMATS["tmall"].__class__(**{**FORMATS["tmall"].__dict__, "time_unit": unit})
    options = PrepareOptions(minimum_length=1, minimum_support=1, test_from="2015-01-01")
    dataset = prepared(str(log), form, options)
    assert raw(dataset.train, dataset) == [["c"], ["a", "b"]]
    assert dataset.source["bad_rows"] == {"Time cannot be read": {"count": 2, "some": ["t\td\tx", "t\td\t1e9"]}}


def test_retailrocket_and_lastfm(tmp_path: Path) -> None:
    """Events that count; a file without header or quotes, whose names hold any."""
    (tmp_path / "events.csv").write_text(
        "timestamp,visitorid,event,itemid,transactionid\n"
        "1433221332117,257597,view,355908,\n1433221332118,257597,addtocart,1,\n1433221332119,257597,view,248676,\n"
    )
    options = {"minimum_length": 1, "minimum_support": 1, "test_from": "2100-01-01", "sessions": "gap"}
    dataset = prepared(str(tmp_path / "events.csv"), FORMATS["retailrocket"], PrepareOptions(**options))
    assert raw(dataset.train, dataset) == [["355908", "248676"]]
    assert dataset.source["bad_rows"]["another event"]["count"] == 1
    lines = ['u\t2009-05-04T23:08:57Z\tid\tThe "A"\tt\tx', 'u\t2009-05-04T22:08:57Z\t\t"B\tt\tx']
    (tmp_path / "lastfm.tsv").write_text("\n".join(lines) + "\n")
    options["gap"] = "8h"
    dataset = prepared(str(tmp_path / "lastfm.tsv"), FORMATS["lastfm"], PrepareOptions(**options))
    assert raw(dataset.train, dataset) == [['"B', 'The "A"']]


def test_parquet_and_text_are_the_same(messy: str, tmp_path: Path) -> None:
    """As is the order of many files: by name, whatever the order they are given in."""
    options = PrepareOptions(sessions="gap")
    expected = prepared(messy, USER_LOG, options)
    strings = pa.csv.ConvertOptions(column_types=dict.fromkeys(("user", "item", "time", "event"), pa.string()))
    skip = pa.csv.ParseOptions(invalid_row_handler=lambda row: "skip")
    paths = []
    for path in sorted(Path(messy).parent.iterdir()):
        table = pa.csv.read_csv(path, convert_options=strings, parse_options=skip)
        paths.insert(0, str(tmp_path / f"{path.name.split('.')[0]}.parquet"))
        pq.write_table(table, paths[0], row_group_size=1000)
    assert prepared(paths, USER_LOG, options).fingerprint() == expected.fingerprint()


@pytest.mark.parametrize("ending", ["", ".gz", ".zst"])
def test_compressed_text(ending: str, messy: str, tmp_path: Path) -> None:
    """All of it, in the order of the names."""
    options = PrepareOptions(sessions="gap")
    for path in Path(messy).parent.iterdir():
        with (
            pa.input_stream(path) as source,
            pa.output_stream(tmp_path / f"{path.name.split('.')[0]}.csv{ending}") as packed,
        ):
            packed.write(source.read())
    assert (
        prepared(str(tmp_path / "*"), USER_LOG, options).fingerprint()
        == prepared(messy, USER_LOG, options).fingerprint()
    )


def test_steps_add_up(messy: str) -> None:
    dataset = prepared(messy, USER_LOG, PrepareOptions(sessions="gap"))
    steps = {step["step"]: step for step in dataset.source["steps"]}
    whole = steps["sessions of 2 clicks or more"]
    for kind in ("clicks", "sessions"):
        assert whole[kind] == steps["test sessions"][kind] + steps["training sessions"][kind]
    last: dict[str, Any] = steps["items of 5 clicks or more"]
    assert (last["clicks"], last["sessions"], last["items"]) == (
        dataset.train.clicks.numel(),
        len(dataset.train),
        len(dataset.vocabulary),
    )
    assert steps["test sessions without cold items"]["clicks"] == dataset.test.clicks.numel()


@pytest.mark.parametrize("closed", [True, False])
def test_stray_quote(closed: bool, tmp_path: Path) -> None:
    """It swallows lines, but not unseen: they are bad rows, or where their number is not known, an error."""
    rows = [f"s{n // 3},{n % 9},2024-05-{1 + n % 20:02}" for n in range(600)]
    rows[300] = 's,"abc,2024-05-01'
    if closed:
        rows[500] = 's,abc",2024-05-01'
    log = tmp_path / "log.csv"
    log.write_text("\n".join(["session,item,time", *rows, ""]))
    form = LogFormat("log", owner="session", item="item", time="time")
    expected = "expected at most 100 bad rows .*, got 201: " if closed else "quoted values .*, got one in line 302 that"
    with pytest.raises(ValueError, match=expected):
        prepared(str(log), form, PrepareOptions(), bad=100)
    prepared(str(log), dataclasses.replace(form, quote=""), PrepareOptions(), bad=2)


def test_columns_of_any_name(tmp_path: Path) -> None:
    """Of the pipeline's own names, twice but for case, or none at all."""
    log = tmp_path / "log.csv"
    log.write_text("row,line,reason,LINE,Line,,\n" + "".join(f"s{n},{n},2024-05-0{1 + n},x,y,,\n" for n in range(4)))
    form = LogFormat("odd", owner="row", item="line", time="reason")
    dataset = prepared(str(log), form, PrepareOptions(minimum_length=1, minimum_support=1))
    assert raw(dataset.train, dataset) == [["0"], ["1"]]
