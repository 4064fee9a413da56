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
    "wandb": ("wandb", "pytorch_lightning"),
    "tracing": ("opentelemetry",),
}


class MissingPackageError(ModuleNotFoundError):
    """A package is missing that an extra has.

    Attributes:
        extra: its name; of several that have the package, the one that is wanted.
    """

    def __init__(self, message: str, name: str | None, extra: str | None) -> None:
        super().__init__(message, name=name)
        self.extra = extra


def how_to_install(error: ModuleNotFoundError, who: str, extra: str | None = None) -> str | None:
    """What `who` needs and how to install it, by this extra if it has that; None where none has."""
    module = (error.name or "").split(".")[0]
    extra = error.extra if isinstance(error, MissingPackageError) else extra
    extras = [name for name, modules in EXTRAS.items() if module in modules]
    extra = extra if extra in extras else next(iter(extras), None)
    return f"{who} needs {module}: pip install 'tagnn_fast[{extra}]'" if extra is not None else None


@contextmanager
def needed_by(who: str, extra: str | None = None) -> Iterator[None]:
    """Let the error of a package that is missing say which extra has it: this one, where several have.

    Raises:
        MissingPackageError: in the place of Python's own, with the same name.
    """
    try:
        yield
    except ModuleNotFoundError as error:
        message = how_to_install(error, who, extra)
        if message is None:
            raise
        raise MissingPackageError(message, error.name, extra) from None


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
