"""What an engine's errors say in a line."""

from __future__ import annotations

import pytest

from tagnn_fast.logs.running import engine_errors


def raised(message: str) -> Exception:
    """One of an engine's."""
    return type("Failed", (Exception,), {"__module__": "pyspark.errors"})(message)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            "Job aborted due to stage failure: Task 0 in stage 1.0 failed 4 times\nTraceback (most recent call last):\n"
            '  File "worker.py", line 1, in main\nFileNotFoundError: run: expected a run folder\n\n\tat java.Thread',
            "recommend: FileNotFoundError: run: expected a run folder",
        ),
        ("An error occurred while calling o1.x.\n: java.io.IOException: No space left", "recommend: : java.io.IOExcep"),
        ("[JAVA_GATEWAY_EXITED] Java gateway process exited", "recommend: [JAVA_GATEWAY_EXITED] Java gateway process"),
        ("", "recommend: failed, and does not say why"),
    ],
)
def test_line(message: str, line: str) -> None:
    with pytest.raises(OSError) as error, engine_errors("recommend"):
        raise raised(message)
    assert str(error.value).startswith(line)
    assert "\n" not in str(error.value)


def test_other_errors_stay() -> None:
    with pytest.raises(KeyError), engine_errors("recommend"):
        raise KeyError("x")
