"""Memory limits of containers, in trees like those that Linux shows."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tagnn_fast.memory import usable_memory

MACHINE = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
NO_LIMIT = "9223372036854771712"  # as version 1 writes it


@pytest.mark.parametrize(
    ("groups", "files", "expected"),
    [
        ("0::/\n", {"memory.max": "1000"}, 1000),
        ("0::/\n", {"memory.max": "max"}, MACHINE),
        ("0::/\n", {}, MACHINE),
        # The group's own limit is none, that of one above it counts; a sibling's does not.
        (
            "0::/kubepods/pod1/box\n",
            {"kubepods/pod1/box/memory.max": "max", "kubepods/pod1/memory.max": "3000", "other/memory.max": "1"},
            3000,
        ),
        ("0::/a/b\n", {"a/b/memory.max": "2000", "a/memory.max": "5000", "memory.max": "max"}, 2000),
        # The group has its name outside the container, its folder is the mounted one.
        ("0::/docker/0123\n", {"memory.max": "4000"}, 4000),
        ("0::/../outside\n", {"memory.max": "4000"}, 4000),
        # Version 1, and both at once.
        ("5:cpu,cpuacct:/a\n4:memory:/a\n", {"memory/a/memory.limit_in_bytes": "6000", "a/memory.max": "1"}, 6000),
        ("4:memory:/docker/0123\n", {"memory/memory.limit_in_bytes": "7000"}, 7000),
        ("4:memory:/\n0::/a\n", {"memory/memory.limit_in_bytes": NO_LIMIT, "a/memory.max": "8000"}, 8000),
        ("1:name=systemd:/a:b\n0::/a:b\n", {"a:b/memory.max": "9000"}, 9000),
        (None, {"memory.max": "1000"}, MACHINE),
    ],
)
def test_usable_memory(groups: str | None, files: dict[str, str], expected: int, tmp_path: Path) -> None:
    (tmp_path / "proc" / "self").mkdir(parents=True)
    if groups is not None:
        (tmp_path / "proc" / "self" / "cgroup").write_text(groups)
    for name, limit in files.items():
        path = tmp_path / "sys" / "fs" / "cgroup" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{limit}\n")
    assert usable_memory(tmp_path) == expected


def test_engines_keep_to_a_third(monkeypatch: pytest.MonkeyPatch) -> None:
    engines = pytest.importorskip("tagnn_fast.logs.engines")
    monkeypatch.setattr(engines, "usable_memory", lambda: 1_500_000_000)
    assert engines.default_memory() == 500
    monkeypatch.setattr(engines, "usable_memory", lambda: 1 << 40)
    assert engines.default_memory() == 3000


def test_this_machine() -> None:
    assert 0 < usable_memory() <= MACHINE
