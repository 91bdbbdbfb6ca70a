"""Results of ``dhpe study``: tables in Markdown, and curves over steps as SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence

from dhpe_lab.evaluation.report.charts import Chart, draw_charts
from dhpe_lab.evaluation.report.pages import table

_FIGURES = {
    "err2d_pct": ("2D %", ".2f"),
    "mask_iou": ("IoU", ".3f"),
    "auc_20_50": ("AUC", ".3f"),
    "objective": ("E", ".3f"),
}
_SPENT = {"steps_taken": ("taken", ".1f"), "ms": ("ms", ".1f")}
_COLUMNS = {"steps": ("steps", ""), **_FIGURES, **_SPENT}
_LEGEND = (
    "2D %: mean distance of the mesh's joints in percent of the joints' box; IoU: overlap of the "
    "silhouettes; AUC: 3D-PCK from 20 to 50 mm, root-aligned, with the true bone scale; E: Eq. 13 "
    "to the letter; taken: steps until convergence; ms: median of a hand alone, of the "
    "networks in the first row, beyond them in the others."
)


def markdown(about: str, rows: Sequence[dict]) -> str:
    """A table for each set."""
    parts = [about] if about else []
    for name, of_set in _by_set(rows).items():
        shown = [
            (row["method"], row if row["steps"] is not None else {**row, "steps_taken": None})
            for row in of_set
        ]
        parts += [f"**{name}, {of_set[0]['n']} hands**", table("method", shown, _COLUMNS)]
    return "\n\n".join([*parts, _LEGEND]) + "\n"


def picture(rows: Sequence[dict]) -> bytes:
    """Draw a row of charts for each figure, a chart for each set that has it. Return SVG."""
    grid = [
        [
            _chart(f"{name}, {title}", of_set, key, title)
            for name, of_set in _by_set(rows).items()
            if all(row[key] is not None for row in of_set)
        ]
        for key, (title, _) in _FIGURES.items()
    ]
    return draw_charts([charts for charts in grid if charts])


def _chart(heading: str, rows: Sequence[dict], key: str, title: str) -> Chart:
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
    unit = 10 ** math.floor(math.log10(max(highest, 1e-6))) / 2
    ticks = tuple((float(place), str(step)) for place, step in zip(places, steps, strict=True))
    return Chart(heading, "steps", title, lines, ticks, (0.0, math.ceil(highest / unit) * unit))


def _by_set(rows: Sequence[dict]) -> dict[str, list[dict]]:
    found: dict[str, list[dict]] = {}
    for row in rows:
        found.setdefault(row["set"], []).append(row)
    return found
