"""Runs of others: from a folder, or from a model hub."""

from __future__ import annotations

from pathlib import Path

from tagnn_fast.checks import check_path
from tagnn_fast.runs.hub import fetch
from tagnn_fast.runs.run import Run, open_run


def from_pretrained(name_or_folder: str | Path, revision: str | None = None, token: str | None = None) -> Run:
    """Open a run folder, or a run on a model hub; the same lists from either.

    Only data is fetched: options, items and weights, each file checked when it is read. Exported programs are not
    looked at, whatever a repository holds.

    Args:
        name_or_folder: the folder, or ``owner/name`` on the hub where there is no such folder.
        revision: a branch, tag or commit of the repository there; the newest if not given.
        token: of the hub; the one that was logged in with if not given.

    Raises:
        FileNotFoundError: where the repository has no run.
        ModuleNotFoundError: without the extra ``tagnn_fast[hub]``, which is named.
        OSError: where the hub does not give it.
        ValueError: where a file is damaged, or was changed since it was pushed; config.json itself vouches for the
            others, and a revision for it.
    """
    folder = check_path(name_or_folder, "name_or_folder", "a run's folder, or a name on the hub")
    if folder.exists():
        if revision is not None:
            raise ValueError(f"revision: expected none with the folder {folder}, got {revision!r}")
        return open_run(folder)
    return open_run(fetch(str(name_or_folder), revision, token))
