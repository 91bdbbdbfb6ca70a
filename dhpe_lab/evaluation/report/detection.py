"""Report on whole pictures: figures by set, faults by kind, and the pictures that have some."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np

from dhpe_lab.evaluation.detection import SearchedPicture, fault_counts
from dhpe_lab.evaluation.report import pages
from dhpe_lab.evaluation.report.pictures import jpeg_of
from dhpe_ros.media.pictures import read_image
from dhpe_ros.rendering.overlay import draw_overlay
from dhpe_ros.types import BONES

_COLUMNS: pages.Columns = {
    "pictures": ("pictures", ""),
    "hands": ("hands", ""),
    "recall": ("recall", ".3f"),
    "small_hands": ("small hands", ""),
    "recall_small": ("their recall", ".3f"),
    "precision": ("precision", ".3f"),
    "side_pct": ("side right %", ".1f"),
    "err2d_pct": ("2D %", ".2f"),
    "err2d_median_pct": ("2D median %", ".2f"),
    "with_hand_pct": ("with a hand %", ".1f"),
}
_CELL = 320, 240  # pixels of a picture on a sheet, at most
_CAPTION = 18
_ACROSS, _PER_SHEET = 4, 24


def write_report(
    folder: Path,
    name: str,
    figures: Mapping[str, Mapping[str, object]],
    searched: Sequence[SearchedPicture],
) -> None:
    """Write ``report.md``, ``report.html`` and their sheets; ``figures`` by row of the table."""
    faulty = [one for one in searched if one.faults]
    sheets = {f"faults_{k}.jpg": sheet for k, sheet in enumerate(_sheets(faulty), 1)}
    text = pages.render(
        "detection.md.jinja",
        name=name,
        rows=list(figures.items()),
        columns=_COLUMNS,
        counts=list(fault_counts(searched).items()),
        sheets=list(sheets),
    )
    pages.write(folder, text, sheets)


def _sheets(pictures: Sequence[SearchedPicture]) -> Iterator[bytes]:
    """JPEGs of the pictures, those of the same kind of fault together."""
    ordered = sorted(pictures, key=lambda one: sorted(one.faults))
    for first in range(0, len(ordered), _PER_SHEET):
        yield jpeg_of([_cell(one) for one in ordered[first : first + _PER_SHEET]], _ACROSS)


def _cell(picture: SearchedPicture) -> np.ndarray:
    """The found hands, white bones of labels that have a fault, and the faults' names above."""
    over = draw_overlay(read_image(picture.frame.picture), picture.found)
    for label, hand in zip(picture.frame.hands, picture.hands, strict=True):
        points = [tuple(point) for point in label.joints_px.round().astype(int).tolist()]
        for start, end in BONES if hand.fault else ():
            cv2.line(over, points[start], points[end], (255, 255, 255), 2, cv2.LINE_AA)
    height, width = over.shape[:2]
    scale = min(_CELL[0] / width, _CELL[1] / height)
    size = max(1, round(scale * width)), max(1, round(scale * height))
    cell = np.full((_CELL[1] + _CAPTION, _CELL[0] + 4, 3), 255, np.uint8)
    cell[_CAPTION : _CAPTION + size[1], : size[0]] = cv2.resize(
        over, size, interpolation=cv2.INTER_AREA
    )
    caption = f"{picture.frame.source}: {', '.join(picture.faults)}"
    cv2.putText(cell, caption, (2, 13), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (40, 45, 60), 1, cv2.LINE_AA)
    return cell
