"""The report: one HTML file that needs nothing else, names as they are, and tables that a screen reader can follow."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from tagnn_fast.data import PrefixExamples
from tagnn_fast.evaluation.ranks import rank_targets
from tagnn_fast.experiments.compare_html import page
from tagnn_fast.experiments.compare_markdown import markdown
from tagnn_fast.experiments.compare_report import Bars, Heading, Lines, Points, Rows, report
from tagnn_fast.experiments.compare_results import Comparison, make_comparison
from tagnn_fast.experiments.compare_trials import Ended, LeftOut, Trial
from tests.experiments.comparisons import DATA

ODD = '<script>alert("1")</script> & $x_1$ | `b` \\'
NAMES = ["vs_knn", ODD, *(f"network {number}" for number in range(8))]
EXAMPLES = PrefixExamples(DATA.test)
VOID = {"meta", "br", "img", "link", "input", "hr"}


def ended(name: str, seed: int, skill: int) -> Ended:
    """Of a method that recommends a window of items around the last click."""

    def recommend(batch: Any, k: int) -> torch.Tensor:
        last = batch.items[batch.offsets[1:] - 1].clamp(min=1) - 1
        return (last[:, None] + torch.arange(k) + 3 * skill + seed) % len(DATA.vocabulary) + 1

    ranked = rank_targets(recommend, EXAMPLES, DATA.vocabulary)
    options = {"protocol": "held-out", "options": {"neighbours": 30}}
    return Ended(
        Trial(name, seed, options),
        options,
        ranked,
        ranked.figures,
        1.5 + seed,
        0.1 * skill + 0.1,
        0.01,
        1000,
        4096,
        ODD,
    )


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    outcomes = [ended(name, seed, skill) for skill, name in enumerate(NAMES) for seed in range(1 if skill == 0 else 2)]
    left_out = LeftOut("sr_gnn", 1, f"the budget was spent {ODD}")
    data = dataclasses.replace(DATA, name=ODD)
    return make_comparison(data, "held-out", [*outcomes, left_out], 7200.0, 5000.0)


class Page(HTMLParser):
    """Checks that elements are closed in their order, and keeps what there is."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open, self.tags, self.attributes = list[str](), Counter[str](), list[tuple[str, str, str]]()
        self.texts = list[str]()
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(tag, name, value or "") for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


@pytest.fixture(scope="module")
def html(comparison: Comparison) -> str:
    return page(list(report(comparison)))


def test_needs_nothing_else(html: str) -> None:
    """No script, and nothing that a browser would fetch."""
    found = Page(html)
    assert not found.tags.keys() & {"script", "link", "iframe", "object", "embed", "img", "image", "base"}
    for tag, name, value in found.attributes:
        assert name != "src"
        assert not name.startswith("on"), (tag, name)
        if name.endswith("href"):
            assert value.startswith("#"), value
        for reference in re.findall(r"url\(([^)]*)\)", value):
            assert reference.startswith("#")
    assert "@import" not in html
    assert not re.findall(r"url\((?!#)", html)


def test_ids_and_what_refers_to_them(html: str) -> None:
    attributes = Page(html).attributes
    ids = [value for _, name, value in attributes if name == "id"]
    assert len(ids) == len(set(ids)) > 0
    referred = {value[1:] for _, name, value in attributes if name.endswith("href")}
    referred |= set(re.findall(r"url\(#([^)]*)\)", html))
    assert referred <= set(ids)


def test_names_are_text(html: str) -> None:
    found = Page(html)
    assert sum(ODD in text for text in found.texts) > 10
    assert "<script" not in html
    assert found.tags["svg"] == 5
    labels = [value for tag, name, value in found.attributes if tag == "figure" and name == "aria-label"]
    assert len(labels) == 5
    assert all(ODD in label for label in labels)


def test_tables_have_headers(html: str, comparison: Comparison) -> None:
    """Each with a caption, and a header for each column and each row."""
    tables = [block for block in report(comparison) if isinstance(block, Rows)]
    scopes = Counter(value for tag, name, value in Page(html).attributes if (tag, name) == ("th", "scope"))
    assert Page(html).tags["caption"] == len(tables)
    assert scopes == {"col": sum(len(t.headers) for t in tables), "row": sum(len(t.rows) for t in tables)}
    for table in tables:
        assert {len(row) for row in table.rows} == {len(table.headers)}


def test_markdown(comparison: Comparison) -> None:
    """Rows have as many cells as their headers, whatever the names."""
    text = markdown(report(comparison))
    for table in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    assert "<script" not in text.replace("\\<", "")
    assert text.startswith("# Comparison on \\<script")


def test_what_comes_first(comparison: Comparison) -> None:
    """Which method is best in a plain sentence and a short table, and what was left out."""
    blocks = list(report(comparison))
    heading, sentence, table, _, left_out = blocks[:5]
    assert isinstance(heading, Heading)
    best = max(comparison.methods, key=lambda method: method.figures["HR@20"].mean)
    assert sentence.text.startswith(f"{best.name} finds the most: in {best.figures['HR@20'].mean:.0f} of 100 cases")
    assert "beyond" not in sentence.text
    assert isinstance(table, Rows)
    assert [row[0] for row in table.rows] == [method.name for method in comparison.methods]
    assert isinstance(left_out, Rows)
    assert left_out.rows == [["sr_gnn", "1", f"the budget was spent {ODD}"]]
    assert sum(isinstance(block, Bars | Lines | Points) for block in blocks) == 5


def test_conclusions(comparison: Comparison) -> None:
    """What they say is what the tests say."""
    for metric, sentence in zip(comparison.tests, comparison.conclusions()[1:4:2], strict=True):
        best = comparison.best(metric)
        assert best is not None
        others = [method.name for method in comparison.methods if method is not best]
        alike = {name for name in others if comparison.test(metric, best.name, name).corrected >= 0.05}
        assert ("more than chance" in sentence) == (not alike)
        assert all(name in sentence for name in alike)
    test = comparison.test("HR@20", *(method.name for method in comparison.methods[:2]))
    wide = dataclasses.replace(comparison, tests={"HR@20": [dataclasses.replace(test, low=-1.0, high=2.5)]})
    turned = wide.test("HR@20", test.second, test.first)
    assert (turned.low, turned.high, turned.interval) == (-2.5, 1.0, "-2.50 to +1.00")
    # Two seeds each; a blend is of all there are.
    few = [method.name for method in comparison.methods if method.name != "vs_knn" and not method.weights]
    assert comparison.conclusions()[4].endswith(f"3 seeds and more to see; fewer have {', '.join(few)}.")


def test_one_method_and_none(tmp_path: Path) -> None:
    alone = make_comparison(DATA, "all", [ended("vs_knn", 0, 0)], None, 1.0)
    assert "vs_knn is best" in page(list(report(alone)))
    assert "no limit" in markdown(report(alone))
    nothing = make_comparison(DATA, "all", [LeftOut("vs_knn", 0, "it was too late")], 1.0, 1.0)
    for text in (page(list(report(nothing))), markdown(report(nothing)), str(nothing)):
        assert "it was too late" in text
