"""From raw click logs to data sets, by DuckDB on this machine or by Spark: the extras `prepare` and `spark`."""

from tagnn_fast.logs.engines import DuckDB, Engine, Spark
from tagnn_fast.logs.files import LogFiles, find_files
from tagnn_fast.logs.formats import FORMATS, LogFormat
from tagnn_fast.logs.options import PAPER, PrepareOptions
from tagnn_fast.logs.prepare import prepare_logs
from tagnn_fast.logs.update import update_dataset

__all__ = [
    "FORMATS",
    "PAPER",
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
