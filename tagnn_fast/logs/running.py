"""An engine for a job: started in a folder of its own, and its errors in a line."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tagnn_fast.checks import check_count, check_text
from tagnn_fast.files import workspace

if TYPE_CHECKING:
    from tagnn_fast.logs.engines import Engine

EngineName = Literal["duckdb", "spark"]
_LEAST_MEMORY = 200  # megabytes
_ENGINES = ("duckdb", "_duckdb", "pyspark", "py4j", "ray")  # whose errors are of these packages
_RAISED = re.compile(r" *(\w+\.)*[A-Z]\w*Error: ")


@contextmanager
def working_folder(output: Path | None) -> Iterator[Path]:
    """A folder for what is needed only meanwhile: beside what is made, or where temporary files go."""
    if output is not None:
        with workspace(output) as folder:
            yield folder
    else:
        with tempfile.TemporaryDirectory(prefix="tagnn_fast.") as name:
            yield Path(name)


def start_engine(name: EngineName, folder: Path, time_zone: str, master: str | None, memory: int | None) -> Engine:
    """The engine of that name.

    Raises:
        TypeError, ValueError: on an unknown one, a master beside DuckDB, or too little memory.
    """
    from tagnn_fast.logs.engines import DuckDB, Spark

    memory = None if memory is None else check_count(memory, "memory", _LEAST_MEMORY)
    if master is not None:
        check_text(master, "spark_master")
    if name == "duckdb":
        if master is not None:
            raise ValueError(f"spark_master: expected none with --engine duckdb, got {master!r}")
        return DuckDB(folder, time_zone, memory)
    if name == "spark":
        return Spark(folder, time_zone, memory, master or "local[*]")
    raise ValueError(f"engine: expected duckdb or spark, got {name!r}")


@contextmanager
def engine_errors(who: str = "prepare") -> Iterator[None]:
    """What an engine cannot do, a full disk for one, is said in a line that begins with `who` wanted it.

    Raises:
        OSError: in the place of the engine's own errors.
        KeyboardInterrupt: where Ctrl-C has stopped it.
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, RuntimeError) and str(error) == "Query interrupted":
            raise KeyboardInterrupt from None
        if type(error).__module__.split(".")[0] not in _ENGINES:
            raise
        raise OSError(f"{who}: {_line(str(error))}") from error


def _line(message: str) -> str:
    """The line of an engine's error that says what is wrong."""
    lines = message.strip().splitlines() or ["failed, and does not say why"]
    if raised := [line for line in lines if _RAISED.match(line)]:
        return raised[-1].strip()  # in Python, on a worker
    # Of an exception in Java, the first line says how Python called it.
    return lines[1] if len(lines) > 1 and lines[0].startswith("An error occurred while calling") else lines[0]
