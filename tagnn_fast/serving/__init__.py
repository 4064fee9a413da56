"""What is exported of a trained run, the folder that holds it, what loads it, and the HTTP service: :func:`app`."""

from typing import TYPE_CHECKING

from tagnn_fast.lazy import when_used

if TYPE_CHECKING:
    from tagnn_fast.serving.http.application import app
    from tagnn_fast.serving.in_shards import served_in_shards
    from tagnn_fast.serving.served_model import load

__all__ = ["app", "load", "served_in_shards"]

__getattr__ = when_used(__name__, {"app": "http.application", "load": "served_model", "served_in_shards": "in_shards"})
