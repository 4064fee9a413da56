"""A process that is started, and fails in its own way: ``python -m tests.parallel.failing_work``."""

from __future__ import annotations

from tagnn_fast.parallel.group import run_worker
from tagnn_fast.parallel.processes import Processes

NAME = "tests.parallel.failing_work"


def fail(processes: Processes) -> None:
    print("no message")
    how = processes.told()
    raise MemoryError(f"{how}\nin two lines")


if __name__ == "__main__":
    run_worker(fail, NAME)
