"""A report as one HTML file, which needs no network and runs nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape

from tagnn_fast.experiments.compare_plots import describe, draw
from tagnn_fast.experiments.compare_report import Block, Heading, Paragraph, Rows

_STYLE = """
:root { color-scheme: light dark; --text: #1c1f23; --page: #ffffff; --line: #d5d9de; --soft: #f3f5f7; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e4e7ea; --page: #16191c; --line: #3a4047; --soft: #21262b; }
}
body { font: 16px/1.5 system-ui, sans-serif; color: var(--text); background: var(--page);
  max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
h2 { margin-top: 2.5rem; }
.table { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.9rem; margin: 1rem 0; }
caption { text-align: left; font-weight: 600; padding-bottom: 0.3rem; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid var(--line); text-align: right; vertical-align: top;
  font-variant-numeric: tabular-nums; }
th:first-child { text-align: left; }
tbody th { font-weight: normal; }
thead th { background: var(--soft); }
tbody tr:hover { background: var(--soft); }
figure { margin: 1rem 0; overflow-x: auto; }
figure svg { max-width: 100%; height: auto; color: var(--text); }
"""


def page(blocks: Sequence[Block]) -> str:
    """The whole file."""
    title = next(block.text for block in blocks if isinstance(block, Heading))
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n<main>\n"
        f"{''.join(_blocks(blocks))}</main>\n</body>\n</html>\n"
    )


def _blocks(blocks: Iterable[Block]) -> Iterator[str]:
    for number, block in enumerate(blocks):
        if isinstance(block, Heading):
            yield f"<h{block.level}>{escape(block.text)}</h{block.level}>\n"
        elif isinstance(block, Paragraph):
            yield f"<p>{escape(block.text)}</p>\n"
        elif isinstance(block, Rows):
            yield _table(block)
        else:
            label, svg = escape(describe(block)), draw(block, f"plot{number}")
            yield f'<figure role="img" aria-label="{label}">\n{svg}\n</figure>\n'


def _table(block: Rows) -> str:
    headers = "".join(f'<th scope="col">{escape(header)}</th>' for header in block.headers)
    rows = "\n".join(
        f'<tr><th scope="row">{escape(name)}</th>{"".join(f"<td>{escape(cell)}</td>" for cell in cells)}</tr>'
        for name, *cells in block.rows
    )
    return (
        f'<div class="table" tabindex="0"><table>\n<caption>{escape(block.caption)}</caption>\n'
        f"<thead><tr>{headers}</tr></thead>\n<tbody>\n{rows}\n</tbody>\n</table></div>\n"
    )
