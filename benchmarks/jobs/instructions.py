"""Instructions that ops execute on arm64, beside those on x86-64: speed cannot be measured under emulation, work can.

    python -m benchmarks.jobs.instructions build/arm64 > TABLE.md

build/arm64 is what ``make arm64`` leaves: an arm64 Debian in ``root``, packages in ``packages`` and this one in
``installed``. Each machine is QEMU's user mode with a plugin that counts (instructions.c), one thread, the same inputs;
an op is called twice, and the second call counts. QEMU knows no AVX-512.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import torch

HERE = Path(__file__)
GETPPID = {"aarch64": 173, "x86_64": 110}  # numbers of the system call that marks where an op begins and ends
HIDDEN, TOP = 100, 20


def ops() -> Iterator[tuple[str, Callable[[], object]]]:
    """What is counted, by name, and a call of it."""
    from tagnn_fast import TAGNNPP, ModelConfig, SessionBatch
    from tagnn_fast.ops import item_screen, session_graph, target_attention_cross_entropy, target_attention_topk

    def batch(sessions: int, items: int) -> SessionBatch:
        lengths = torch.arange(sessions) % 9 + 2
        offsets = torch.cat([torch.zeros(1, dtype=torch.int64), lengths.cumsum(0)])
        return SessionBatch(torch.arange(int(offsets[-1])) * 7919 % items, offsets)

    torch.manual_seed(0)
    few, many = 2_000, 50_000
    small, large = TAGNNPP(ModelConfig(few)).eval(), TAGNNPP(ModelConfig(many)).eval()
    table, catalogue = small.item_embedding.weight.detach(), large.item_embedding.weight.detach()
    targets = torch.arange(64) * 31 % few
    screen = item_screen(catalogue)
    with torch.no_grad():
        one, sessions = large.encode(*batch(1, many)), small.encode(*batch(64, few))
    learned = sessions._replace(session=sessions.session.clone().requires_grad_())
    learned_table = table.clone().requires_grad_()

    def step() -> None:
        target_attention_cross_entropy(learned, learned_table, targets).sum().backward()

    yield "session graphs, 64 sessions", lambda: session_graph(*batch(64, few))
    yield "encoder, 64 sessions", lambda: small.encode(*batch(64, few))
    yield "top 20 of 2,000 items, 64 sessions", lambda: target_attention_topk(sessions, table, TOP)
    yield "loss and gradients, 2,000 items, 64 sessions", step
    yield "top 20 of 50,000 items, one session", lambda: target_attention_topk(one, catalogue, TOP)
    yield "the same by a screen", lambda: target_attention_topk(one, catalogue, TOP, screen=screen)


def call_all() -> None:
    """What runs in the emulator: marks where each op begins and ends, and says its name."""
    for name, call in ops():
        with torch.set_grad_enabled("gradients" in name):
            call()
            os.getppid()
            call()
            os.getppid()
        print(name, flush=True)


def counted(command: list[str], machine: str, plugin: Path, environment: dict[str, str]) -> dict[str, int]:
    """Instructions of each op on a machine, whose emulator and Python are `command`."""
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        counting = ["-d", "plugin", "-D", str(log), "-plugin", f"{plugin},marker={GETPPID[machine]}"]
        process = subprocess.run(
            [command[0], *counting, *command[1:], "-P", "-m", "benchmarks.jobs.instructions", "--inside"],
            env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
            stdout=subprocess.PIPE,
            text=True,
            check=True,
        )
        marks = [int(line) for line in log.read_text().split()]
    names = process.stdout.splitlines()
    between = [end - begin for begin, end in pairwise(marks)][-2 * len(names) + 1 :: 2]  # importing has marks, too
    return dict(zip(names, between, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("arm64", type=Path, nargs="?")
    parser.add_argument("--inside", action="store_true", help="call the ops; what the emulators run")
    arguments = parser.parse_args()
    if arguments.inside:
        call_all()
        return
    if arguments.arm64 is None:
        parser.error("arm64: expected the folder that `make arm64` leaves")
    folder = arguments.arm64.resolve()
    with tempfile.TemporaryDirectory() as built:
        plugin = Path(built) / "libinstructions.so"
        source = HERE.with_suffix(".c")
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-fvisibility=hidden", source, "-o", plugin], check=True)
        arm64 = ["qemu-aarch64", "-L", str(folder / "root"), str(folder / "root/usr/bin/python3.11")]
        root = str(HERE.parents[2])
        packages = ":".join([str(folder / "installed"), str(folder / "packages"), root])
        x86 = ["qemu-x86_64", "-cpu", "max", sys.executable]
        counts = {"arm64 (NEON)": counted(arm64, "aarch64", plugin, {"PYTHONPATH": packages})}
        for name, capability in (("x86-64 (SSE2)", "baseline"), ("x86-64 (AVX2)", "avx2")):
            counts[name] = counted(x86, "x86_64", plugin, {"PYTHONPATH": root, "TAGNN_FAST_CPU_CAPABILITY": capability})
    print(f"| millions of instructions | {' | '.join(counts)} |\n| --- |{' ---: |' * len(counts)}")
    for name in next(iter(counts.values())):
        print(f"| {name} | {' | '.join(f'{of[name] / 1e6:,.2f}' for of in counts.values())} |")


if __name__ == "__main__":
    main()
