"""The HTTP service: one process, one scoring thread, one bounded queue. Needs the extra ``serve``."""

from tagnn_fast.extras import needed_by

with needed_by("tagnn_fast.serving.app"):
    import msgspec  # noqa: F401
    import starlette  # noqa: F401
