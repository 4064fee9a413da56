"""What the documentation makes of docstrings."""

from __future__ import annotations

import re

from tests.support import ROOT


def test_what_is_returned_is_no_type() -> None:
    """Sphinx takes what is before a colon in the first line of `Returns:` for a type."""
    lines = [
        line
        for path in (ROOT / "tagnn_fast").rglob("*.py")
        for line in re.findall(r"(?:Returns|Yields):\n +([^\n]+)", path.read_text(encoding="utf-8"))
    ]
    assert len(lines) > 40
    assert [line for line in lines if re.search(r":(\s|$)", re.sub(r"(:\w+:)?`+[^`]*`+", "", line))] == []
