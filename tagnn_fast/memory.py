"""Memory that this process may use, which in a container is less than the machine has."""

from __future__ import annotations

import os
from pathlib import Path


def usable_memory(root: Path = Path("/")) -> int:
    """Bytes of the machine's memory, or of the smallest limit of this process's control groups and those above them.

    Args:
        root: where ``proc`` and ``sys`` are.
    """
    machine = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return min([machine, *_limits(root)])


def _limits(root: Path) -> list[int]:
    """What control groups say, of either version; groups without a limit say "max", or a number beyond any memory."""
    try:
        lines = (root / "proc/self/cgroup").read_text().splitlines()
    except OSError:
        return []
    limits = []
    for line in lines:
        _, controllers, group = line.split(":", 2)
        if controllers == "":
            mounted, name = root / "sys/fs/cgroup", "memory.max"
        elif "memory" in controllers.split(","):
            mounted, name = root / "sys/fs/cgroup/memory", "memory.limit_in_bytes"
        else:
            continue
        # In a container the group may be named as outside, and its folder be the mounted one.
        folder = mounted / group.strip("/")
        for place in (folder, *folder.parents):
            limits += _number(place / name)
            if place == mounted:
                break
    return limits


def _number(path: Path) -> list[int]:
    try:
        text = path.read_text().strip()
    except OSError:
        return []
    return [int(text)] if text.isdigit() else []
