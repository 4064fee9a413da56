"""Ensembles and hybrids: what their members weigh, the folder they leave, and what is refused."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import tagnn_fast
from tagnn_fast.data import PrefixExamples, Sessions, synthetic_dataset
from tagnn_fast.evaluation.evaluate import evaluate
from tagnn_fast.evaluation.ranks import rank_model, read_ranks
from tagnn_fast.evaluation.scoring import score_model
from tagnn_fast.nn.blend import BlendRanker
from tagnn_fast.recommender import Recommender, popularity
from tagnn_fast.runs.run import Run, open_run
from tagnn_fast.training import blend_weights
from tagnn_fast.training.blend import blend
from tagnn_fast.training.protocols import make_protocol
from tests.cli.commands import contents, looks_at_test_set, read, refused, succeed
from tests.training.blends import DATA, QUIET, trained

SESSIONS: list[list[int]] = [[10_003, 10_005, 10_003], [10_007, -1], [-1], [], list(range(10_001, 10_050))]


@pytest.fixture(scope="module", autouse=True)
def without_curves() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tagnn_fast.training.loop.plot_curves", lambda *arguments: None)
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("blends")


@pytest.fixture(scope="module")
def networks(folder: Path) -> list[Run]:
    return [trained(folder / f"network-{seed}", "tagnn_pp", seed) for seed in range(2)]


@pytest.fixture(scope="module")
def neighbours(folder: Path) -> Run:
    return trained(folder / "neighbours", "vs_knn")


@pytest.fixture(scope="module")
def hybrid(networks: list[Run], neighbours: Run, folder: Path) -> Run:
    return blend([networks[0], neighbours], folder / "hybrid", observer=QUIET)


@pytest.fixture(scope="module")
def ensemble(networks: list[Run], folder: Path) -> Run:
    return blend([run.folder for run in networks], folder / "ensemble", observer=QUIET)


def held_out_blend(members: list[Run], weights: list[float]) -> Recommender:
    """By the popularity of what is trained on where the last sessions are held out."""
    counts = np.bincount(make_protocol("held-out", DATA, 0).train.sessions.clicks, minlength=len(DATA.vocabulary) + 1)
    clicks = torch.from_numpy(counts[1:]).double()
    rankers = [run.held_out_recommender().ranker for run in members]
    ranker = BlendRanker(members[0].model, rankers, weights, clicks, clicks.argsort(descending=True, stable=True))
    return Recommender(ranker, DATA.vocabulary)


def test_weight_is_chosen_as_brute_force_does(hybrid: Run, networks: list[Run], neighbours: Run) -> None:
    """By lists of each weight, with weights that know no session held out; the first of the best."""
    choice, examples = read(hybrid.weights), make_protocol("held-out", DATA, 0).validation
    assert examples is not None
    assert [entry["weights"] for entry in choice["tried"]] == [[n / 20, (20 - n) / 20] for n in range(21)]
    for entry in choice["tried"][::4]:
        expected = score_model(held_out_blend([networks[0], neighbours], entry["weights"]), examples)
        assert {name: entry[name] for name in ("HR@20", "MRR@20")} == pytest.approx(
            {name: expected[name] for name in ("HR@20", "MRR@20")}
        )
    best = [entry["MRR@20"] for entry in choice["tried"]]
    chosen = choice["tried"][best.index(max(best))]
    assert choice["weights"] == chosen["weights"]
    assert hybrid.result is not None
    assert hybrid.result["validation"]["MRR@20"] == pytest.approx(chosen["MRR@20"])
    assert hybrid.result["weights"] == choice["weights"]


@settings(deadline=None, max_examples=150)
@given(st.integers(1, 12), st.integers(1, 4), st.integers(1, 12), st.integers(1, 6), st.data())
def test_few_items_tell_where_targets_stand(items: int, sessions: int, best: int, longest: int, data: Any) -> None:
    """As all of them do, ties included."""
    values = st.lists(st.sampled_from([0.0, 0.0, 0.1, 0.2, 0.5]), min_size=items, max_size=items)
    shares = [torch.tensor([data.draw(values) for _ in range(sessions)], dtype=torch.float64) for _ in range(2)]
    target = torch.tensor([data.draw(st.integers(0, items - 1)) for _ in range(sessions)])
    with mock.patch.object(blend_weights, "_BEST", best):
        standing = blend_weights._Standing(*shares, target)
    for weight in (0.0, 0.25, 0.5, 1.0):
        mixed = (weight * shares[0] + (1 - weight) * shares[1]).tolist()
        for row, place, rank in zip(mixed, target.tolist(), standing.ranks(weight, 1 - weight, longest), strict=True):
            expected = 1 + sorted(range(items), key=lambda item: -row[item]).index(place)
            assert min(int(rank), longest + 1) == min(expected, longest + 1)


@pytest.mark.parametrize(("weights", "member"), [([1.0, 0.0], 0), ([0.0, 1.0], 1)])
def test_a_member_alone(weights: list[float], member: int, networks: list[Run], neighbours: Run) -> None:
    """Its own lists."""
    recommenders = [networks[0].recommender(), neighbours.recommender()]
    ranker = BlendRanker(networks[0].model, [one.ranker for one in recommenders], weights, *popularity(DATA.vocabulary))
    found = Recommender(ranker, DATA.vocabulary).recommend(SESSIONS, 20)
    expected = recommenders[member].recommend(SESSIONS, 20)
    assert (found.items, found.status) == (expected.items, expected.status)


def test_ensemble(ensemble: Run, networks: list[Run]) -> None:
    """All weigh alike; nothing is chosen, and the sessions held out are scored without having been trained on."""
    assert (ensemble.training.architecture, ensemble.training.protocol) == ("ensemble", "held-out-refit")
    choice = read(ensemble.weights)
    assert choice["weights"] == [0.5, 0.5]
    assert "tried" not in choice
    examples = make_protocol("held-out", DATA, 0).validation
    assert examples is not None
    assert ensemble.result is not None
    assert ensemble.result["validation"] == score_model(held_out_blend(networks, [0.5, 0.5]), examples)
    assert [(one["architecture"], one["seed"]) for one in ensemble.members] == [("tagnn_pp", 0), ("tagnn_pp", 1)]
    seconds = sum(record["training_seconds"] for run in networks for record in run.history)
    assert ensemble.history[0]["training_seconds"] == pytest.approx(seconds, abs=0.001)


def test_seeds_and_another_method(networks: list[Run], neighbours: Run, folder: Path) -> None:
    """One weight between the two methods; runs of one weigh alike, in whatever order they are given."""
    run = blend([networks[0], neighbours, networks[1]], folder / "three", observer=QUIET)
    weights = read(run.weights)["weights"]
    assert weights[0] == weights[1]
    assert sum(weights) == pytest.approx(1)
    assert [one["architecture"] for one in run.members] == ["tagnn_pp", "tagnn_pp", "vs_knn"]
    assert run.training.architecture == "hybrid"


def test_members_that_have_seen_test_sessions(tmp_path: Path) -> None:
    """Said of the blend wherever its figures are."""
    train = DATA.train
    timed = Sessions(train.clicks, train.offsets, train.examples, torch.arange(len(train)))
    cut = len(train) - 50
    later = dataclasses.replace(DATA, train=timed)
    data = dataclasses.replace(DATA, train=timed.slice(0, cut), test=timed.slice(cut, len(train)))
    first = trained(tmp_path / "first", "sr_gnn", data=later, protocol="all")
    options = {"epochs": 1, "protocol": "all", "start_from": first, "observer": QUIET}
    members = [tagnn_fast.fit(data, tmp_path / f"{seed}", seed=seed, **options) for seed in (1, 2)]
    run = blend(members, tmp_path / "blend", observer=QUIET)
    assert run.result is not None
    for found in (run.result["caution"], evaluate(run, observer=QUIET).caution):
        assert found.startswith("Of 50 test sessions 50 are not known to be later than those")


def test_a_method_that_weighs_nothing(networks: list[Run], neighbours: Run, folder: Path, monkeypatch: Any) -> None:
    """The figures are those of the other, and the result says so."""
    monkeypatch.setattr("tagnn_fast.training.blend.best_of", lambda table: table[0])
    run = blend([networks[0], neighbours], folder / "nothing", observer=QUIET)
    assert run.result is not None
    assert run.result["weights"] == [0, 1]
    assert run.result["test"] == neighbours.result["test"]  # type: ignore[index]
    assert "tagnn_pp: weighs nothing, the other method alone was best." in str(run.result)


def test_a_run_like_any_other(hybrid: Run, networks: list[Run], folder: Path) -> None:
    """It opens, is read once, evaluated, described, and answers, without the runs it was made of."""
    examples = PrefixExamples(DATA.test)
    moved = Path(shutil.copytree(hybrid.folder, folder / "elsewhere" / "hybrid"))
    run = open_run(moved)
    ranked = rank_model(run.recommender(), examples)
    assert run.result is not None
    assert ranked.figures == run.result["test"] == looks_at_test_set(moved)[0]["figures"]
    assert torch.equal(read_ranks(run.test_ranks, len(examples)).ranks, ranked.ranks)
    assert [look["reader"] for look in looks_at_test_set(moved)] == ["train"]
    evaluation = tagnn_fast.evaluate(run, observer=QUIET)
    assert evaluation.figures["hybrid"] == run.result["test"]
    assert [look["reader"] for look in looks_at_test_set(moved)] == ["train", "evaluate"]
    printed = succeed("info", moved)
    assert '"architecture": "hybrid"' in printed
    assert str(networks[0].folder) in printed
    assert succeed("recommend", moved, "10003", "10005").count("\n") > 20
    weights = " + ".join(f"{weight:.3g}" for weight in run.result["weights"])
    for part in ("validation", "test", f"weights {weights}"):
        assert part in str(run.result)
    for name in ("weights.json", "members/0/model.safetensors", "members/1/model.safetensors"):
        assert (moved / name).exists()


def test_the_same_call(hybrid: Run, networks: list[Run], neighbours: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes nothing; other runs are refused."""
    before = contents(hybrid.folder)
    monkeypatch.setattr("tagnn_fast.training.blend.weigh", None)
    blend([networks[0], neighbours], hybrid.folder, observer=QUIET)
    assert contents(hybrid.folder) == before
    with pytest.raises(ValueError, match="hybrid: expected a blend of these runs to go on with, got another run"):
        blend([networks[1], neighbours], hybrid.folder, observer=QUIET)
    with pytest.raises(ValueError, match="expected a blend of these runs to go on with, got another run"):
        blend([networks[1], neighbours], networks[0].folder, observer=QUIET)


def test_command(networks: list[Run], neighbours: Run, hybrid: Run, tmp_path: Path) -> None:
    printed = succeed("blend", networks[0].folder, neighbours.folder, "--output", tmp_path / "made")
    assert "MRR@20" in printed
    assert f"wrote {tmp_path / 'made'}: hybrid" in printed
    assert read(tmp_path / "made/result.json") == read(hybrid.folder / "result.json")
    message = refused("blend", networks[0].folder, "--output", tmp_path / "alone")
    assert message == "runs: expected two and more, got 1"


def test_data_set_in_a_run(tmp_path: Path) -> None:
    """The blend has its own copy of it."""
    data = synthetic_dataset(500, 40)
    runs = [trained(tmp_path / f"run-{seed}", "sr_gnn", seed, data=data, epochs=1) for seed in range(2)]
    run = blend(runs, tmp_path / "blend", observer=QUIET)
    for one in runs:
        shutil.rmtree(one.folder)
    assert tagnn_fast.evaluate(open_run(run.folder), observer=QUIET).examples > 0


Refused = Callable[[list[Run], Run, Path], list[Any]]


@pytest.mark.parametrize(
    ("runs", "message"),
    [
        (lambda networks, neighbours, path: [], "runs: expected two and more, got 0"),
        (lambda networks, neighbours, path: [neighbours], "runs: expected two and more, got 1"),
        (lambda networks, neighbours, path: "run", "runs: expected some runs or their folders, got 'run'"),
        (lambda networks, neighbours, path: [neighbours, 3], "runs: expected a run or its folder, got 3"),
        (lambda networks, neighbours, path: [neighbours] * 2, "expected another in each, got .*neighbours with"),
        (
            lambda networks, neighbours, path: [neighbours, trained(path / "new", "sequential_rules"), networks[0]],
            "or two, between which one weight is chosen, got 3: vs_knn, sequential_rules, tagnn_pp",
        ),
        (
            lambda networks, neighbours, path: [
                neighbours,
                trained(path / "new", "sr_gnn", data=synthetic_dataset(1_500, 60, seed=1)),
            ],
            "got .*new, which was trained on other sessions or items than the first",
        ),
        (
            lambda networks, neighbours, path: [neighbours, trained(path / "new", "popularity", protocol="held-out")],
            "new, whose protocol is another than the first's: held-out and held-out-refit",
        ),
        (
            lambda networks, neighbours, path: [
                trained(path / name, name, protocol="all") for name in ("popularity", "sequential_rules")
            ],
            "expected a protocol that holds out sessions to choose a hybrid's weight on, got all",
        ),
        (
            lambda networks, neighbours, path: [
                trained(path / f"new-{seed}", "sr_gnn", seed, protocol="published", epochs=1) for seed in range(2)
            ],
            "new-0, whose protocol is published and none of held-out, held-out-refit, all",
        ),
    ],
)
def test_what_is_refused(runs: Refused, message: str, networks: list[Run], neighbours: Run, tmp_path: Path) -> None:
    """Before anything is written."""
    with pytest.raises((TypeError, ValueError), match=message):
        blend(runs(networks, neighbours, tmp_path), tmp_path / "blend", observer=QUIET)
    assert not (tmp_path / "blend").exists()


def test_blends_of_blends(hybrid: Run, neighbours: Run, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="got .*hybrid, a blend itself"):
        blend([hybrid, neighbours], tmp_path / "blend", observer=QUIET)
    with pytest.raises(ValueError, match="expected a run that is trained, got an ensemble or hybrid of others"):
        tagnn_fast.training.fit.resume(hybrid, observer=QUIET)
    with pytest.raises(ValueError, match="start_from: expected a run of a network, got one of hybrid"):
        tagnn_fast.fit(DATA, tmp_path / "run", start_from=hybrid, observer=QUIET)
    with pytest.raises(ValueError, match="architecture: expected one of tagnn_pp, .*, got 'hybrid'"):
        tagnn_fast.fit(DATA, tmp_path / "run", architecture="hybrid", observer=QUIET)
    with pytest.raises(ValueError, match="name: expected another than .*hybrid"):
        tagnn_fast.register_architecture("hybrid", tagnn_fast.SRGNN)


def test_runs_that_have_not_ended(networks: list[Run], neighbours: Run, tmp_path: Path) -> None:
    begun = open_run(shutil.copytree(networks[0].folder, tmp_path / "begun"))
    (begun.folder / "result.json").unlink()
    with pytest.raises(ValueError, match="got .*begun, which has not ended"):
        blend([begun, neighbours], tmp_path / "blend", observer=QUIET)


def test_runs_of_earlier_versions(networks: list[Run], neighbours: Run, tmp_path: Path) -> None:
    """They have no weights from before the training on all sessions: enough for an ensemble, not for a hybrid."""
    copies = [open_run(shutil.copytree(run.folder, tmp_path / run.folder.name)) for run in (*networks, neighbours)]
    copies[0].held_out_weights.unlink()
    message = (
        "held_out.safetensors: expected weights that have not seen the sessions held out; runs of earlier versions"
    )
    with pytest.raises(FileNotFoundError, match=message):
        blend([copies[0], copies[2]], tmp_path / "hybrid", observer=QUIET)
    assert not (tmp_path / "hybrid").exists()
    run = blend(copies[:2], tmp_path / "ensemble", observer=QUIET)
    assert run.result is not None
    assert "validation" not in run.result
    assert "test" in run.result


def test_what_only_networks_have(hybrid: Run) -> None:
    recommender = hybrid.recommender()
    with pytest.raises(ValueError, match="similar: expected a network, got a blend, which has no item vectors of its"):
        recommender.similar([10_003])
    with pytest.raises(ValueError, match="bfloat16_table: expected False for a blend, which has no item vectors of"):
        hybrid.recommender(bfloat16_table=True)
    with pytest.raises(ValueError, match="device: expected cpu, which blends run on, got meta"):
        hybrid.recommender("meta")


@pytest.mark.parametrize("content", ["{", "[]", "{}", '{"weights": [1]}', '{"weights": [2, -1]}', '{"weights": "ab"}'])
def test_damaged_weights(content: str, hybrid: Run, tmp_path: Path) -> None:
    run = open_run(shutil.copytree(hybrid.folder, tmp_path / "hybrid"))
    run.weights.write_text(content)
    with pytest.raises(ValueError, match=r"weights\.json: expected "):
        run.recommender()
    path = run.folder / "config.json"
    path.write_text(path.read_text().replace('"members"', '"others"'))
    with pytest.raises(ValueError, match=r"config\.json: expected the members of a blend, got None"):
        open_run(run.folder)


def test_methods_that_differ_in_options_alone(folder: Path, tmp_path: Path) -> None:
    """What counting methods keep says nothing of most of their options."""
    runs = [trained(folder / f"stan-{scale}", "stan", options={"click_scale": scale}) for scale in (1.25, 8.0)]
    rules = trained(folder / "rules", "sequential_rules")
    blend(runs, tmp_path / "both", observer=QUIET)
    found = blend([rules, runs[0]], tmp_path / "hybrid", observer=QUIET)
    assert blend([rules, runs[0]], tmp_path / "hybrid", observer=QUIET).result == found.result
    with pytest.raises(ValueError, match="hybrid: expected a blend of these runs to go on with, got another run"):
        blend([rules, runs[1]], tmp_path / "hybrid", observer=QUIET)
    with pytest.raises(ValueError, match="got .* with options and weights of one before"):
        blend([runs[0], runs[0]], tmp_path / "twice", observer=QUIET)


def test_published_networks_pad_as_alone(folder: Path) -> None:
    """To the longest prefix of what is scored."""
    run = trained(folder / "published", "tagnn_pp", preset="published-diginetica", protocol="all", heads=2)
    examples = PrefixExamples(DATA.test)
    alone = run.recommender()
    ranker = BlendRanker(run.model, [alone.ranker], [1.0], *popularity(DATA.vocabulary))
    assert score_model(Recommender(ranker, DATA.vocabulary), examples) == score_model(alone, examples)
