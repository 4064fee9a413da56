"""Two processes that talk by gloo, started once for all tests here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch.multiprocessing import get_context

PROCESSES = 2


class Processes:
    """Processes of one group; each call runs a function of a module on all of them at the same time."""

    def __init__(self, folder: Path) -> None:
        context = get_context("spawn")
        self._ends, self._processes = [], []
        for rank in range(PROCESSES):
            ours, theirs = context.Pipe()
            process = context.Process(target=_work, args=(rank, folder / "store", theirs), daemon=True)
            process.start()
            self._ends.append(ours)
            self._processes.append(process)

    def run(self, function: Callable[..., Any], *arguments: Any) -> list[Any]:
        """What ``function(rank, *arguments)`` returns on each; raises the first of what they raise."""
        for end in self._ends:
            end.send((function, arguments))
        answers = [end.recv() for end in self._ends]
        for answer in answers:
            if isinstance(answer, Exception):
                raise answer
        return answers

    def end(self) -> None:
        for end in self._ends:
            end.send(None)
        for process in self._processes:
            process.join()


def _work(rank: int, store: Path, end: Any) -> None:
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{store}", rank=rank, world_size=PROCESSES, timeout=timedelta(seconds=60)
    )
    while (task := end.recv()) is not None:
        function, arguments = task
        try:
            end.send(function(rank, *arguments))
        except Exception as error:  # the test shall say what it is
            end.send(error)
    dist.destroy_process_group()


@pytest.fixture(scope="session")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    started = Processes(tmp_path_factory.mktemp("processes"))
    yield started
    started.end()
