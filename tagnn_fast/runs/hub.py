"""Runs on a model hub, by huggingface_hub: data alone, never a program."""

from __future__ import annotations

import json
import re
import warnings
from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import Any

from tagnn_fast.data.dataset import read_digests
from tagnn_fast.extras import needed_by
from tagnn_fast.files import describe_file, load_json
from tagnn_fast.runs.card import model_card
from tagnn_fast.version import __version__

CARD = "README.md"
_RECOMMENDS = (
    "config.json",
    "items.parquet",
    "model.safetensors",
    "weights.json",
)  # of a run, and of a blend's members
_LOOKS = "test_reads.jsonl"
_TELLS = ("history.json", "result.json", _LOOKS)
_SEALED = ("model.safetensors", "weights.json", *_TELLS)  # what config.json there has a digest of
# All of a run that is there; whatever else a repository holds is not looked at.
PATTERNS = [*_RECOMMENDS, *_TELLS, *(f"members/*/{name}" for name in _RECOMMENDS)]
_NAME = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@needed_by("push_to_hub")
def push(folder: Path, name: str, private: bool | None, token: str | None) -> str:
    """Make a repository hold this run and nothing of another; see :meth:`tagnn_fast.runs.run.Run.push_to_hub`."""
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    api = HfApi(token=token, library_name="tagnn_fast", library_version=__version__)
    api.create_repo(name, private=private, exist_ok=True)
    contents = {str(path.relative_to(folder)): _content(path) for path in _files(folder)}
    contents[CARD] = _card(folder, name)
    others = [path for path in api.list_repo_files(name) if _is_of_a_run(path) and path not in contents]
    operations: list[CommitOperationAdd | CommitOperationDelete] = [
        *(CommitOperationAdd(path, content) for path, content in contents.items()),
        *(CommitOperationDelete(path) for path in others),
    ]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "It seems that you are about to commit a data file", UserWarning)  # the items
        made = api.create_commit(name, operations, commit_message=f"A run of tagnn_fast {__version__}")
    return made.oid


@needed_by("from_pretrained")
def fetch(name: str, revision: str | None, token: str | None) -> Path:
    """The folder of a run that a hub has, in its cache; see :func:`tagnn_fast.from_pretrained`."""
    from huggingface_hub import snapshot_download

    if not _NAME.fullmatch(name):
        raise ValueError(f"name_or_folder: expected a run's folder or a name such as owner/name, got {name!r}")
    cached = snapshot_download(
        name,
        revision=revision,
        token=token,
        allow_patterns=PATTERNS,
        library_name="tagnn_fast",
        library_version=__version__,
    )
    folder = Path(cached)
    if not (folder / "config.json").exists():
        raise FileNotFoundError(f"{name}: expected a run in that repository, got none: it has no config.json")
    for config in folder.glob("**/config.json"):
        digests = read_digests(load_json(config), config.parent)
        for name in _SEALED:
            file = config.with_name(name)
            if name == _LOOKS and file.exists() and not file.is_symlink():
                continue  # evaluations here have added to it
            if name in digests and (not file.exists() or describe_file(file)["sha256"] != digests[name]):
                raise ValueError(f"{file}: expected the file that was pushed beside config.json, got another or none")
    looks = folder / _LOOKS
    if looks.is_symlink():  # an evaluation adds to it: what the cache shares between revisions stays as it is
        content = looks.read_bytes()
        looks.unlink()
        looks.write_bytes(content)
    return folder


def _files(folder: Path) -> list[Path]:
    return sorted(path for pattern in PATTERNS for path in folder.glob(pattern))


def _is_of_a_run(path: str) -> bool:
    return any(re.fullmatch(re.escape(pattern).replace(r"\*", "[^/]+"), path) for pattern in PATTERNS)


def _content(path: Path) -> Path | bytes:
    """What is pushed of a file: all of it, but no path of this machine."""
    if path.name != "config.json":
        return path
    content = load_json(path)
    beside = [path.with_name(name) for name in _SEALED]
    content["files"] = {
        **content.get("files", {}),
        **{one.name: describe_file(one)["sha256"] for one in beside if one.exists()},
    }
    dataset = content["dataset"]
    dataset["path"] = "data"
    dataset.pop("start_from", None)
    for member in content.get("members", []):
        member["run"] = PurePath(member["run"]).name
    return json.dumps(content, indent=2).encode() + b"\n"


def _card(folder: Path, name: str) -> bytes:
    content = load_json(folder / "config.json")
    configuration: Mapping[str, Any] = {part: content[part] for part in ("model", "training")}
    result = load_json(folder / "result.json") if (folder / "result.json").exists() else None
    return model_card(name, configuration, content["dataset"], result).encode()
