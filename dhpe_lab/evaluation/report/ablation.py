"""Results of ``dhpe ablate``: tables in Markdown and JSON, curves as SVG."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from dhpe_lab.evaluation.report.charts import Chart, draw_charts
from dhpe_lab.evaluation.report.pages import table

_FIGURES = {"err2d_pct": ("2D %", ".2f"), "mask_iou": ("IoU", ".3f"), "auc_20_50": ("AUC", ".3f")}
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
    parts = [", ".join(f"{name} {value}" for name, value in about.items()) + "."]
    for steps, sets in _measured(results).items():
        parts.append(f"**After {steps} refinement steps**" if steps else "**Networks alone**")
        columns = {
            (name, key): (f"{name} {title}", form)
            for name in sets
            for key, (title, form) in _FIGURES.items()
        }
        rows = [
            (row["label"], {(name, key): sets[name][row["label"]]["figures"][key]
                            for name, key in columns})
            for row in results
        ]  # fmt: skip
        parts.append(table("variant", rows, columns))
    parts.append("\n".join([_LEGEND, *(f"- {n} failed: {why}" for n, why in failed.items())]))
    return "\n\n".join(parts) + "\n"


def charts(results: Sequence[dict]) -> list[list[Chart]]:
    """A row for each number of refinement steps, a chart for each set."""
    rows = []
    for steps, sets in _measured(results).items():
        refined = f"after {steps} refinement steps" if steps else "networks alone"
        row = []
        for name, by_label in sets.items():
            curves = {label: one["curve"] for label, one in by_label.items()}
            lines = {label: (curve["thresholds"], curve["pck"]) for label, curve in curves.items()}
            below = f"error below, {next(iter(curves.values()))['unit']}"
            row.append(Chart(f"{name}, {refined}", below, "share of joints", lines))
        rows.append(row)
    return rows


def _measured(results: Sequence[dict]) -> dict[int, dict[str, dict[str, dict]]]:
    """Number of refinement steps -> set -> variant -> what was measured."""
    found: dict[int, dict[str, dict[str, dict]]] = {}
    for row in results:
        for one in row["measured"]:
            sets = found.setdefault(one["refinement_steps"], {})
            sets.setdefault(one["set_name"], {})[row["label"]] = one
    return dict(sorted(found.items()))
