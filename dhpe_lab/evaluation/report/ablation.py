"""Results of ``dhpe ablate``: tables in Markdown and JSON, curves as SVG."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from dhpe_lab.evaluation.report.charts import Chart, draw_charts
from dhpe_lab.evaluation.report.pages import Table, table_lines

_FIGURES = (("err2d_pct", "2D %", "{:.2f}"), ("mask_iou", "IoU", "{:.3f}"),
            ("auc_20_50", "AUC", "{:.3f}"))  # fmt: skip
_LEGEND = (
    "2D %: mean distance of the mesh's joints in percent of the joints' box (lower is better); "
    "IoU: overlap of the silhouettes; AUC: 3D-PCK from 20 to 50 mm, root-aligned, with the true "
    "bone scale."
)


def write_report(
    folder: Path, about: Mapping[str, object], results: Sequence[dict], failed: Mapping[str, str]
) -> str:
    """Write ``ablation.json``, ``ablation.md`` and ``curves.svg``; return the Markdown."""
    content = {"about": dict(about), "variants": list(results), "failed": dict(failed)}
    text = markdown(about, results, failed)
    (folder / "ablation.json").write_text(json.dumps(content, indent=1, allow_nan=False), "utf-8")
    (folder / "ablation.md").write_text(text, "utf-8")
    if rows := charts(results):  # not where nothing was measured yet
        (folder / "curves.svg").write_bytes(draw_charts(rows))
    return text


def markdown(
    about: Mapping[str, object], results: Sequence[dict], failed: Mapping[str, str]
) -> str:
    """One table without refinement and one with it."""
    lines = [", ".join(f"{name} {value}" for name, value in about.items()) + "."]
    for steps in _refinements(results):
        title = f"After {steps} refinement steps" if steps else "Networks alone"
        lines += ["", f"**{title}**", "", *_table(results, steps)]
    lines += ["", _LEGEND]
    lines += [f"- {name} failed: {reason}" for name, reason in failed.items()]
    return "\n".join(lines) + "\n"


def charts(results: Sequence[dict]) -> list[list[Chart]]:
    """A row for each number of refinement steps, a chart for each set."""
    return [
        [_chart(results, name, steps) for name in _sets(results)] for steps in _refinements(results)
    ]


def _table(results: Sequence[dict], steps: int) -> list[str]:
    cells = {
        (row["name"], name): _of(row, name, steps)["figures"]
        for row in results
        for name in _sets(results)
    }
    columns = [
        (name, *figure)
        for name in _sets(results)
        for figure in _FIGURES
        if any(cells[row["name"], name][figure[0]] is not None for row in results)
    ]
    rows = []
    for row in results:
        values = [(cells[row["name"], name][key], form) for name, key, _, form in columns]
        shown = ["-" if value is None else form.format(value) for value, form in values]
        rows.append((row["label"], *shown))
    header = ("variant", *(f"{name} {title}" for name, _, title, _ in columns))
    return table_lines(Table(header, rows))


def _chart(results: Sequence[dict], set_name: str, steps: int) -> Chart:
    curves = {row["label"]: _of(row, set_name, steps)["curve"] for row in results}
    unit = next(iter(curves.values()))["unit"]
    lines = {label: (curve["thresholds"], curve["pck"]) for label, curve in curves.items()}
    refined = f"after {steps} refinement steps" if steps else "networks alone"
    return Chart(f"{set_name}, {refined}", f"error below, {unit}", "share of joints", lines)


def _sets(results: Sequence[dict]) -> list[str]:
    return list(dict.fromkeys(one["set_name"] for row in results for one in row["measured"]))


def _refinements(results: Sequence[dict]) -> list[int]:
    return sorted({one["refinement_steps"] for row in results for one in row["measured"]})


def _of(row: dict, set_name: str, steps: int) -> dict:
    found = (one for one in row["measured"] if one["set_name"] == set_name)
    return next(one for one in found if one["refinement_steps"] == steps)
