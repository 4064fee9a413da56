"""Tasks by the workers of Ray: the extra `ray`."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pyarrow as pa

from tagnn_fast.scoring.tasks import Job, count_of, do_tasks, prepare_worker, workers_here

_OBJECTS = 1 << 27  # bytes of Ray's own store on this machine: nothing large goes through it


class _Worker:
    """A worker of Ray's: its model is there before its first task comes."""

    def __init__(self, job: Job) -> None:
        self._job = job
        prepare_worker(job)

    def __call__(self, tasks: pa.Table) -> pa.Table:
        return pa.Table.from_batches([do_tasks(self._job, tasks["item"].to_pylist())])


@contextmanager
def ray_cluster(master: str | None) -> Iterator[None]:
    """A connection to Ray while the block runs; ``local[2]`` and ``local[*]`` start one on this machine."""
    for name, value in (("RAY_USAGE_STATS_ENABLED", "0"), ("RAY_BACKEND_LOG_LEVEL", "fatal")):
        os.environ.setdefault(name, value)
    import ray

    master = "local[*]" if master is None else master
    here = workers_here(master)
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if here is not None:
        ray.init("local", num_cpus=count_of(here), object_store_memory=_OBJECTS, include_dashboard=False, **quiet)
    else:
        ray.init(master, **quiet)
    try:
        yield
    finally:
        ray.shutdown()


def do_on_ray(job: Job, tasks: int) -> list[dict[str, object]]:
    """Do tasks 0..tasks-1, each by itself; the rows of :data:`tagnn_fast.scoring.tasks.DONE`."""
    import ray
    import ray.data

    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.actor_task_retry_on_errors = [OSError]  # those of workers that are lost are tried again anyway
    workers = min(tasks, max(1, int(ray.cluster_resources().get("CPU", 1))))
    done = ray.data.from_items(list(range(tasks)), override_num_blocks=tasks).map_batches(
        _Worker,
        fn_constructor_args=(job,),
        batch_format="pyarrow",
        batch_size=None,
        compute=ray.data.ActorPoolStrategy(size=workers),
        num_cpus=1,
    )
    return list(done.iter_rows())
