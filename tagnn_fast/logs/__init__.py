"""From raw click logs to data sets, by DuckDB on this machine or by Spark: the extras `prepare` and `spark`."""

from typing import TYPE_CHECKING

from tagnn_fast.lazy import when_used
from tagnn_fast.logs.files import LogFiles, find_files
from tagnn_fast.logs.formats import FORMATS, LogFormat
from tagnn_fast.logs.options import PUBLISHED, PrepareOptions

if TYPE_CHECKING:
    from tagnn_fast.logs.engines import DuckDB, Engine, Spark
    from tagnn_fast.logs.prepare import prepare_logs
    from tagnn_fast.logs.update import update_dataset

__all__ = [
    "FORMATS",
    "PUBLISHED",
    "DuckDB",
    "Engine",
    "LogFiles",
    "LogFormat",
    "PrepareOptions",
    "Spark",
    "find_files",
    "prepare_logs",
    "update_dataset",
]

# What needs the extras.
__getattr__ = when_used(
    __name__,
    {
        "DuckDB": "engines",
        "Engine": "engines",
        "Spark": "engines",
        "prepare_logs": "prepare",
        "update_dataset": "update",
    },
)
