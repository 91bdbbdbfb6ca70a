"""The files of ``dhpe evaluate --report``: ``report.html``, ``report.md``, ``figures.json``."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
import yaml
from markupsafe import Markup

from dhpe_lab.evaluation.measure import Measured
from dhpe_lab.evaluation.methods import METHODS
from dhpe_lab.evaluation.metrics import ALIGNMENTS
from dhpe_lab.evaluation.report import pages
from dhpe_lab.evaluation.report.charts import Chart, draw_bars, draw_charts
from dhpe_lab.evaluation.report.cited import cited_tables
from dhpe_lab.evaluation.report.pictures import mask_tiles, overlay_tiles, sheet
from dhpe_lab.evaluation.report.refinement import markdown as refinement_tables
from dhpe_lab.evaluation.report.refinement import picture as refinement_curves
from dhpe_lab.evaluation.score import curve, headline
from dhpe_ros import __version__
from dhpe_ros.types import FINGERS, JOINT_NAMES

_PICTURED = 3  # hands of each kind
_CURVE_MM = np.arange(0.0, 61.0, 2.0)
_CURVE_PCT = np.arange(0.0, 25.5, 1.0)
_UNITS = {"mm": "mm", "pct": "% of the joints' box"}

_HEADLINE = {
    "n": ("hands", ""),
    "found_pct": ("found %", ".1f"),
    "side_pct": ("side %", ".1f"),
    "err2d_pct": ("2D %", ".2f"),
    "err2d_median_pct": ("median", ".2f"),
    "err2d_px": ("2D px", ".2f"),
    "mask_iou": ("IoU", ".3f"),
    "auc_20_50": ("AUC 20-50", ".3f"),
    "auc_20_50_all": ("AUC all", ".3f"),
    "mpjpe_mm": ("MPJPE mm", ".1f"),
    "pa_mpjpe_mm": ("PA-MPJPE", ".1f"),
    "ms": ("ms/hand", ".0f"),
}
_MASKS = {key: (key, ".1%") for key in ("iou", "precision", "recall", "f1")}
_JITTER = {
    "jitter_pct": ("% of the box", ".2f"),
    "jitter_mm": ("mm about the root", ".2f"),
    "jitter_absolute_mm": ("mm in the camera", ".2f"),
}


def write_report(
    folder: Path,
    measured: Sequence[Measured],
    ranges_mm: Sequence[tuple[float, float]],
    refinement_rows: Sequence[dict] = (),
) -> None:
    """The report of one or more sets and methods; errors as in the readers of the sets."""
    settings = measured[0].question.settings()
    by_set: dict[str, list[Measured]] = {}
    for one in measured:
        by_set.setdefault(one.labelled.name, []).append(one)
    pictures: dict[str, bytes] = {}
    if charts := [chart for some in by_set.values() for chart in _curves(some)]:
        pictures["pck.svg"] = draw_charts([charts[k : k + 2] for k in range(0, len(charts), 2)])
    if refinement_rows:
        pictures["refinement.svg"] = refinement_curves(refinement_rows)
    sets = [_of_set(some, number, pictures) for number, some in enumerate(by_set.values())]
    aligned = dict.fromkeys(headline(one.scores) for one in measured if one.details["alignments"])
    where = environment()
    text = pages.render(
        "report.md.jinja",
        about=f"Weights {settings['model.weights']}, {settings['refinement.steps']} refinement "
        f"steps at most, by {settings['refinement.optimizer']}. torch {where['torch']}, "
        f"{where['machine']}, GPU {where['gpu']}.",
        overview=[_overview(one) for one in measured],
        headline_columns=_HEADLINE,
        aligned="; ".join(ALIGNMENTS[how] for how in aligned),
        alignments=ALIGNMENTS,
        alignment_columns={
            "mpjpe_mm": ("MPJPE mm", ".1f"),
            "median_mm": ("median mm", ".1f"),
            "vertices_mm": ("vertices mm", ".1f"),
            **{f"auc_{a:g}_{b:g}": (f"AUC {a:g}-{b:g}", ".3f") for a, b in ranges_mm},
        },
        mask_columns=_MASKS,
        jitter_columns=_JITTER,
        finger_columns={name: (name, ".1f") for name in ("wrist", *FINGERS)},
        pictures=pictures,
        sets=sets,
        refinement=Markup(refinement_tables("", refinement_rows)) if refinement_rows else "",
        methods={name: METHODS[name] for name in {one.question.method: 0 for one in measured}},
        listings={
            "exact configuration": yaml.safe_dump(settings, sort_keys=False),
            "environment": yaml.safe_dump(where, sort_keys=False),
        },
    )
    pages.write(folder, text, pictures)
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
    content = {"environment": where, "rows": rows, "refinement": list(refinement_rows)}
    figures = json.dumps(content, indent=1, allow_nan=False) + "\n"
    pages.replace_file(folder / "figures.json", figures.encode())


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


def _overview(one: Measured) -> tuple[str, dict]:
    """Name and figures of a row."""
    searched = ", searched" if one.question.search else ""
    aligned = one.details["alignments"]
    figures = {
        **one.figures,
        "mpjpe_mm": aligned.get(headline(one.scores), {}).get("mpjpe_mm"),
        "pa_mpjpe_mm": aligned.get("Procrustes", {}).get("mpjpe_mm"),
        "ms": sum(one.ms.values()) if one.ms else None,
    }
    return f"{one.labelled.name}{searched}: {one.question.method}", figures


def _of_set(some: Sequence[Measured], number: int, pictures: dict[str, bytes]) -> dict[str, object]:
    """Values of the template for one set, all methods; what is drawn goes to ``pictures``."""
    first, name = some[0], some[0].labelled.name
    details = {one.question.method: one.details for one in some}
    unit = next((u for u in _UNITS if u in first.details["by_joint"]), "")
    joints = [(m, d["by_joint"][unit]) for m, d in details.items() if unit in d["by_joint"]]
    if joints:
        bars = {method: [by[joint] for joint in JOINT_NAMES] for method, by in joints}
        title = f"{name}: mean error of each joint"
        pictures[f"joints_{number}.svg"] = draw_bars(title, _UNITS[unit], JOINT_NAMES, bars)
    calibration = first.details["calibration"]
    if calibration:
        pictures[f"trust_{number}.svg"] = _calibration_bars(name, calibration)
    sheets = {}
    for kind, caption, content in _sheets(first):
        pictures[f"{kind}_{number}.jpg"], sheets[f"{kind}_{number}.jpg"] = content, caption
    return {
        "name": name,
        "alignments": [(f"{m}: {how}", figures) for m, d in details.items()
                       for how, figures in d["alignments"].items()],
        "used": list(dict.fromkeys(how for d in details.values() for how in d["alignments"])),
        "masks": [(m, d["masks"]) for m, d in details.items() if d["masks"]],
        "cited": cited_tables(name),
        "jitter": [(m, d["steadiness"]) for m, d in details.items() if "steadiness" in d],
        "unit": _UNITS.get(unit),
        "joints": joints,
        "sheets": sheets,
        "calibration": list(calibration.items()),
        "timings": [(one.question.method, one.ms) for one in some] if first.ms else [],
        "stages": {stage: (stage, ".1f") for one in some for stage in one.ms},
    }  # fmt: skip


def _curves(some: Sequence[Measured]) -> Iterator[Chart]:
    """One chart of a set: 3D-PCK where it is known, else in the picture."""
    name, below = some[0].labelled.name, "error below, mm"
    title = f"{name}: 3D-PCK, {headline(some[0].scores)}"
    lines = {one.question.method: (_CURVE_MM, curve(one.scores, _CURVE_MM)) for one in some}
    if all(shares is None for _, shares in lines.values()):
        title, below = f"{name}: 2D", "error below, % of the joints' box"
        lines = {one.question.method: (_CURVE_PCT, _pck_2d(one)) for one in some}
    known = {method: (xs, ys) for method, (xs, ys) in lines.items() if ys is not None}
    if known:
        yield Chart(title, below, "share of joints", known, (), (0, 1))


def _pck_2d(one: Measured) -> np.ndarray | None:
    errors = [s.errors_pct for s in one.scores if s.errors_pct is not None]
    if not errors:
        return None
    known = np.concatenate(errors)
    known = known[np.isfinite(known)]
    return (known[:, None] <= _CURVE_PCT).mean(0)


def _sheets(one: Measured) -> Iterator[tuple[str, str, bytes]]:
    """Name, caption and JPEG: best, median and worst; where nothing is labelled, the first ones."""
    pairs = [(p, s) for p, s in zip(one.predictions, one.scores, strict=True) if p.hand]
    method = one.question.method
    ranked = [(p, s, float(np.nanmean(s.errors_pct))) for p, s in pairs if s.errors_pct is not None]
    ranked.sort(key=lambda row: row[2])
    if ranked:
        middle = max(0, len(ranked) // 2 - _PICTURED // 2)
        for kind, first in (("best", 0), ("median", middle), ("worst", -_PICTURED)):
            rows = ranked[first:][:_PICTURED]
            captions = [f"{error:.1f} %" + ("" if s.errors_mm is None else
                        f", {np.nanmean(s.errors_mm):.0f} mm") for _, s, error in rows]  # fmt: skip
            content = sheet(one.labelled, [p for p, _, _ in rows], captions, overlay_tiles)
            yield kind, f"{kind}, {method}: by the 2D error; labels are white", content
    elif pairs:
        rows = pairs[: 2 * _PICTURED]
        captions = [f"score {p.hand.score:.2f}, residual {s.residual_pct or 0:.1f} %"
                    for p, s in rows]  # fmt: skip
        content = sheet(one.labelled, [p for p, _ in rows], captions, overlay_tiles)
        yield "first", f"the first pictures, {method}; nothing is labelled", content
    masked = sorted((row for row in pairs if row[1].mask), key=lambda row: row[1].mask.iou)
    if masked:
        places = np.linspace(0, len(masked) - 1, 2 * _PICTURED + 1).round().astype(int)
        rows = [masked[k] for k in dict.fromkeys(places[1:].tolist())]
        captions = [f"IoU {s.mask.iou:.2f}" for _, s in rows]
        caption = "segmentation, from worse to better: green in both masks, red in the found one "
        caption += "alone, blue in the true one alone"
        yield "masks", caption, sheet(one.labelled, [p for p, _ in rows], captions, mask_tiles)


def _calibration_bars(name: str, found: dict[str, dict]) -> bytes:
    """Bars of the mean error of each fifth of the hands, ordered by what we say ourselves."""
    unit = "mm" if any(key.endswith("mm") for key in found) else "pct"
    bars = {
        key.split(" to ")[0]: [mean for _, mean, _ in about["bins"]]
        for key, about in found.items()
        if key.endswith(unit)
    }
    fifths = ["lowest", "2nd", "3rd", "4th", "highest"]
    return draw_bars(f"{name}: error of each fifth of the hands", _UNITS[unit], fifths, bars)
