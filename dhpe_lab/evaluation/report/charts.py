"""Line and bar charts as SVG, which browsers and documents show as they are."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import product

import numpy as np

try:
    import matplotlib
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise ImportError(
        "charts need matplotlib; pip install -r requirements/training.txt brings it"
    ) from error

# Okabe and Ito's colours, which most people can tell apart; further lines are dashed.
COLORS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_STYLES = [(color, dash) for dash, color in product(("-", "--", ":"), COLORS)]
_LOOK = {
    "svg.fonttype": "none",  # text stays text
    "svg.hashsalt": "dhpe",  # the same chart is the same file
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "axes.titleweight": "bold",
    "axes.titlesize": 9,
}


@dataclass(frozen=True)
class Chart:
    """Lines over a common x axis.

    Unless told otherwise y runs from a round number below all lines to 1, or to the highest.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]  # label -> x, y
    x_ticks: Sequence[tuple[float, str]] = ()
    y_range: tuple[float, float] | None = None


def draw_charts(rows: Sequence[Sequence[Chart]]) -> bytes:
    """Draw rows of charts with one legend for all; a label keeps its colour. Return SVG."""
    labels = dict.fromkeys(label for row in rows for chart in row for label in chart.lines)
    styles = {label: _STYLES[k % len(_STYLES)] for k, label in enumerate(labels)}
    columns = max((len(row) for row in rows), default=1)
    with matplotlib.rc_context(_LOOK):
        figure = Figure(figsize=(4.2 * columns, 3.1 * len(rows) + 0.3), layout="constrained")
        grid = figure.subplots(len(rows), columns, squeeze=False)
        for axes in grid.flat:
            axes.set_axis_off()
        handles = {}
        for axes_of_row, row in zip(grid, rows, strict=True):
            for axes, chart in zip(axes_of_row, row, strict=False):  # a row may be shorter
                axes.set_axis_on()
                handles |= _draw_lines(axes, chart, styles)
        figure.legend(
            [handles[label] for label in labels], list(labels), ncols=columns,
            loc="outside lower left", frameon=False,
        )  # fmt: skip
        return _svg(figure)


def draw_bars(
    title: str,
    y_label: str,
    names: Sequence[str],
    bars: Mapping[str, Sequence[float | None]],
) -> bytes:
    """Draw a group of bars for each name; ``bars``: label -> heights, None for no bar.

    Return SVG.
    """
    with matplotlib.rc_context(_LOOK):
        figure = Figure(figsize=(max(3.6, 0.8 + 0.46 * len(names)), 3.3), layout="constrained")
        axes = figure.subplots()
        thick = 0.76 / max(len(bars), 1)
        places = np.arange(len(names)) - 0.38 + thick / 2
        for k, (label, values) in enumerate(bars.items()):
            known = [i for i, value in enumerate(values) if value is not None]
            drawn = axes.bar(places[known] + k * thick, [values[i] for i in known], thick,
                             label=label, color=COLORS[(k + 1) % len(COLORS)])  # fmt: skip
            for i, bar in zip(known, drawn, strict=True):
                bar.set_gid(f"{names[i]}: {label}")
        axes.grid(visible=False, axis="x")
        axes.set_xticks(range(len(names)), names, rotation=40, ha="right")
        axes.set(title=title, ylabel=y_label)
        figure.legend(ncols=2, loc="outside lower left", frameon=False)
        return _svg(figure)


def _draw_lines(axes: Axes, chart: Chart, styles: Mapping[str, tuple[str, str]]) -> dict:
    """Draw a chart and return the line of each label."""
    handles = {}
    for label, (xs, ys) in chart.lines.items():
        color, dash = styles[label]
        name = f"{chart.title}: {label}"
        (handles[label],) = axes.plot(xs, ys, color=color, ls=dash, linewidth=1.4, gid=name)
    lowest = min(min(ys) for _, ys in chart.lines.values())
    highest = max(max(ys) for _, ys in chart.lines.values())
    axes.set_ylim(chart.y_range or (math.floor(10 * lowest) / 10, max(1.0, highest)))
    axes.margins(x=0)
    if chart.x_ticks:
        places, names = zip(*chart.x_ticks, strict=True)
        axes.set_xticks(places, names)
    axes.set(title=chart.title, xlabel=chart.x_label, ylabel=chart.y_label)
    return handles


def _svg(figure: Figure) -> bytes:
    drawn = io.BytesIO()
    figure.savefig(drawn, format="svg", metadata={"Date": None})
    return drawn.getvalue()
