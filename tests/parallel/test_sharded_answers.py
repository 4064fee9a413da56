"""What a network with its item table in shards answers: the lists of the whole one."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

import tagnn_fast
from tagnn_fast.data import synthetic_dataset
from tagnn_fast.data.vocabulary import Vocabulary
from tagnn_fast.observer import Observer
from tagnn_fast.parallel.processes import LostProcessError
from tagnn_fast.parallel.sharded_ranker import ShardedLists, ShardedRanker
from tagnn_fast.recommender import BestItems, Recommender, popularity
from tagnn_fast.runs.in_shards import WORKER
from tagnn_fast.runs.run import Run
from tests.parallel import sharded_work as work
from tests.parallel.conftest import Processes
from tests.parallel.test_shards import MODELS
from tests.support import ROOT, batch, random_sessions

DATASET = synthetic_dataset(clicks=3000, items=120)
ITEMS = 96
SESSIONS = [[3, 0, 96], [], *random_sessions((1, 5, 2, 30), ITEMS), [0], [0, 0]]
QUESTIONS: list[tuple[list[list[int]], int, dict[str, Any]]] = [
    (SESSIONS, 20, {}),
    (SESSIONS, 96, {"exclude_clicked": True}),
    (SESSIONS, 7, {"candidates": [5, 0, 96, 1, 70], "exclude": [70, 0]}),
    (SESSIONS[:1], 3, {"exclude": [3, 4, 96], "exclude_clicked": True}),
    (SESSIONS, 5, {"candidates": []}),
    ([[0]], 4, {"candidates": [9]}),
    ([], 4, {}),
]


def vocabulary() -> Vocabulary:
    counts = torch.randint(1, 9, (ITEMS,), generator=torch.Generator().manual_seed(0)).numpy()
    return Vocabulary(pa.array(range(100, 100 + ITEMS)), counts)


def answers(recommender: Recommender) -> list[BestItems]:
    found = []
    for sessions, k, choice in QUESTIONS:
        given = {
            name: torch.tensor(value, dtype=torch.int64) if name != "exclude_clicked" else value
            for name, value in choice.items()
        }
        found.append(recommender.topk(*batch(sessions), k, **given))
    return found


def answers_in_shards(rank: int, architecture: str, options: dict[str, Any]) -> list[BestItems]:
    model = work.make_sharded(architecture, torch.float64, options)
    if rank > 0:
        ShardedLists(model).answer()
        return []
    ranker = ShardedRanker(model, *popularity(vocabulary()))
    found = answers(Recommender(ranker, vocabulary()))
    ranker.end()
    return found


@pytest.mark.parametrize("model", MODELS)
def test_answers(processes: Processes, model: str) -> None:
    """Unknown items, empty sessions, candidates and what is left out; in one process, and in two."""
    architecture, options = MODELS[model]
    found, nothing = processes.run(answers_in_shards, architecture, options)
    assert nothing == []
    whole = Recommender(work.make_model(architecture, torch.float64, options), vocabulary(), screen=False)
    for here, wanted in zip(found, answers(whole), strict=True):
        assert torch.equal(here.items, wanted.items)
        assert torch.equal(here.known_clicks, wanted.known_clicks)
        torch.testing.assert_close(here.scores, wanted.scores, rtol=0, atol=1e-12)


def answers_to_threads(rank: int) -> tuple[list[BestItems], list[BestItems]]:
    """What four threads get that ask at the same time, and one after the other."""
    model = work.make_sharded("tagnn_pp", torch.float64, {})
    if rank > 0:
        ShardedLists(model).answer()
        return [], []
    ranker = ShardedRanker(model, *popularity(vocabulary()))
    recommender = Recommender(ranker, vocabulary())
    sessions = [batch([[1 + number, 5, 90 - number]] * (1 + number % 3)) for number in range(40)]

    def ask(session: tuple[torch.Tensor, torch.Tensor]) -> BestItems:
        return recommender.topk(*session, 10)

    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(ask, sessions))
    alone = list(map(ask, sessions))
    ranker.end()
    return together, alone


def test_threads(processes: Processes) -> None:
    (together, alone), _ = processes.run(answers_to_threads)
    for found, wanted in zip(together, alone, strict=True):
        assert torch.equal(found.items, wanted.items)
        assert torch.equal(found.scores, wanted.scores)


def infinite_in_shards(rank: int) -> str:
    """What is said where a row of the last shard is no number, and that the next question is answered."""
    model = work.make_sharded("sr_gnn", torch.float64, {})
    if rank > 0:
        kept = model.rows[-1].detach().clone()
        model.rows.data[-1] = torch.nan
        lists = ShardedLists(model)
        lists.answer()
        model.rows.data[-1] = kept
        lists.answer()
        return ""
    ranker = ShardedRanker(model, *popularity(vocabulary()))
    recommender = Recommender(ranker, vocabulary())
    with pytest.raises(FloatingPointError) as caught:
        recommender.topk(*batch([[1, 2]]), 5)
    ranker.end()
    assert recommender.topk(*batch([[1, 2]]), 5).items.shape == (1, 5)
    ranker.end()
    return str(caught.value)


def test_scores_that_are_no_numbers(processes: Processes) -> None:
    message, _ = processes.run(infinite_in_shards)
    assert message == "scores: expected finite numbers, got NaN or infinity: training diverged"


def test_vectors_are_not_in_one_place() -> None:
    """Nor rounded."""
    ranker = ShardedRanker.__new__(ShardedRanker)
    torch.nn.Module.__init__(ranker)
    ranker.config = tagnn_fast.ModelConfig(ITEMS)
    with pytest.raises(
        ValueError, match="^item_vectors: expected a network, got item vectors in shards, not in one place"
    ):
        Recommender(ranker, vocabulary()).item_vectors()
    with pytest.raises(ValueError, match="^bfloat16_table: expected False for item vectors in shards"):
        Recommender(ranker, vocabulary(), bfloat16_table=True)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    folder = tmp_path_factory.mktemp("sharded answers")
    options = {"hidden_size": 8, "epochs": 1, "protocol": "all", "first_decay": 1, "decay_every": 1}
    return tagnn_fast.fit(DATASET, folder / "run", "clean", **options, accelerator="cpu", observer=Observer())


def test_run(run: Run) -> None:
    """Processes that are started here, of which the first asks for raw ids."""
    ids = run.vocabulary.raw_ids.to_pylist()
    sessions = [ids[:3], ["no such item"] if isinstance(ids[0], str) else [-1], ids[5:6] * 2]
    with tagnn_fast.recommender_in_shards(run, 2) as recommender:
        assert recommender is not None
        found = recommender.recommend(sessions, 10, exclude_clicked=True)
    wanted = run.recommender().recommend(sessions, 10, exclude_clicked=True)
    assert found.items == wanted.items
    assert found.status == wanted.status
    assert [pytest.approx(scores, abs=1e-5) for scores in wanted.scores] == found.scores


def test_torchrun(run: Run, tmp_path: Path) -> None:
    """All of its processes call the same; those that do not ask get None when it is over."""
    script = tmp_path / "ask.py"
    script.write_text(
        "import sys, tagnn_fast\n"
        "with tagnn_fast.recommender_in_shards(sys.argv[1]) as recommender:\n"
        "    if recommender is None: print('answered')\n"
        "    else: print(recommender.recommend([[]], 3).items)\n"
    )
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        script,
        run.folder,
    ]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    popular = run.recommender().recommend([[]], 3).items
    assert sorted(done.stdout.splitlines()) == sorted([f"{popular}", "answered"])


def test_lost_process(run: Run) -> None:
    session = [run.vocabulary.raw_ids.to_pylist()[:2]]

    def ask() -> None:
        with tagnn_fast.recommender_in_shards(run, 2) as recommender:
            assert recommender is not None
            subprocess.run(["pkill", "-KILL", "-P", f"{os.getpid()}", "-f", WORKER], check=True)
            for _ in range(20):
                recommender.recommend(session, 5)

    with pytest.raises(
        LostProcessError, match="lost .* 2 processes.*; what was asked is not answered, and can be asked"
    ):
        ask()


def _damaged(run: Run) -> None:
    content = bytearray(run.weights.read_bytes())
    content[-1] ^= 1
    run.weights.write_bytes(content)


def _without_weights(run: Run) -> None:
    run.weights.unlink()


@pytest.mark.parametrize(
    ("options", "change", "devices", "error", "message"),
    [
        ({}, _damaged, 2, ValueError, "expected the tensors that were written, got a damaged file"),
        ({}, _without_weights, 2, FileNotFoundError, "expected weights; the run has not finished an epoch"),
        ({"repeats": True}, None, 2, ValueError, "repeats: expected False with a catalogue in shards, got True"),
        ({"neighbour_weight": 0.5}, None, 1, ValueError, "neighbour_weight: expected 0 with a catalogue in shards"),
        (
            {"architecture": "vs_knn"},
            None,
            2,
            ValueError,
            "expected one of tagnn_pp, .* with a catalogue in shards, got vs",
        ),
        ({}, None, 1000, ValueError, "num_items: expected enough that each of 1000 processes holds some"),
    ],
)
def test_refused(
    options: dict[str, Any],
    change: Callable[[Run], None] | None,
    devices: int,
    error: type[Exception],
    message: str,
    tmp_path: Path,
) -> None:
    network = {
        "preset": "clean",
        "hidden_size": 8,
        "epochs": 1,
        "first_decay": 1,
        "decay_every": 1,
        "accelerator": "cpu",
    }
    given: dict[str, Any] = {**({} if "architecture" in options else network), **options, "protocol": "all"}
    made = tagnn_fast.fit(DATASET, tmp_path / "run", **given, observer=Observer())
    if change is not None:
        change(made)
    with pytest.raises(error, match=message), tagnn_fast.recommender_in_shards(made.folder, devices):
        pass


def test_batch_scoring(run: Run, tmp_path: Path) -> None:
    """The same sessions scored here and in shards: the same table but for the last bits of scores."""
    ids = run.vocabulary.raw_ids.to_pylist()
    source = tmp_path / "sessions.jsonl"
    source.write_text("\n".join(f"{ids[number : number + 3]}" for number in range(50)) + "\n[]\n")
    tables = []
    for engine in (["local"], ["shards", "--master", "local[2]"]):
        output = tmp_path / engine[0]
        command = [
            sys.executable,
            "-m",
            "tagnn_fast.cli",
            "recommend",
            run.folder,
            "--input",
            source,
            "--output",
            output,
        ]
        done = subprocess.run([*map(str, command), "--engine", *engine], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        tables.append(pq.read_table(output))
    local, shards = tables
    assert local.drop(["score"]).equals(shards.drop(["score"]))
    assert shards["score"].to_pylist() == pytest.approx(local["score"].to_pylist(), abs=1e-5)
