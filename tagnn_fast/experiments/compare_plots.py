"""The plots of a report, as SVG that stands in a page: text is text, and in the colour of the page's."""

from __future__ import annotations

import io
import re
import textwrap
from typing import Any

import matplotlib
from matplotlib.figure import Figure

from tagnn_fast.experiments.compare_report import Bars, Lines, Plot, Points

_TEXT = "#010203"  # stands for the colour of the page's text
# Told apart by people who see colours differently (Okabe & Ito), then again with other lines.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999")
_MARKERS, _DASHES = "osD^vPX", ("-", "--", ":")
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "text.parse_math": False,  # names may have dollar signs
    "font.family": "sans-serif",
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), _TEXT),
    "legend.facecolor": "none",
    "legend.edgecolor": "none",
}


def describe(plot: Plot) -> str:
    """What a plot shows, for people who do not see it."""
    if isinstance(plot, Points):
        points = zip(plot.names, plot.x, plot.y, strict=True)
        shown = "; ".join(f"{name}: {x:.2f}, {y:.2f}" for name, x, y in points)
        return f"{plot.title} ({plot.x_label}; {plot.y_label}). {shown}."
    parts = (
        f"{series}: " + ", ".join(f"{name} {value:.1f}" for name, value in zip(plot.names, values, strict=True))
        for series, values in plot.series.items()
    )
    return f"{plot.title}, in {plot.unit}. {'; '.join(parts)}."


def draw(plot: Plot, prefix: str) -> str:
    """A plot as an SVG element.

    Args:
        plot: what to draw.
        prefix: of its ids, which must differ from those of other plots in the page.
    """
    with matplotlib.rc_context({**_SETTINGS, "svg.hashsalt": prefix}):
        figure = _points(plot) if isinstance(plot, Points) else _bars(plot) if isinstance(plot, Bars) else _lines(plot)
        output = io.StringIO()
        figure.savefig(output, format="svg", transparent=True, metadata={"Date": None})
    svg = output.getvalue()
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    svg = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{prefix}-", svg)
    return svg.replace(_TEXT, "currentColor").strip()


def _bars(plot: Bars) -> Figure:
    """Horizontal, from top to bottom."""
    names = len(plot.names)
    figure = Figure(figsize=(9, 1.2 + 0.45 * names), layout="constrained")
    axes: Any = figure.add_subplot()
    height = 0.8 / len(plot.series)
    for number, (series, values) in enumerate(plot.series.items()):
        places = [name - 0.4 + height * (number + 0.5) for name in range(names)]
        deviations = plot.deviations[series] if any(plot.deviations[series]) else None
        axes.barh(places, values, height, xerr=deviations, label=series, color=_COLOURS[number], ecolor=_TEXT)
    axes.set_yticks(range(names), plot.names)
    axes.invert_yaxis()
    axes.set(title=plot.title, xlabel=plot.unit)
    _finish(axes)
    figure.legend(loc="outside right upper", fontsize=9)
    return figure


def _lines(plot: Lines) -> Figure:
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes: Any = figure.add_subplot()
    for number, (series, values) in enumerate(plot.series.items()):
        again, colour = divmod(number, len(_COLOURS))
        dash = _DASHES[again % len(_DASHES)]
        axes.plot(values, dash, color=_COLOURS[colour], marker=_MARKERS[colour], markersize=5, label=series)
    axes.set_xticks(range(len(plot.names)), [textwrap.fill(name, 16) for name in plot.names])
    axes.set(title=plot.title, ylabel=plot.unit)
    axes.set_ylim(bottom=0)
    _finish(axes)
    figure.legend(loc="outside right upper", fontsize=9)
    return figure


def _points(plot: Points) -> Figure:
    figure = Figure(figsize=(9, 4.5), layout="constrained")
    axes: Any = figure.add_subplot()
    axes.scatter(plot.x, plot.y, color=_COLOURS[0])
    for name, x, y in zip(plot.names, plot.x, plot.y, strict=True):
        axes.annotate(name, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=9)
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter("{x:g}")
    axes.xaxis.set_minor_formatter("")
    axes.set(title=plot.title, xlabel=plot.x_label, ylabel=plot.y_label)
    _finish(axes)
    return figure


def _finish(axes: Any) -> None:
    axes.grid(alpha=0.25)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
