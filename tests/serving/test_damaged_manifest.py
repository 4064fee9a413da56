"""Changes of an export's manifest: what `load` answers stays as it was, or the folder is refused in a line."""

from __future__ import annotations

import json
import os
import random
import shutil
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

import tagnn_fast
from tagnn_fast.runs.run import open_run
from tagnn_fast.serving.export import export
from tagnn_fast.serving.served_model import ServedModel
from tests.mutated import mutate
from tests.runs.small_runs import write_run
from tests.support import batch

# It takes so long where it is set; the seed is the clock's then.
SECONDS = float(os.environ.get("TAGNN_FAST_FUZZ_SECONDS", 0))
CHANGES = 150
FORMATS = ["torchscript", "program"]  # those that need no compiler
IDS: dict[str, list[Any]] = {"integers": [7, 70, 2**40, 2**63 - 1, 0, 12, 13], "strings": ["a", "b b", "ü", "7", "x"]}


@pytest.fixture(scope="module", params=IDS)
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model in these formats."""
    folder = tmp_path_factory.mktemp("manifest")
    run = open_run(write_run(folder / request.param, IDS[request.param]))
    export(run, folder / "exported", k_max=4, formats=["torchscript", "program"])
    return folder / "exported"


def answers(served: ServedModel) -> list[Any]:
    """Everything it can be asked."""
    ids = IDS[served.manifest["item_ids"]]
    sessions = [ids[:3], [ids[1], type(ids[0])(99)], []]
    longest = len(ids) if served.format == "torchscript" else 4
    found: list[Any] = [
        served.recommend(sessions, k, exclude_clicked=own) for k in (1, longest) for own in (False, True)
    ]
    found.append(served.recommend(sessions, 3, candidates=ids[2:], exclude=ids[:1]))
    if served.format == "torchscript":
        found.append(served.recommend(sessions, 1000))
    item_ids = served.item_ids()
    found.append(item_ids if isinstance(item_ids, list) else item_ids.tolist())
    one: Any = (ids[:3], batch([[1, 1, 1]])[1]) if isinstance(ids[0], str) else batch([ids[:3]])
    found.append(served.scores(*one).tolist())
    found.append(served.explain(*one, ids[3:4] if isinstance(ids[0], str) else torch.tensor(ids[3:4])).tolist())
    return found


def loaded(folder: Path, format: str, expected: list[Any]) -> str:
    """Loaded with the same answers, or refused by a line that says where."""
    message = None
    try:
        served = tagnn_fast.load(folder, format)
        assert answers(served) == expected
    except (ValueError, TypeError, FileNotFoundError) as error:
        message = str(error)
    if message is None:
        return "the same"
    assert "\n" not in message
    assert len(message) < 1500
    assert str(folder) in message or "format: " in message
    return "refused"


@contextmanager
def loaded_once() -> Iterator[None]:
    """The models' files stay as they are: each is loaded once."""
    script, program = cache(torch.jit.load), cache(torch.export.load)
    with mock.patch("torch.jit.load", script), mock.patch("torch.export.load", program), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # other versions are warned of
        yield


def test_changed_manifest(exported: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(exported, tmp_path / "copied"))
    path, whole = folder / "manifest.json", (exported / "manifest.json").read_bytes()
    expected = {format: answers(tagnn_fast.load(folder, format)) for format in FORMATS}
    generator, end, outcomes = (
        random.Random(time.time_ns() if SECONDS else 1),
        time.monotonic() + SECONDS,
        Counter[str](),
    )
    while time.monotonic() < end if SECONDS else outcomes.total() < CHANGES:
        with loaded_once():  # and anew from time to time
            for _ in range(40):
                path.write_bytes(whole)
                mutate(path, generator)
                format = generator.choice(FORMATS)
                try:
                    outcomes[f"{format} {loaded(folder, format, expected[format])}"] += 1
                except Exception as error:
                    raise AssertionError(f"{error!r:.500}: {format}: {path.read_bytes()!r}") from error
    print(f"{outcomes.total():,} manifests: {dict(outcomes)}")
    assert all(outcomes[f"{format} {kind}"] > 3 for format in FORMATS for kind in ("the same", "refused")), outcomes


CHANGED: list[tuple[str, Callable[[dict[str, Any]], object]]] = [
    ("items", lambda content: content["items"] - 1),
    ("items", lambda content: str(content["items"])),
    ("item_ids", lambda content: "strings" if content["item_ids"] == "integers" else "integers"),
    ("item_ids", lambda content: "texts"),
    ("k_max", lambda content: content["k_max"] + 1),
    ("k_max", lambda content: 1),
    ("k_max", lambda content: 10**9),
    ("version", lambda content: 1),
    ("version", lambda content: 2),
    ("can_explain", lambda content: False),
    ("can_explain", lambda content: None),
    ("files", lambda content: [*content["files"]]),
    ("files", lambda content: dict.fromkeys(content["files"])),
    ("missing", lambda content: ["model.ts"]),
    ("versions", lambda content: None),
    ("versions", lambda content: {"torch": 2.1, "tagnn_fast": "1"}),
]


def test_one_field(exported: Path, tmp_path: Path) -> None:
    """Some of these were lists of another length, or tracebacks."""
    folder = Path(shutil.copytree(exported, tmp_path / "copied"))
    content = json.loads((folder / "manifest.json").read_text())
    with loaded_once():
        expected = {format: answers(tagnn_fast.load(folder, format)) for format in FORMATS}
        for field, change in CHANGED:
            (folder / "manifest.json").write_text(json.dumps({**content, field: change(content)}))
            for format in FORMATS:
                outcome = loaded(folder, format, expected[format])
                assert outcome == "refused" or (field == "k_max" and format == "torchscript"), (field, format)
