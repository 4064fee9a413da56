"""Any change of a value in dataset.json: it is refused in a line, or the rest of the package can read what it says."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

from tagnn_fast.cli.info import steps_table
from tagnn_fast.data import read_dataset, write_dataset
from tagnn_fast.logs import LogFormat, PrepareOptions
from tagnn_fast.logs.update import recorded
from tests.logs.running import prepared, updated

VALUES: tuple[Any, ...] = (None, True, 0, -1, 1.5, 10**30, "", "x", [], [1], ["a", "b"], {}, {"a": {}}, [[]], [{}])


def places(value: Any) -> list[tuple[Any, Any]]:
    """Every container in a JSON value with each of its keys."""
    if not isinstance(value, (dict, list)):
        return []
    keys = list(value) if isinstance(value, dict) else list(range(len(value)))
    return [(value, key) for key in keys] + [place for key in keys for place in places(value[key])]


def test_values_of_other_types(tmp_path: Path) -> None:
    form = LogFormat("x", owner="s", item="i", time="t", time_unit="seconds")
    rows = [f"{session},{item},{session * 3600 + item}" for session in range(60) for item in (1, 2, 3)]
    log, more = tmp_path / "log.csv", tmp_path / "more.csv"
    log.write_text("\n".join(["s,i,t", *rows[:150], ""]))
    more.write_text("\n".join(["s,i,t", *rows[120:], ""]))
    data = tmp_path / "data"
    write_dataset(updated(prepared(str(log), form, PrepareOptions()), str(more), form), data)
    content = json.loads((data / "dataset.json").read_text())
    generator, again, messages = random.Random(0), read_dataset(data), list[str]()
    for _ in range(120):
        damaged = copy.deepcopy(content)
        container, key = generator.choice(places(damaged))
        if generator.random() < 0.2:
            del container[key]
        else:
            container[key] = generator.choice(VALUES)
        (data / "dataset.json").write_text(json.dumps(damaged))
        try:
            dataset = read_dataset(data)
            assert dataset.fingerprint() == again.fingerprint()
            assert dataset.source == damaged.get("source", {})
            for part in (dataset.source, *dataset.source.get("updates", [])) if "kind" in dataset.source else ():
                if dataset.source["kind"] == "logs":
                    steps_table(part)
            recorded(dataset)
        except ValueError as error:
            messages.append(str(error))
    assert 15 < len(messages) < 120
    assert not any("\n" in message for message in messages)
