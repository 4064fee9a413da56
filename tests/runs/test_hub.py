"""Runs on a hub: what goes there, and that the same comes back; against a stand-in that speaks the hub's protocol."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from safetensors import safe_open
from safetensors.torch import save_file

import tagnn_fast
from tagnn_fast.runs.run import Run
from tests.runs.hub_server import Hub, running_hub
from tests.runs.small_runs import write_run
from tests.training.blends import trained

NAME = "shop/next-click"
SESSIONS = [["b", "c"], ["a", "zz"], ["zz"]]


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    from huggingface_hub import constants

    with running_hub() as (hub, address):
        changed = {
            "ENDPOINT": address,
            "HUGGINGFACE_CO_URL_TEMPLATE": f"{address}/{{repo_id}}/resolve/{{revision}}/{{filename}}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_HUB_DISABLE_XET": True,
        }
        for name, value in changed.items():
            monkeypatch.setattr(constants, name, value)
        monkeypatch.setenv("HF_TOKEN", "hf_nothing")
        yield hub


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return tagnn_fast.open_run(write_run(tmp_path / "made", ["a", "b", "c", "d"]))


def test_same_lists_from_the_hub(hub: Hub, run: Run, tmp_path: Path) -> None:
    revision = run.push_to_hub(NAME)
    fetched = tagnn_fast.from_pretrained(NAME)
    assert fetched.folder.is_relative_to(tmp_path / "cache")
    assert fetched.configuration == run.configuration
    assert fetched.recommender().recommend(SESSIONS, 4) == run.recommender().recommend(SESSIONS, 4)
    assert tagnn_fast.from_pretrained(NAME, revision=revision).folder == fetched.folder


def test_folder_is_opened(run: Run) -> None:
    assert tagnn_fast.from_pretrained(run.folder).folder == run.folder
    with pytest.raises(ValueError, match=re.escape(f"revision: expected none with the folder {run.folder}, got 'x'")):
        tagnn_fast.from_pretrained(run.folder, revision="x")


def test_pushes_nothing_of_this_machine(hub: Hub, run: Run, tmp_path: Path) -> None:
    (run.folder / "checkpoints" / "epoch-001").mkdir()
    (run.folder / "checkpoints" / "epoch-001" / "state.json").write_text("{}")
    run.push_to_hub(NAME)
    files = hub.files(NAME)
    assert files.keys() == {"config.json", "items.parquet", "model.safetensors", "README.md"}
    assert not any(str(tmp_path).encode() in content for content in files.values())
    assert json.loads(files["config.json"])["dataset"]["path"] == "data"


def test_card_has_figures_protocol_and_limits(hub: Hub, run: Run) -> None:
    figures = {"HR@5": 1.0, "HR@20": 51.25, "MRR@20": 17.5}
    result = {"protocol": "held-out", "epoch": 2, "caution": "", "validation": figures, "test": figures}
    (run.folder / "result.json").write_text(json.dumps(result))
    run.push_to_hub(NAME)
    card = hub.files(NAME)["README.md"].decode()
    assert card.startswith("---\nlibrary_name: tagnn_fast\n")
    assert f'tagnn_fast.from_pretrained("{NAME}")' in card
    assert "Protocol `held-out`, in percent:\n\n| | HR@20 | MRR@20 |\n" in card
    assert "| test | 51.25 | 17.50 |" in card
    assert "Items that did not occur in training cannot be recommended" in card
    assert "- `hidden_size`: 8" in card


def test_what_another_run_had_is_removed(hub: Hub, run: Run) -> None:
    """A result of before would be taken for this run's; files that are none of a run's stay."""
    (run.folder / "result.json").write_text(json.dumps({"protocol": "all", "test": {"HR@20": 1.0}}))
    run.push_to_hub(NAME)
    others = {"notes.txt", "exported/items.parquet", "onnx/config.json", "members/0/notes.txt"}
    hub.commit(
        NAME, [{"key": "file", "value": {"path": path, "content": ""}} for path in (*others, "members/0/config.json")]
    )
    (run.folder / "result.json").unlink()
    run.push_to_hub(NAME)
    assert hub.files(NAME).keys() == {"config.json", "items.parquet", "model.safetensors", "README.md", *others}


def test_blend_is_pushed_with_its_members(hub: Hub, tmp_path: Path) -> None:
    members = [trained(tmp_path / name, name) for name in ("popularity", "sequential_rules")]
    blend = tagnn_fast.blend(members, tmp_path / "blend", observer=tagnn_fast.Observer())
    blend.push_to_hub(NAME)
    assert not any(str(tmp_path).encode() in content for content in hub.files(NAME).values())
    fetched = tagnn_fast.from_pretrained(NAME)
    sessions = [[int(item)] for item in blend.vocabulary.raw_ids.to_pylist()[:3]]
    assert fetched.recommender().recommend(sessions, 3) == blend.recommender().recommend(sessions, 3)


@pytest.mark.parametrize("name", ["model.safetensors", "items.parquet"])
def test_changed_file_is_refused_by_name(name: str, hub: Hub, run: Run) -> None:
    run.push_to_hub(NAME)
    content = bytearray(hub.files(NAME)[name])
    content[-20 if name == "model.safetensors" else len(content) // 2] ^= 1
    hub.stored["changed"] = bytes(content)
    hub.commit(NAME, [{"key": "lfsFile", "value": {"path": name, "oid": "changed"}}])
    with pytest.raises(ValueError, match=name):
        tagnn_fast.from_pretrained(NAME).recommender()


@pytest.mark.parametrize("name", ["model.safetensors", "result.json", "test_reads.jsonl"])
def test_another_file_in_its_place(name: str, hub: Hub, run: Run, tmp_path: Path) -> None:
    """Whole, of its kind and size, and not what was pushed."""
    (run.folder / "result.json").write_text(json.dumps({"protocol": "all", "test": {"HR@20": 1.0}}))
    run.log_test_read("somebody", "small", {"HR@20": 1.0})
    run.push_to_hub(NAME)
    if name == "result.json":
        hub.stored["other"] = json.dumps({"protocol": "all", "test": {"HR@20": 9.0}}).encode()
    elif name == "test_reads.jsonl":
        hub.stored["other"] = b""
    else:
        with safe_open(run.weights, "pt") as file:
            save_file({key: -file.get_tensor(key) for key in file.keys()}, tmp_path / "other")  # noqa: SIM118
        hub.stored["other"] = (tmp_path / "other").read_bytes()
    hub.commit(NAME, [{"key": "lfsFile", "value": {"path": name, "oid": "other"}}])
    with pytest.raises(ValueError, match=f"{name}: expected the file that was pushed beside config.json, got another"):
        tagnn_fast.from_pretrained(NAME)


def test_another_member_in_its_place(tmp_path: Path) -> None:
    members = [trained(tmp_path / name, name) for name in ("popularity", "sequential_rules")]
    blend = tagnn_fast.blend(members, tmp_path / "blend", observer=tagnn_fast.Observer())
    tagnn_fast.from_pretrained(blend.folder).recommender()
    (blend.folder / "members/1/config.json").write_bytes((blend.folder / "members/0/config.json").read_bytes())
    (blend.folder / "members/1/model.safetensors").write_bytes(members[0].weights.read_bytes())
    with pytest.raises(
        ValueError, match="members/1/model.safetensors: expected the weights that .* was made of, got others"
    ):
        tagnn_fast.from_pretrained(blend.folder).recommender()


def test_programs_are_never_fetched(hub: Hub, run: Run, tmp_path: Path) -> None:
    run.push_to_hub(NAME)
    hub.commit(NAME, [{"key": "file", "value": {"path": "model.ts", "content": ""}}])
    assert not (tagnn_fast.from_pretrained(NAME).folder / "model.ts").exists()
    hub.commit(NAME, [{"key": "deletedFile", "value": {"path": "config.json"}}])
    with pytest.raises(FileNotFoundError, match="expected a run in that repository, got none"):
        tagnn_fast.from_pretrained(NAME)


def test_evaluation_leaves_the_cache_as_it_is(hub: Hub, run: Run) -> None:
    """A look at a test set is the fetched run's own, and no change of what revisions share."""
    run.log_test_read("somebody", "small", {"HR@20": 1.0})
    run.push_to_hub(NAME)
    fetched = tagnn_fast.from_pretrained(NAME)
    (shared,) = (path for path in fetched.folder.parent.parent.glob("blobs/*") if b"somebody" in path.read_bytes())
    before = shared.read_bytes()
    fetched.log_test_read("me", "small", {"HR@20": 2.0})
    assert [look["reader"] for look in tagnn_fast.from_pretrained(NAME).test_reads()] == ["somebody", "me"]
    assert shared.read_bytes() == before == hub.files(NAME)["test_reads.jsonl"]
    assert not (fetched.folder / "test_reads.jsonl").is_symlink()


@pytest.mark.parametrize("name", ["no-owner", "a/b/c", "../etc", "owner/na me"])
def test_refuses_what_is_no_name(name: str) -> None:
    message = f"expected a run's folder or a name such as owner/name, got {name!r}"
    with pytest.raises(ValueError, match=re.escape(message)):
        tagnn_fast.from_pretrained(name)


def test_says_which_extra_it_needs(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    message = "push_to_hub needs huggingface_hub: pip install 'tagnn_fast[hub]'"
    with pytest.raises(ModuleNotFoundError, match=re.escape(message)):
        run.push_to_hub(NAME)


def test_refuses_a_run_without_weights(run: Run) -> None:
    run.weights.unlink()
    with pytest.raises(FileNotFoundError, match="expected weights; the run has not finished an epoch"):
        run.push_to_hub(NAME)
