"""Results of ``dhpe study``: tables in Markdown, and curves over steps as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dhpe_lab.evaluation.report.charts import Chart, draw_charts
from dhpe_lab.evaluation.report.pages import Table, table_lines

_FIGURES = (
    ("err2d_pct", "2D %", "{:.2f}"),
    ("mask_iou", "IoU", "{:.3f}"),
    ("auc_20_50", "AUC", "{:.3f}"),
    ("objective", "E", "{:.3f}"),
)
_SPENT = (("steps_taken", "taken", "{:.1f}"), ("ms", "ms", "{:.1f}"))
_LEGEND = (
    "2D %: mean distance of the mesh's joints in percent of the joints' box; IoU: overlap of the "
    "silhouettes; AUC: 3D-PCK from 20 to 50 mm, root-aligned, with the true bone scale; E: Eq. 13 "
    "to the letter; taken: steps until convergence; ms: median of a hand alone, of the "
    "networks in the first row, beyond them in the others."
)


def markdown(about: str, rows: Sequence[dict]) -> str:
    """A table for each set."""
    parts = [about]
    for name in _sets(rows):
        table = _of(rows, name)
        parts.append(f"**{name}, {table[0]['n']} hands**")
        parts.append("\n".join(_table(table)))
    return "\n\n".join([*parts, _LEGEND]) + "\n"


def picture(rows: Sequence[dict]) -> bytes:
    """Draw a row of charts for each figure, a chart for each set that has it. Return SVG."""
    grid = [
        [_chart(_of(rows, name), key, title) for name in _sets(rows) if _has(_of(rows, name), key)]
        for key, title, _ in _FIGURES
    ]
    return draw_charts([charts for charts in grid if charts])


def _table(rows: Sequence[dict]) -> list[str]:
    columns = [column for column in (*_FIGURES, *_SPENT) if _has(rows, column[0])]
    cells = []
    for row in rows:
        steps = "-" if row["steps"] is None else str(row["steps"])
        figures = [
            "-" if key == "steps_taken" and row["steps"] is None else form.format(row[key])
            for key, _, form in columns
        ]
        cells.append((row["method"], steps, *figures))
    return table_lines(Table(("method", "steps", *(title for _, title, _ in columns)), cells))


def _chart(rows: Sequence[dict], key: str, title: str) -> Chart:
    """Numbers of steps at equal distances; what has no steps is a level."""
    steps = sorted({row["steps"] for row in rows if row["steps"] is not None})
    places = range(len(steps))
    begin = next(row[key] for row in rows if row["steps"] == 0)
    lines = {}
    for method in dict.fromkeys(row["method"] for row in rows if row["steps"] != 0):
        own = [row for row in rows if row["method"] == method]
        values = [row[key] for row in own]
        level = own[0]["steps"] is None
        lines[method] = (places, values * len(steps) if level else [begin, *values])
    highest = max(max(ys) for _, ys in lines.values())
    ticks = tuple((float(place), str(step)) for place, step in zip(places, steps, strict=True))
    return Chart(
        f"{rows[0]['set']}, {title}", "steps", title, lines, ticks, (0.0, _round_above(highest))
    )


def _round_above(value: float) -> float:
    """A multiple of half a power of ten."""
    unit = 10 ** math.floor(math.log10(max(value, 1e-6))) / 2
    return math.ceil(value / unit) * unit


def _has(rows: Sequence[dict], key: str) -> bool:
    return all(row[key] is not None for row in rows)


def _sets(rows: Sequence[dict]) -> list[str]:
    return list(dict.fromkeys(row["set"] for row in rows))


def _of(rows: Sequence[dict], name: str) -> list[dict]:
    return [row for row in rows if row["set"] == name]
