"""A report as Markdown, for repositories and issues."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from tagnn_fast.experiments.compare_report import Block, Heading, Paragraph, Rows


def markdown(blocks: Iterable[Block]) -> str:
    """Headings, text and tables; plots are left to the HTML."""
    return "\n\n".join(text for block in blocks if (text := _block(block))) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {_escaped(block.text)}"
    if isinstance(block, Paragraph):
        return _escaped(block.text)
    if isinstance(block, Rows):
        rule = ["---", *["---:"] * (len(block.headers) - 1)]
        lines = [_row(block.headers), f"| {' | '.join(rule)} |", *map(_row, block.rows)]
        return f"{_escaped(block.caption)}:\n\n" + "\n".join(lines)
    return ""


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    """Names may have any characters; underscores inside words mean nothing in Markdown."""
    return re.sub(r"([\\`*|<>\[\]])", r"\\\1", " ".join(text.split()))
