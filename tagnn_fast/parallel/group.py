"""Groups of processes: started, joined, watched and ended together."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

from tagnn_fast.parallel.layout import Layout, environment_of, layout_of_started
from tagnn_fast.parallel.processes import ALONE, LostProcessError, Processes, connected

TIMEOUT = timedelta(minutes=10)  # for a machine that is silent: those of processes that end are closed at once
GRACE = 20.0  # seconds that a process has to end by itself
_READY = "ready\n"
_SERVERS: dict[int, dist.TCPStore] = {}  # of this process, where it is the first, by port: kept for groups to come
_FAULTS = (OSError, ValueError, TypeError, MemoryError, ArithmeticError)  # what a line says all of
GO_ON = "the training goes on from its newest checkpoint by --resume, or the same call, with any number of processes"


@contextmanager
def joined(layout: Layout, worker: str, advice: str = GO_ON, timeout: timedelta = TIMEOUT) -> Iterator[Processes]:
    """All processes of a layout, while the block runs; those that this one has to start are started, and end with it.

    Args:
        layout: where this process stands.
        worker: module that a started process runs, which calls :func:`run_worker`.
        advice: what to do when one is lost.
        timeout: how long one may be silent, and all others wait for it.

    Raises:
        LostProcessError: where another one ends before its time, saying which and how as far as it is known.
        ValueError: where this process is in a process group already.
    """
    if not layout.processes.is_group:
        yield ALONE
        return
    if dist.is_initialized():
        raise ValueError("devices: expected no process group in this process yet, got one")
    processes = layout.processes
    with _share_of_threads(layout) as threads:
        store: Any = None if layout.started_by == "torchrun" else _store(layout)
        siblings = _Siblings(layout, store.port if store is not None else 0, worker, threads, advice)
        patience = 0.0
        try:
            siblings.wait_until_ready()
            with connected(processes):
                # Small things of the host go by gloo on machines with GPUs, too: nothing waits for these.
                backend = "cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo"
                if store is None:
                    store, _, _ = next(dist.rendezvous("env://", processes.rank, processes.count, timeout=TIMEOUT))
                # Groups that met there before have left what they said: this one is apart from them, by its number.
                number = store.add(f"tagnn_fast/groups of rank {processes.rank}", 1)
                met = dist.PrefixStore(f"tagnn_fast/{number}", store)
                options: Any = {"store": met, "rank": processes.rank, "world_size": processes.count}
                dist.init_process_group(backend, timeout=timeout, **options)
                try:
                    yield processes
                finally:
                    dist.destroy_process_group()
            patience = GRACE
        except LostProcessError as error:
            raise LostProcessError(f"{siblings.lost_after(GRACE) or error}; {advice}") from error
        finally:
            siblings.end(patience)


def _store(layout: Layout) -> dist.TCPStore:
    """Where the processes meet; at a port that was given, all groups of the first process do."""
    if layout.port in _SERVERS:
        return _SERVERS[layout.port]
    first = layout.processes.is_first
    store = dist.TCPStore(layout.address, layout.port, None, first, TIMEOUT, wait_for_workers=False)
    if first and layout.port:
        _SERVERS[layout.port] = store
    return store


@contextmanager
def _share_of_threads(layout: Layout) -> Iterator[int]:
    """Share the threads with the other processes of this machine, unless the environment says how many to take."""
    before = torch.get_num_threads()
    share = before
    if "OMP_NUM_THREADS" not in os.environ:
        share = max(1, before // layout.devices)
    torch.set_num_threads(share)
    try:
        yield share
    finally:
        torch.set_num_threads(before)


class _Siblings:
    """The other processes of this machine, where this one starts them.

    Each reads from this one until it is no more, and ends then; what it says in the end is read here.
    """

    def __init__(self, layout: Layout, port: int, worker: str, threads: int, advice: str) -> None:
        self.advice = advice
        self.count, self.first = layout.processes.count, layout.processes.rank
        self.started: list[subprocess.Popen[str]] = []
        self._over = threading.Event()
        if layout.started_by != "this":
            return
        # -P: what lies in the present folder is no module of ours.
        command = [sys.executable, "-P", "-m", worker]
        general = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path), "OMP_NUM_THREADS": str(threads)}
        # Signals of the terminal and of who ends us are for this process; it tells the others.
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM})
        try:
            for number in range(1, layout.devices):
                environment = {**os.environ, **general, **environment_of(number, layout, port)}
                self.started.append(
                    subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment)
                )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        threading.Thread(target=self._watch, daemon=True).start()

    def wait_until_ready(self) -> None:
        """Wait until all are about to join; raises LostProcessError where one never is."""
        for process in self.started:
            assert process.stdout is not None
            if process.stdout.readline() != _READY:
                raise LostProcessError(f"lost one of {self.count} processes")

    def lost_after(self, seconds: float) -> str:
        """The one that has ended, and how, if one does so within some seconds."""
        until = time.monotonic() + seconds
        while self.started and not (lost := self._lost()) and time.monotonic() < until:
            time.sleep(0.05)
        return lost if self.started else ""

    def _lost(self) -> str:
        for rank, process in enumerate(self.started, start=self.first + 1):
            if process.poll():
                assert process.stdout is not None
                how = process.stdout.read().strip() or f"ended with status {process.returncode}"
                if process.returncode < 0:
                    how = f"ended by {signal.Signals(-process.returncode).name}"
                return f"lost rank {rank} of {self.count} processes: {how}"
        return ""

    def _watch(self) -> None:
        """End this process where it does not notice by itself that another has ended, as one that waits for a GPU."""
        while not self._over.wait(0.5):
            if any(process.poll() for process in self.started) and not self._over.wait(3 * GRACE):
                os.write(2, f"error: {self._lost()}; {self.advice}\n".encode())
                for process in self.started:
                    process.kill()
                os._exit(1)

    def end(self, seconds: float) -> None:
        """Wait for their end, and end those that are there after some seconds."""
        self._over.set()
        until = time.monotonic() + seconds
        for process in self.started:
            with suppress(subprocess.TimeoutExpired):
                process.wait(max(0.0, until - time.monotonic()))
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                assert pipe is not None
                with suppress(OSError):
                    pipe.close()


def run_worker(
    work: Callable[[Processes], object], worker: str, advice: str = GO_ON, timeout: timedelta = TIMEOUT
) -> None:
    """What a process does that another has started: it joins, works, and says there what went wrong.

    Args:
        work: in the group.
        worker: see :func:`joined` for this and the others.
        advice: what to do when one is lost.
        timeout: how long one may be silent.
    """
    said = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what else is printed is not for the one who reads there
    layout = layout_of_started()
    threading.Thread(target=_end_with_the_first, args=(layout, advice), daemon=True).start()
    try:
        said.write(_READY)
        said.flush()
        with joined(layout, worker, advice, timeout) as processes:
            work(processes)
    except KeyboardInterrupt:
        return  # all were stopped
    except (LostProcessError, BrokenPipeError):
        if os.environ.get("TAGNN_FAST_TRACEBACK"):
            traceback.print_exc()
        time.sleep(GRACE)  # ended before by the one who started this
        sys.exit(1)
    except BaseException as error:
        if not isinstance(error, _FAULTS):
            traceback.print_exc()
        said.write(" ".join(f"{error}".split()) or type(error).__name__)
        said.close()
        sys.exit(1)


def _end_with_the_first(layout: Layout, advice: str) -> None:
    """End this process with the one that started it, which never writes."""
    while os.read(0, 1):
        pass
    processes = layout.processes
    if processes.local_rank == 1:  # one of them says so
        who = processes.rank - processes.local_rank
        os.write(2, f"error: lost rank {who} of {processes.count} processes; {advice}\n".encode())
    os._exit(1)
