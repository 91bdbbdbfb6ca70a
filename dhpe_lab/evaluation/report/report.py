"""The files of ``dhpe evaluate --report``: ``report.html``, ``report.md``, ``figures.json``."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
import yaml

from dhpe_lab.evaluation.measure import Measured
from dhpe_lab.evaluation.methods import METHODS
from dhpe_lab.evaluation.metrics import ALIGNMENTS
from dhpe_lab.evaluation.report import pages
from dhpe_lab.evaluation.report.charts import Chart, draw_bars, draw_charts
from dhpe_lab.evaluation.report.cited import cited_tables
from dhpe_lab.evaluation.report.pages import Block, Figure, Heading, Listing, Table, Text
from dhpe_lab.evaluation.report.pictures import mask_tiles, overlay_tiles, sheet
from dhpe_lab.evaluation.report.refinement import markdown as refinement_tables
from dhpe_lab.evaluation.report.refinement import picture as refinement_curves
from dhpe_lab.evaluation.score import curve, headline
from dhpe_ros import __version__
from dhpe_ros.types import FINGERS, JOINT_NAMES

TITLE = "dhpe_ros: evaluation"
_PICTURED = 3  # hands of each kind
_CURVE_MM = np.arange(0.0, 61.0, 2.0)
_CURVE_PCT = np.arange(0.0, 25.5, 1.0)

_HEADLINE = (
    ("hands", "n", "{}"),
    ("found %", "found_pct", "{:.1f}"),
    ("side %", "side_pct", "{:.1f}"),
    ("2D %", "err2d_pct", "{:.2f}"),
    ("median", "err2d_median_pct", "{:.2f}"),
    ("2D px", "err2d_px", "{:.2f}"),
    ("IoU", "mask_iou", "{:.3f}"),
    ("AUC 20-50", "auc_20_50", "{:.3f}"),
    ("AUC all", "auc_20_50_all", "{:.3f}"),
)
_LEGEND = (
    "2D %: mean distance of the joints in the picture, in percent of the longer side of the "
    "labelled joints' box; median: over the hands; IoU: mean overlap of silhouette and mask; "
    "AUC: area under the 3D-PCK curve from 20 to 50 mm over the hands that were found, and over "
    "all hands, where one that was not found is wrong. 3D figures here are {alignments}."
)


def write_report(
    folder: Path,
    measured: Sequence[Measured],
    ranges_mm: Sequence[tuple[float, float]],
    refinement_rows: Sequence[dict] = (),
) -> None:
    """The report of one or more sets and methods; errors as in the readers of the sets."""
    blocks = blocks_of(measured, ranges_mm, refinement_rows)
    pages.write(folder, TITLE, blocks)
    rows = [
        {
            "set": one.labelled.name,
            "method": one.question.method,
            "search": one.question.search,
            **one.figures,
            "details": one.details,
            "ms": one.ms,
            "settings": one.question.settings(),
        }
        for one in measured
    ]
    content = {"environment": environment(), "rows": rows, "refinement": list(refinement_rows)}
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    pages.replace_file(folder / "figures.json", text.encode())


def blocks_of(
    measured: Sequence[Measured],
    ranges_mm: Sequence[tuple[float, float]],
    refinement_rows: Sequence[dict] = (),
) -> list[Block]:
    """Blocks of the report, in order."""
    settings = measured[0].question.settings()
    about = f"Weights {settings['model.weights']}, {settings['refinement.steps']} refinement steps "
    about += f"at most, by {settings['refinement.optimizer']}. {environment_line()}"
    blocks: list[Block] = [Text(about), Heading("Overview"), headline_table(measured)]
    blocks.append(Text(legend(measured)))
    blocks += _curve_figures(measured)
    for number, name in enumerate(dict.fromkeys(one.labelled.name for one in measured)):
        some = [one for one in measured if one.labelled.name == name]
        blocks += [Heading(name), *_of_set(some, number, ranges_mm)]
    if refinement_rows:
        blocks += [
            Heading("Errors against refinement steps"),
            Figure("refinement.svg", refinement_curves(refinement_rows), "Eq. 13 with Adam, "
                   "Levenberg-Marquardt as configured, and the fitting baselines as levels."),
            Listing("the tables", refinement_tables("", refinement_rows)),
        ]  # fmt: skip
    methods = dict.fromkeys(one.question.method for one in measured)
    blocks += [
        Heading("How this was made"),
        Table(("method", "what it is"), [(n, METHODS[n]) for n in methods], numbers=False),
        Listing("exact configuration", yaml.safe_dump(settings, sort_keys=False)),
        Listing("environment", yaml.safe_dump(environment(), sort_keys=False)),
    ]
    return blocks


def headline_table(measured: Sequence[Measured]) -> Table:
    """A row for each set and method; columns that no row has are left out."""
    columns = [c for c in _HEADLINE if any(one.figures[c[1]] is not None for one in measured)]
    rows = []
    for one in measured:
        given = ", searched" if one.question.search else ""
        cells = [_cell(one.figures[key], form) for _, key, form in columns]
        errors = one.details["alignments"].get(headline(one.scores), {}).get("mpjpe_mm")
        turned = one.details["alignments"].get("Procrustes", {}).get("mpjpe_mm")
        spent = f"{sum(one.ms.values()):.0f}" if one.ms else "-"
        cells += [_cell(errors, "{:.1f}"), _cell(turned, "{:.1f}"), spent]
        rows.append((f"{one.labelled.name}{given}: {one.question.method}", *cells))
    names = [title for title, _, _ in columns]
    return Table(("set: method", *names, "MPJPE mm", "PA-MPJPE", "ms/hand"), rows)


def legend(measured: Sequence[Measured]) -> str:
    """Explain the columns, with the alignments that were used."""
    used = dict.fromkeys(headline(one.scores) for one in measured if one.details["alignments"])
    return _LEGEND.format(alignments="; ".join(ALIGNMENTS[how] for how in used) or "not known")


def environment() -> dict[str, object]:
    """Versions and machine, on which timings and the last digits depend."""
    return {
        "dhpe_ros": __version__,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "machine": f"{platform.machine()}, {os.cpu_count()} CPU cores",
        "torch threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none",
    }


def environment_line() -> str:
    where = environment()
    return f"torch {where['torch']}, {where['machine']}, GPU {where['gpu']}."


def _of_set(some: Sequence[Measured], number: int, ranges_mm) -> list[Block]:
    first = some[0]
    blocks: list[Block] = [*_alignment_table(some, ranges_mm), *_mask_table(some)]
    blocks += cited_tables(first.labelled.name)
    if first.details.get("steadiness"):
        blocks.append(_steadiness_table(some))
    blocks += _joint_figures(some, number)
    blocks += _pictures(first, number)
    blocks += _calibration(first, number)
    if first.ms:
        stages = dict.fromkeys(stage for one in some for stage in one.ms)
        rows = [(one.question.method, *(_cell(one.ms.get(s), "{:.1f}") for s in stages))
                for one in some]  # fmt: skip
        blocks += [Heading("Timings", 3), Table(("median ms a hand", *stages), rows)]
    return blocks


def _alignment_table(some: Sequence[Measured], ranges_mm) -> list[Block]:
    ranges = [f"auc_{low:g}_{high:g}" for low, high in ranges_mm]
    rows = []
    for one in some:
        for how, figures in one.details["alignments"].items():
            cells = [_cell(figures[key], "{:.1f}") for key in ("mpjpe_mm", "median_mm")]
            cells += [_cell(figures["vertices_mm"], "{:.1f}")]
            cells += [_cell(figures[key], "{:.3f}") for key in ranges]
            rows.append((f"{one.question.method}: {how}", *cells))
    if not rows:
        return []
    names = [f"AUC {low:g}-{high:g}" for low, high in ranges_mm]
    header = ("method: alignment", "MPJPE mm", "median mm", "vertices mm", *names)
    used = dict.fromkeys(how for one in some for how in one.details["alignments"])
    text = "; ".join(f"{how}: {ALIGNMENTS[how]}" for how in used)
    return [Heading("3D by alignment", 3), Table(header, rows), Text(text + ".")]


def _mask_table(some: Sequence[Measured]) -> list[Block]:
    rows = [
        (one.question.method, *(f"{100 * one.details['masks'][key]:.1f}" for key in
                                ("iou", "precision", "recall", "f1")))
        for one in some
        if one.details["masks"]
    ]  # fmt: skip
    if not rows:
        return []
    table = Table(("method, %", "IoU", "precision", "recall", "F1"), rows)
    text = "Over all foreground pixels of the set together, as in the paper's Table 2."
    return [Heading("Masks", 3), table, Text(text)]


def _steadiness_table(some: Sequence[Measured]) -> Table:
    keys = ("jitter_pct", "jitter_mm", "jitter_absolute_mm")
    rows = [
        (one.question.method, *(_cell(one.details["steadiness"][key], "{:.2f}") for key in keys))
        for one in some
        if "steadiness" in one.details
    ]
    header = ("jitter, per frame^2", "% of the box", "mm about the root", "mm in the camera")
    return Table(header, rows)


def _curve_figures(measured: Sequence[Measured]) -> list[Block]:
    """One chart a set: 3D-PCK where it is known, else in the picture."""
    charts = []
    for name in dict.fromkeys(one.labelled.name for one in measured):
        some = [one for one in measured if one.labelled.name == name]
        in_mm = {one.question.method: curve(one.scores, _CURVE_MM) for one in some}
        in_mm = {label: (_CURVE_MM, ys) for label, ys in in_mm.items() if ys is not None}
        if in_mm:
            title = f"{name}: 3D-PCK, {headline(some[0].scores)}"
            charts.append(Chart(title, "error below, mm", "share of joints", in_mm, (), (0, 1)))
            continue
        in_pct = {one.question.method: _pck_2d(one) for one in some}
        in_pct = {label: line for label, line in in_pct.items() if line is not None}
        if in_pct:
            below = "error below, % of the joints' box"
            charts.append(Chart(f"{name}: 2D", below, "share of joints", in_pct, (), (0, 1)))
    if not charts:
        return []
    rows = [charts[k : k + 2] for k in range(0, len(charts), 2)]
    caption = "Share of the joints whose error is below a threshold, of the hands that were found."
    return [Figure("pck.svg", draw_charts(rows), caption)]


def _pck_2d(one: Measured) -> tuple[np.ndarray, np.ndarray] | None:
    errors = [s.errors_pct for s in one.scores if s.errors_pct is not None]
    if not errors:
        return None
    known = np.concatenate(errors)
    known = known[np.isfinite(known)]
    return _CURVE_PCT, (known[:, None] <= _CURVE_PCT).mean(0)


def _joint_figures(some: Sequence[Measured], number: int) -> list[Block]:
    unit = next((u for u in ("mm", "pct") if u in some[0].details["by_joint"]), None)
    if unit is None:
        return []
    found = {one.question.method: one.details["by_joint"][unit] for one in some
             if unit in one.details["by_joint"]}  # fmt: skip
    label = "mm" if unit == "mm" else "% of the joints' box"
    rows = [(method, *(_cell(by[f], "{:.1f}") for f in ("wrist", *FINGERS)))
            for method, by in found.items()]  # fmt: skip
    bars = {method: [by[name] for name in JOINT_NAMES] for method, by in found.items()}
    title = f"{some[0].labelled.name}: mean error of each joint"
    return [
        Heading("By joint and finger", 3),
        Figure(f"joints_{number}.svg", draw_bars(title, label, JOINT_NAMES, bars),
               "1 to 4: from the finger's base to its tip."),
        Table((f"mean error, {label}", "wrist", *FINGERS), rows),
    ]  # fmt: skip


def _pictures(one: Measured, number: int) -> list[Block]:
    """Best, median and worst; where nothing is labelled, the first ones."""
    shown = [(p, s) for p, s in zip(one.predictions, one.scores, strict=True) if p.hand]
    if not shown:
        return []
    blocks: list[Block] = [Heading("Pictures", 3)]
    labelled = [(p, s, float(np.nanmean(s.errors_pct))) for p, s in shown
                if s.errors_pct is not None]  # fmt: skip
    if labelled:
        ranked = sorted(labelled, key=lambda row: row[2])
        middle = max(0, len(ranked) // 2 - _PICTURED // 2)
        kinds = {
            "best": ranked[:_PICTURED],
            "median": ranked[middle : middle + _PICTURED],
            "worst": ranked[-_PICTURED:],
        }
        for kind, rows in kinds.items():
            captions = [f"{error:.1f} %" + ("" if s.errors_mm is None else
                        f", {np.nanmean(s.errors_mm):.0f} mm") for _, s, error in rows]  # fmt: skip
            content = sheet(one.labelled, [p for p, _, _ in rows], captions, overlay_tiles)
            caption = f"{kind}, {one.question.method}: by the 2D error; labels are white"
            blocks.append(Figure(f"{kind}_{number}.jpg", content, caption))
    else:
        rows = shown[: 2 * _PICTURED]
        captions = [f"score {p.hand.score:.2f}, residual {s.residual_pct or 0:.1f} %"
                    for p, s in rows]  # fmt: skip
        content = sheet(one.labelled, [p for p, _ in rows], captions, overlay_tiles)
        caption = f"the first pictures, {one.question.method}; nothing is labelled"
        blocks.append(Figure(f"first_{number}.jpg", content, caption))
    masked = sorted((row for row in shown if row[1].mask), key=lambda row: row[1].mask.iou)
    if masked:
        places = np.linspace(0, len(masked) - 1, 2 * _PICTURED + 1).round().astype(int)
        rows = [masked[k] for k in dict.fromkeys(places[1:].tolist())]
        captions = [f"IoU {s.mask.iou:.2f}" for _, s in rows]
        content = sheet(one.labelled, [p for p, _ in rows], captions, mask_tiles)
        caption = "segmentation, from worse to better: green in both masks, red in the found one "
        caption += "alone, blue in the true one alone"
        blocks.append(Figure(f"masks_{number}.jpg", content, caption))
    return blocks


def _calibration(one: Measured, number: int) -> list[Block]:
    """Bars of the mean error of each fifth of the hands, ordered by what we say ourselves."""
    found = one.details["calibration"]
    if not found:
        return []
    names = ["lowest", "2nd", "3rd", "4th", "highest"]
    unit = "mm" if any(key.endswith("mm") for key in found) else "pct"
    bars = {
        key.split(" to ")[0]: [mean for _, mean, _ in about["bins"]]
        for key, about in found.items()
        if key.endswith(unit)
    }
    title = f"{one.labelled.name}: error of each fifth of the hands"
    label = "mm" if unit == "mm" else "% of the joints' box"
    rows = [(key, f"{about['rank_correlation']:.2f}") for key, about in found.items()]
    text = (
        "Hands are ordered by the residual of the refinement (mesh to 2D evidence, of the mesh's "
        "box) or by the confidence of the 2D joints, and cut into fifths. A residual that tells "
        "when a hand is wrong rises with the error (rank correlation near 1); a confidence falls."
    )
    return [
        Heading("Does it know when it is wrong?", 3),
        Figure(f"trust_{number}.svg", draw_bars(title, label, names, bars), text),
        Table(("signal", "rank correlation"), rows),
    ]


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else form.format(value)
