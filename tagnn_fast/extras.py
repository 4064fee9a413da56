"""What is installed on request: which extra has a package that is missing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

EXTRAS = {
    "train": ("lightning_fabric", "tensorboard", "matplotlib"),
    "prepare": ("ibis", "duckdb"),
    "spark": ("pyspark",),
    "ray": ("ray",),
    "tune": ("optuna",),
    "serve": ("starlette", "msgspec", "uvicorn", "uvloop", "httptools", "prometheus_client", "valkey"),
    "onnx": ("onnx", "onnxscript", "onnx_ir"),
    "hub": ("huggingface_hub",),
    "mlflow": ("mlflow", "pytorch_lightning"),
    "wandb": ("wandb",),
    "tracing": ("opentelemetry",),
}


def how_to_install(error: ModuleNotFoundError, who: str) -> str | None:
    """What `who` needs and how to install it; None where the missing package is of no extra."""
    module = (error.name or "").split(".")[0]
    extra = next((extra for extra, modules in EXTRAS.items() if module in modules), None)
    return f"{who} needs {module}: pip install 'tagnn_fast[{extra}]'" if extra is not None else None


@contextmanager
def needed_by(who: str) -> Iterator[None]:
    """Let the error of a package that is missing say which extra has it.

    Raises:
        ModuleNotFoundError: in the place of Python's own, with the same name.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        message = how_to_install(error, who)
        if message is None:
            raise
        raise ModuleNotFoundError(message, name=error.name) from None


def import_pandas(who: str) -> Any:
    """The module, which nothing here depends on.

    Raises:
        ImportError: where it is not installed.
    """
    try:
        import pandas
    except ImportError:
        raise ImportError(f"{who}: expected pandas, got none: pip install pandas") from None
    return pandas


def own_spark_session(name: str, master: str, settings: Mapping[str, str]) -> SparkSession:
    """A session that nobody else has: it is stopped when its work is done.

    Raises:
        ValueError: where one runs in this process already, whose master and folders would be taken over.
    """
    from pyspark.sql import SparkSession

    if SparkSession.getActiveSession() is not None:
        raise ValueError("engine: expected no Spark session in this process, got one: stop it, or use another process")
    builder = SparkSession.builder.appName(name).master(master)
    for setting, value in settings.items():
        builder = builder.config(setting, value)
    return builder.getOrCreate()
