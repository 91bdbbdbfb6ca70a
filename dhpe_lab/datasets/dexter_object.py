"""Dexter+Object (Sridhar et al., ECCV 2016), as it is published: finger tips of a left hand.

FOLDER holds ``data/SEQUENCE/{color,depth,annotations}``. Line k of ``annotations/SEQUENCE3D.txt``
belongs to the k-th picture: fields ``x, y, z`` separated by ``;``, the five tips from thumb to
little finger first, in millimetres of the depth camera with x and y negated; 32001 as z is a tip
that is not labelled. The colour camera stands beside the depth camera.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dhpe_lab.datasets.labelled_hand import LabelledHand
from dhpe_ros.media import MediaError, list_folder
from dhpe_ros.types import JOINT_COUNT, JOINT_NAMES, Box, Side

SEQUENCES = ("Grasp1", "Grasp2", "Occlusion", "Rigid", "Pinch", "Rotate")
TIPS = tuple(JOINT_NAMES.index(f"{f}4") for f in ("thumb", "index", "middle", "ring", "little"))
MISSING_MM = 32001.0
# The colour camera of the set's calibration: fx, fy, cx, cy, and its place about the depth camera.
COLOR_PX = (587.45209, 600.67456, 325.0, 249.0)
COLOR_ROTATION = np.array(
    ((0.9999, 0.0034, 0.0161), (-0.0033, 1.0000, -0.0079), (-0.0162, 0.0079, 0.9998))
)
COLOR_SHIFT_MM = np.array((19.0473, -1.8514, -4.7501))
HAND_M = 0.36  # side of the square that is looked at, about the tips at their distance
_REMEDY = "unpack Dexter+Object whole and give the folder that holds data/"


def is_dexter_object(folder: Path) -> bool:
    """True if a folder holds labels of Dexter+Object."""
    return any(_labels_file(folder, sequence).is_file() for sequence in SEQUENCES)


def read_dexter_object(folder: Path) -> list[LabelledHand]:
    """The hand in each picture with a labelled tip; joints that are no labelled tip are NaN.

    Tips say little about where the rest of the hand is, so each hand comes with a box: a square of
    0.36 m about the middle of its tips. Raises ``FileNotFoundError`` for what is missing and
    ``ValueError`` for what is not Dexter+Object.
    """
    hands = []
    for sequence in SEQUENCES:
        pictures = _pictures(folder / "data" / sequence / "color")
        tips_mm = read_tips_mm(_labels_file(folder, sequence))
        if len(pictures) != len(tips_mm):
            raise ValueError(
                f"{_labels_file(folder, sequence)}: labels {len(tips_mm)} pictures, but there are "
                f"{len(pictures)} in color/; {_REMEDY}"
            )
        pairs = zip(pictures, tips_mm, strict=True)
        hands += [_hand(picture, tips) for picture, tips in pairs if np.isfinite(tips).any()]
    return hands


def read_tips_mm(file: Path) -> np.ndarray:
    """``(N, 5, 3)``: x right, y down, z forward of the depth camera; NaN where not labelled."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}; {_REMEDY}")
    rows = []
    for number, line in enumerate(file.read_text("utf-8", "replace").splitlines(), 1):
        if line.strip():
            rows.append(_tips(line, f"{file}, line {number}"))
    return np.array(rows).reshape(-1, 5, 3)


def _tips(line: str, where: str) -> np.ndarray:
    try:
        fields = [[float(value) for value in part.split(",")] for part in line.split(";")[:5]]
        tips = np.array(fields).reshape(5, 3)
    except ValueError as error:
        raise ValueError(
            f"{where}: must begin with five fields 'x, y, z' separated by ';'; {_REMEDY}"
        ) from error
    tips = tips * (-1, -1, 1)
    tips[(tips[:, 2] == MISSING_MM) | ~np.isfinite(tips).all(1)] = np.nan
    return tips


def _labels_file(folder: Path, sequence: str) -> Path:
    return folder / "data" / sequence / "annotations" / f"{sequence}3D.txt"


def _pictures(folder: Path) -> list[Path]:
    """Pictures in the order of their numbers."""
    try:
        return list_folder(folder)
    except MediaError as error:
        raise FileNotFoundError(f"{error}; {_REMEDY}") from error


def _hand(picture: Path, tips_mm: np.ndarray) -> LabelledHand:
    color_m = (tips_mm @ COLOR_ROTATION.T + COLOR_SHIFT_MM) / 1000
    fx, fy, cx, cy = COLOR_PX
    tips_px = color_m[:, :2] / color_m[:, 2:] * (fx, fy) + (cx, cy)
    joints_px, joints_m = np.full((JOINT_COUNT, 2), np.nan), np.full((JOINT_COUNT, 3), np.nan)
    joints_px[list(TIPS)], joints_m[list(TIPS)] = tips_px, color_m
    middle, side = np.nanmean(tips_px, axis=0), HAND_M * fx / float(np.nanmean(color_m[:, 2]))
    return LabelledHand(
        picture=picture,
        joints_px=joints_px,
        side=Side.LEFT,
        joints_m=joints_m,
        camera_px=COLOR_PX,
        exact=True,
        box=Box(float(middle[0]) - side / 2, float(middle[1]) - side / 2, side, side),
    )
