"""How far the parts that exist carry: training and answering with 10 and 100 million items, on paper.

    python -m benchmarks.jobs.scaling_plan > PLAN.md

From figures measured elsewhere in this repository (`MACHINES` says where) and counts of bytes and operations; what is
assumed and not measured (links between machines, that many cores are as much faster as they are more) is marked so.
docs/scaling.md has what this prints.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

ROWS = 6.15  # 1 + 2 · nodes of Diginetica's training prefixes, on average
HIDDEN_SIZE = 100
BATCH = 4096
EXAMPLES = 100_000_000  # of the epoch that is planned
MEASURED_ITEMS, MEASURED_BATCH = 43_097, 512


@dataclass(frozen=True)
class Machine:
    """What holds one shard.

    Attributes:
        name: in the tables.
        step_milliseconds: measured: target attention, forward and backward, at the measured size.
        faster: assumed: as many times as many of what was measured.
        gigabytes_per_second: measured: of its memory.
        memory_gigabytes: that it has.
        link_gigabytes_per_second: assumed: to the others.
    """

    name: str
    step_milliseconds: float
    faster: float
    gigabytes_per_second: float
    memory_gigabytes: float
    link_gigabytes_per_second: float

    @property
    def operations_per_second(self) -> float:
        """Of the loss, forward and backward."""
        return operations(MEASURED_BATCH, MEASURED_ITEMS) / (self.step_milliseconds / 1e3) * self.faster


# reports/gpu: 3.28 ms in bfloat16, memory 4,246 GB/s. benchmarks/NOTES.md, "medium": 309 ms on two cores of a Zen 4
# that read 24.8 GB/s; of a node with 64 such cores it is assumed that memory is twelve times as fast.
GPU = Machine("H200", 3.28, 1, 4246, 141, 450)
GPU_FAR = Machine("H200", 3.28, 1, 4246, 141, 50)
NODE = Machine("node of 64 cores", 309, 32, 24.8 * 12, 384, 12.5)
MACHINES: Sequence[tuple[int, Machine]] = ((8, GPU), (64, GPU_FAR), (32, NODE))


def main() -> None:
    """Print the tables."""
    print(
        table(
            ("items", "machines", "memory of each", "loss", "update", "on the wire", "examples/s", "epoch"), training()
        )
    )
    print(table(("items", "machines", "vectors", "one session", "512 sessions"), answering()))


def operations(sessions: float, items: float) -> float:
    """Of target attention's loss: the products forward, again, and two backward, each a multiplication and a sum."""
    return 8 * ROWS * HIDDEN_SIZE * sessions * items


def training() -> Iterator[list[str]]:
    """A step of BATCH examples with a catalogue in shards, and an epoch of EXAMPLES."""
    for items in (10_000_000, 100_000_000):
        for count, machine in MACHINES:
            rows = items / count
            memory = 24 * HIDDEN_SIZE * rows / 1e9  # vector, two moments, gradient, and what puts it together
            loss = operations(BATCH, rows) / machine.operations_per_second
            update = 4 * 14.5 * HIDDEN_SIZE * rows / 1e9 / machine.gigabytes_per_second
            wire = 4 * BATCH * (2 * ROWS * HIDDEN_SIZE + 6) / 1e9 / machine.link_gigabytes_per_second
            rate = BATCH / (loss + update + wire)
            fits = "" if memory < machine.memory_gigabytes else " (too much)"
            yield [
                f"{items / 1e6:.0f} M",
                f"{count} × {machine.name}",
                f"{memory:.1f} GB{fits}",
                duration(loss),
                duration(update),
                duration(wire),
                f"{rate:,.0f}",
                duration(EXAMPLES / rate),
            ]


def answering() -> Iterator[list[str]]:
    """The best items from the plain table: reading it once, or its products, whichever takes longer."""
    for items in (10_000_000, 100_000_000):
        for count, machine in ((1, GPU), (8, GPU), (1, NODE), (8, NODE)):
            vectors = 4 * HIDDEN_SIZE * items / count / 1e9
            times = [
                max(
                    vectors / machine.gigabytes_per_second,
                    operations(sessions, items / count) / 4 / machine.operations_per_second,
                )
                for sessions in (1, 512)
            ]
            fits = "" if vectors < machine.memory_gigabytes else " (too much)"
            yield [
                f"{items / 1e6:.0f} M",
                f"{count} × {machine.name}",
                f"{vectors:.1f} GB each{fits}",
                *map(duration, times),
            ]


def duration(seconds: float) -> str:
    """In a unit that suits."""
    for unit, size in (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds * 1e6:.0f} µs"


def table(headings: Sequence[str], rows: Iterator[list[str]]) -> str:
    """As Markdown."""
    return "".join(f"| {' | '.join(cells)} |\n" for cells in [headings, ["---"] * len(headings), *rows])


if __name__ == "__main__":
    main()
