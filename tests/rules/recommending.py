"""Random files of sessions, and a random model that is asked for them."""

from __future__ import annotations

import csv
import json
import random
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from tagnn_fast.data import Dataset
from tagnn_fast.nn.config import ModelConfig
from tagnn_fast.runs.configuration import TrainingConfig, make_model
from tagnn_fast.runs.run import create_run
from tests.cli.commands import run
from tests.rules.answers import Answer, answers_of, rows_of
from tests.rules.network import scores

JUNK = (
    "abc", "9223372036854775808", "-9223372036854775809", "007", "+1", "1.0", "NaN", "null", "é", "٣", "'", "#", "0x1",
    "1e3", "-0", "undefined",
)  # fmt: skip


def check_recommend(dataset: Dataset, folder: Path, seed: int) -> str:
    """Ask a run on this data set, and hold its answers against the rules; what was asked."""
    w = random.Random(seed)
    config = ModelConfig(len(dataset.vocabulary), 4, w.choice((1, 1, 2)), 2, hybrid=w.random() < 0.3)
    training = TrainingConfig(architecture=w.choice(("tagnn_pp", "tagnn_pp", "tagnn", "sr_gnn")))
    weights = random_weights(config, training, w)
    made = create_run(folder / "run", config, training, dataset, folder / "out")
    made.keep_model(weights, 1)

    ids = dataset.vocabulary.raw_ids.to_pylist()
    source = write_sessions(w, ids, folder)
    k, exclude = w.choice((1, 3, 20, len(ids), len(ids) + 5)), w.random() < 0.4
    output = folder / w.choice(("answer.csv", "answer.jsonl", "answer.parquet"))
    known = {name: value.double().numpy() for name, value in weights.items()}
    expected = answers_of(
        rows_of(source),
        ids,
        k,
        exclude,
        lambda session: scores(known, session, training.architecture, config.rounds, config.heads),
    )
    options = ["--exclude-clicked"] if exclude else []
    outcome = run("recommend", folder / "run", "--input", source, "--output", output, "-k", k, *options)
    asked = f"{config} {training.architecture} k={k} exclude={exclude}\n{source}: {source.read_bytes()!r}"
    try:
        failed = any(answer.kind == "error" for answer in expected)
        assert outcome.returncode == int(failed), outcome.stderr
        assert outcome.stderr.count("\n") == int(failed)
        compare(read_answers(output), expected, dataset, source, output)
    except AssertionError as error:
        raise AssertionError(f"{error}\n{asked}") from error
    return asked


def random_weights(config: ModelConfig, training: TrainingConfig, w: random.Random) -> dict[str, torch.Tensor]:
    torch.manual_seed(w.randrange(2**31))
    weights = {name: value.detach().clone() for name, value in make_model(config, training).state_dict().items()}
    kind = w.random()
    if kind < 0.1:
        weights["item_embedding.weight"].zero_()  # all scores are equal
    elif kind < 0.3:
        weights["item_embedding.weight"][1:] = weights["item_embedding.weight"][1].clone()
    elif kind < 0.5:
        weights["item_embedding.weight"] *= 8
    return weights


def write_sessions(w: random.Random, ids: Sequence[Any], folder: Path) -> Path:
    integers = isinstance(ids[0], int)
    sessions = [session(w, ids) for _ in range(w.choice((0, 1, 5, 12)))]
    names = [w.choice(("a", "b", "", "007", "7", "é", "x y", str(number))) for number in range(len(sessions))]
    named = w.random() < 0.6
    kind = w.choice((".csv", ".jsonl", ".parquet"))
    path = folder / f"sessions{kind}"
    if kind == ".parquet":
        write_parquet(w, path, sessions, names if named else None, integers)
        return path
    lines = []
    for name, own in zip(names, sessions, strict=True):
        lines.append(
            csv_line(w, name if named else None, own)
            if kind == ".csv"
            else json_line(w, name if named else None, own, integers)
        )
    lines = [w.choice(("", " ", line[:-1], line + ",x", line + "\0")) if w.random() < 0.08 else line for line in lines]
    content = [line.encode(errors="surrogatepass") for line in lines]
    content = [line + b"\xff" if w.random() < 0.04 else line for line in content]
    if kind == ".csv":
        content.insert(0, b"session,items" if named else b"items")
    end = w.choice((b"\n", b"\n", b"\r\n", b"\r"))
    mark = w.choice((b"", b"", b"\xef\xbb\xbf"))
    path.write_bytes(mark + end.join(content) + (end if w.random() < 0.7 or not content or not content[-1] else b""))
    return path


def session(w: random.Random, ids: Sequence[Any]) -> list[str]:
    some = [str(w.choice(ids)) for _ in range(w.choice((0, 1, 2, 3, 5, 9)))]
    if w.random() < 0.5:
        some = [w.choice(JUNK) if w.random() < 0.3 else one for one in some]
    if w.random() < 0.1:
        some = list(map(str, ids))
    return some


def csv_line(w: random.Random, name: str | None, own: list[str]) -> str:
    simple = all(one and not set(one) & set(" \t[") for one in own)
    cell = w.choice((" ", "  ", "\t")).join(own) if simple and w.random() < 0.7 else json.dumps(own)
    if w.random() < 0.05:
        cell = w.choice(("[", "[1.5]", "[null]", "[[1]]", '{"a": 1}', "[true]", "[1, 2", ' ["a"]', "[]"))
    cells = [cell] if name is None else [name, cell]
    quoted = [
        f'"{one}"'.replace('"', '""')[1:-1] if '"' in one or "," in one or w.random() < 0.2 else one for one in cells
    ]
    return ",".join(quoted)


def json_line(w: random.Random, name: str | None, own: list[str], integers: bool) -> str:
    ids: list[Any] = [int(one) if integers and w.random() < 0.7 and is_plain(one) else one for one in own]
    if w.random() < 0.06:
        ids.append(w.choice((1.5, None, True, [1], {"a": 1}, 2**70, 5, "\ud800")))
    if name is None:
        return json.dumps(ids)
    value: dict[str, Any] = {"session": int(name) if name.isdecimal() and w.random() < 0.5 else name, "items": ids}
    if w.random() < 0.05:
        value = w.choice(
            ({"items": ids}, {"session": name}, {"session": 1.5, "items": ids}, {"session": None, "items": ids})
        )
    return json.dumps(value, ensure_ascii=w.random() < 0.5) if "\ud800" not in map(str, ids) else json.dumps(value)


def is_plain(text: str) -> bool:
    try:
        return str(int(text)) == text
    except ValueError:
        return False


def write_parquet(
    w: random.Random, path: Path, sessions: list[list[str]], names: list[str] | None, integers: bool
) -> None:
    kind: Any = pa.string()
    values: list[Any] = [list(own) for own in sessions]
    if integers and w.random() < 0.6:
        values = [[int(one) for one in own if is_plain(one) and -(2**63) <= int(one) < 2**63] for own in sessions]
        kind = pa.int64()
    for number in range(len(values)):
        if w.random() < 0.05:
            values[number] = None
        elif w.random() < 0.05:
            values[number] = [*values[number], None]
    columns: dict[str, Any] = {"items": pa.array(values, w.choice((pa.list_, pa.large_list))(kind))}
    if names is not None:
        columns["session"] = (
            pa.array(names, pa.string()) if w.random() < 0.7 else pa.array(range(5, 5 + len(names)), pa.int32())
        )
    pq.write_table(pa.table(columns), path)


def read_answers(path: Path) -> list[dict[str, Any]]:
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    with path.open(encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            return [json.loads(line) for line in file.read().split("\n") if line]
        rows = list(csv.DictReader(file))
    numbers = {"rank": int, "score": float, "skipped": int}
    return [
        {
            name: (numbers.get(name, str)(value) if value != "" or name == "session" else None)
            for name, value in row.items()
        }
        for row in rows
    ]


def compare(
    found: list[dict[str, Any]], expected: Sequence[Answer], dataset: Dataset, source: Path, output: Path
) -> None:
    """Row by row; scores of float32 against those of float64."""
    text = output.suffix == ".csv"
    ids = [str(name) if text else name for name in dataset.vocabulary.raw_ids.to_pylist()]
    counts = dataset.vocabulary.counts.tolist()
    popular = sorted(range(len(ids)), key=lambda number: (-counts[number], number))
    rest = list(found)
    for answer in expected:
        own = [rest.pop(0) for _ in range(answer.count if answer.kind != "error" else 1) if rest]
        names = [str(name) if text else name for name in answer.names]
        assert own, f"no rows for {answer.names}"
        for row in own:
            assert any(type(row["session"]) is type(name) and row["session"] == name for name in names), (row, names)
            assert row["answer"] == answer.kind, (row, answer.kind)
        if answer.kind == "error":
            assert own[0]["error"], own
            assert {own[0][name] for name in ("rank", "item", "score", "skipped")} == {None}, own
            continue
        assert [row["rank"] for row in own] == list(range(1, answer.count + 1)), own
        assert {row["skipped"] for row in own} == {answer.skipped}, (own[0], answer.skipped)
        assert {row["error"] for row in own} == {None}, own
        if answer.kind == "popularity":
            assert [(row["item"], row["score"]) for row in own] == [
                (ids[number], counts[number]) for number in popular[: answer.count]
            ], own
            continue
        places = [ids.index(row["item"]) for row in own]
        assert len(set(places)) == len(places)
        assert not {place + 1 for place in places} & answer.excluded, (own, answer.excluded)
        right = answer.scores
        near = 1e-5 * max(1.0, float(np.abs(right).max()))
        for row, place in zip(own, places, strict=True):
            assert abs(row["score"] - right[place]) <= near, (row, right[place])
        left = [number for number in range(len(ids)) if number + 1 not in answer.excluded]
        best = sorted((right[number] for number in left), reverse=True)
        for place, wanted in zip(places, best, strict=False):
            assert abs(right[place] - wanted) <= 2 * near, (right[place], wanted)
        for before, row in pairwise(own):
            order = (-before["score"], ids.index(before["item"])) < (-row["score"], ids.index(row["item"]))
            assert order, (before, row)
    assert not rest, rest
