"""Line charts as plain SVG, which browsers and documents show as they are."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

# Okabe and Ito's colours, which most people can tell apart; further lines are dashed.
COLORS = ("#000000", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
_DASHES = ("", "6 3", "2 3")
_WIDTH, _HEIGHT = 300, 220  # pixels of one chart's area
_LEFT, _TOP, _GAP_X, _GAP_Y, _LEGEND_ROW = 60, 34, 70, 84, 20


@dataclass(frozen=True)
class Chart:
    """Lines over a common x axis.

    Unless told otherwise x has six even ticks, and y runs from a round number below all lines to 1,
    or to the highest.
    """

    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, tuple[Sequence[float], Sequence[float]]]  # label -> x, y
    x_ticks: Sequence[tuple[float, str]] = ()
    y_range: tuple[float, float] | None = None


def draw_charts(rows: Sequence[Sequence[Chart]]) -> str:
    """An SVG document: rows of charts and one legend for all; labels keep their colours."""
    labels = list(dict.fromkeys(label for row in rows for chart in row for label in chart.lines))
    columns = max((len(row) for row in rows), default=1)
    width = _LEFT + columns * (_WIDTH + _GAP_X)
    legend = _TOP + len(rows) * (_HEIGHT + _GAP_Y)
    height = legend + -(-len(labels) // columns) * _LEGEND_ROW + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
    ]
    for i, row in enumerate(rows):
        for j, chart in enumerate(row):
            x, y = _LEFT + j * (_WIDTH + _GAP_X), _TOP + i * (_HEIGHT + _GAP_Y)
            parts.append(f'<g transform="translate({x} {y})">')
            parts += [*_axes(chart), *_lines(chart, labels), "</g>"]
    for k, label in enumerate(labels):
        x = _LEFT + k % columns * (_WIDTH + _GAP_X)
        y = legend + k // columns * _LEGEND_ROW
        parts.append(f'<path d="M{x} {y - 4}h28" {_stroke(k)}/>')
        parts.append(svg_text(x + 36, y, label, "start"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _axes(chart: Chart) -> list[str]:
    (x_low, x_high), (y_low, y_high) = _ranges(chart)
    parts = [f'<path d="M0 0V{_HEIGHT}H{_WIDTH}" stroke="#888" fill="none"/>']
    even = [x_low + k / 5 * (x_high - x_low) for k in range(6)]
    for value, name in chart.x_ticks or [(value, f"{value:g}") for value in even]:
        x = (value - x_low) / (x_high - x_low) * _WIDTH
        parts.append(svg_text(x, _HEIGHT + 16, name, "middle"))
    for k in range(6):
        y = (1 - k / 5) * _HEIGHT
        parts.append(f'<path d="M0 {y:.1f}H{_WIDTH}" stroke="#e4e4e4" fill="none"/>')
        parts.append(svg_text(-6, y + 4, f"{y_low + k / 5 * (y_high - y_low):.2f}", "end"))
    parts.append(svg_text(_WIDTH / 2, -10, chart.title, "middle", "bold"))
    parts.append(svg_text(_WIDTH / 2, _HEIGHT + 34, chart.x_label, "middle"))
    turned = f'<g transform="translate(-42 {_HEIGHT / 2}) rotate(-90)">'
    return [*parts, turned, svg_text(0, 0, chart.y_label, "middle"), "</g>"]


def _lines(chart: Chart, labels: Sequence[str]) -> list[str]:
    (x_low, x_high), (y_low, y_high) = _ranges(chart)
    parts = []
    for label, (xs, ys) in chart.lines.items():
        points = " ".join(
            f"{(x - x_low) / (x_high - x_low) * _WIDTH:.1f},"
            f"{(y_high - y) / (y_high - y_low) * _HEIGHT:.1f}"
            for x, y in zip(xs, ys, strict=True)
        )
        parts.append(f'<polyline points="{points}" {_stroke(labels.index(label))}/>')
    return parts


def _ranges(chart: Chart) -> tuple[tuple[float, float], tuple[float, float]]:
    xs = [x for line in chart.lines.values() for x in line[0]]
    ys = [y for line in chart.lines.values() for y in line[1]]
    around = (math.floor(10 * min(ys)) / 10, max(1.0, max(ys)))
    return (min(xs), max(xs)), chart.y_range or around


def _stroke(number: int) -> str:
    color = COLORS[number % len(COLORS)]
    dash = _DASHES[number // len(COLORS) % len(_DASHES)]
    return f'stroke="{color}" stroke-width="1.6" stroke-dasharray="{dash}" fill="none"'


def svg_text(x: float, y: float, text: str, anchor: str, weight: str = "normal") -> str:
    about = f'text-anchor="{anchor}" font-weight="{weight}"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {about}>{escape(text)}</text>'
