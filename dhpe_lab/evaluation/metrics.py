"""Measures in plain NumPy: 3D-PCK and its area, 2D error, masks, jitter, calibration.

3D figures follow the protocol of hand3d (Zimmermann & Brox, ICCV 2017): a curve for each joint over
the hands in which it is visible, the mean of these curves, its area by trapezoids over the range.
What a label does not say is NaN, and no figure counts it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.integrate import trapezoid
from scipy.stats import spearmanr

from dhpe_ros.types import MIDDLE_MCP

ABSOLUTE, ROOT, ROOT_AND_SCALE, SHIFT, PROCRUSTES = (
    "absolute", "root", "root and scale", "shift", "Procrustes"
)  # fmt: skip
ALIGNMENTS = {
    ABSOLUTE: "not aligned: where the hand is in the camera's frame",
    ROOT: "root-aligned at the middle MCP, own size",
    ROOT_AND_SCALE: "root-aligned at the middle MCP, middle MCP-PIP bone scaled to its true length",
    SHIFT: "moved by the mean of the labelled joints, own size",
    PROCRUSTES: "best scale, rotation and shift (Procrustes) over the labelled joints",
}
THRESHOLDS_MM = np.arange(20.0, 51.0)  # 20 to 50 mm, one a millimetre
_MIDDLE_PIP = MIDDLE_MCP + 1  # hand3d's reference bone ends here


class Similarity(NamedTuple):
    """``p -> scale * rotation p + shift``."""

    scale: float
    rotation: np.ndarray  # (3, 3)
    shift: np.ndarray  # (3,)

    def apply(self, points: np.ndarray) -> np.ndarray:
        """``(N, 3)``."""
        return self.scale * points @ self.rotation.T + self.shift


def similarity(points: np.ndarray, truth: np.ndarray, alignment: str) -> Similarity | None:
    """Transform of ``(N, 3)`` points that takes them to the truth, as ``alignment`` allows.

    The two that look at the root need joints; None where the label lacks what it takes.
    """
    known = np.isfinite(truth).all(axis=1)
    if alignment == ABSOLUTE:
        return Similarity(1.0, np.eye(3), np.zeros(3))
    if alignment == SHIFT:
        return Similarity(1.0, np.eye(3), truth[known].mean(0) - points[known].mean(0))
    if alignment == PROCRUSTES:
        return _procrustes(points[known], truth[known]) if known.sum() >= 3 else None
    scale = 1.0
    if alignment == ROOT_AND_SCALE:
        bone = points[_MIDDLE_PIP] - points[MIDDLE_MCP]
        true_bone = truth[_MIDDLE_PIP] - truth[MIDDLE_MCP]
        scale = float(np.linalg.norm(true_bone) / max(np.linalg.norm(bone), 1e-9))
    shift = truth[MIDDLE_MCP] - scale * points[MIDDLE_MCP]
    return Similarity(scale, np.eye(3), shift) if np.isfinite((scale, *shift)).all() else None


def _procrustes(points: np.ndarray, truth: np.ndarray) -> Similarity:
    """Least-squares alignment without reflections (Umeyama, PAMI 1991)."""
    center, true_center = points.mean(0), truth.mean(0)
    about, true_about = points - center, truth - true_center
    u, values, v = np.linalg.svd(true_about.T @ about)
    signs = np.array((1.0, 1.0, np.sign(np.linalg.det(u @ v)) or 1.0))
    rotation = (u * signs) @ v
    scale = float((values * signs).sum() / max((about**2).sum(), 1e-12))
    return Similarity(scale, rotation, true_center - scale * rotation @ center)


def errors_3d_mm(
    joints_m: np.ndarray, truth_m: np.ndarray, alignment: str = ROOT_AND_SCALE
) -> np.ndarray | None:
    """``(N,)``: distances in millimetres after aligning, NaN where there is no label.

    None where the label cannot be aligned to. Only Procrustes turns the hand: with all others a
    wrong view stays wrong.
    """
    found = similarity(joints_m, truth_m, alignment)
    if found is None:
        return None
    return 1000 * np.linalg.norm(found.apply(joints_m) - truth_m, axis=1)


def pck_curve(
    errors: np.ndarray, thresholds: np.ndarray, visible: np.ndarray | None = None
) -> np.ndarray:
    """``(T,)``: share of errors ``(N, 21)`` at or below each threshold, mean over the joints.

    ``visible`` ``(N, 21)`` bool says which errors count, all that are not NaN if not given; a joint
    never visible is left out.
    """
    seen = np.isfinite(errors) & (True if visible is None else visible)
    below = (errors[None] <= thresholds[:, None, None]) & seen
    joints = seen.any(axis=0)
    return (below.sum(axis=1)[:, joints] / seen.sum(axis=0)[joints]).mean(axis=1)


def area_under(curve: np.ndarray, thresholds: np.ndarray) -> float:
    """Area under ``curve`` by trapezoids, over that of a curve that is 1 everywhere."""
    return float(trapezoid(curve, thresholds) / np.ptp(thresholds))


def errors_2d_pct(joints_px: np.ndarray, truth_px: np.ndarray) -> np.ndarray:
    """``(21,)``: distances in percent of the longer side of the labelled joints' box."""
    return 100 * np.linalg.norm(joints_px - truth_px, axis=1) / longer_side(truth_px)


def longer_side(truth_px: np.ndarray) -> float:
    """Longer side of the box of the labelled joints ``(21, 2)``, at least one pixel."""
    known = truth_px[np.isfinite(truth_px).all(axis=1)]
    return max(float(np.ptp(known, axis=0).max()), 1.0) if len(known) else 1.0


class MaskCounts(NamedTuple):
    """Pixels of two masks; those of many pictures are added up."""

    shared: int
    extra: int  # in the found mask alone
    missed: int  # in the true mask alone

    @property
    def iou(self) -> float:
        return _share(self.shared, self.shared + self.extra + self.missed)

    @property
    def precision(self) -> float:
        return _share(self.shared, self.shared + self.extra)

    @property
    def recall(self) -> float:
        return _share(self.shared, self.shared + self.missed)

    @property
    def f1(self) -> float:
        return _share(2 * self.shared, 2 * self.shared + self.extra + self.missed)


def _share(part: int, whole: int) -> float:
    """Two masks without pixels agree."""
    return part / whole if whole else 1.0


def count_pixels(
    mask: np.ndarray, truth: np.ndarray, counted: np.ndarray | None = None
) -> MaskCounts:
    """Compare two bool masks ``(H, W)`` over the pixels that are ``counted``."""
    if counted is not None:
        mask, truth = mask & counted, truth & counted
    pairs = (mask & truth, mask & ~truth, truth & ~mask)
    return MaskCounts(*(int(np.count_nonzero(one)) for one in pairs))


def pooled(counts: Sequence[MaskCounts]) -> MaskCounts:
    """Over all pixels of a set: how the four figures of the paper's Table 2 belong together."""
    return MaskCounts(*(sum(one[k] for one in counts) for k in range(3)))


def hand_side_of_wrist(joints_px: np.ndarray, height: int, width: int) -> np.ndarray:
    """``(H, W)`` bool: pixels on the fingers' side of the wrist.

    The border is the line through the wrist joint, across the axis from it to the middle MCP. For
    masks that show some of the forearm, where the mesh has none.
    """
    wrist, axis = joints_px[0], joints_px[MIDDLE_MCP] - joints_px[0]
    y, x = np.mgrid[0:height, 0:width]
    return (x - wrist[0]) * axis[0] + (y - wrist[1]) * axis[1] >= 0


def jitter(joints: np.ndarray, truth: np.ndarray) -> float:
    """Mean acceleration error of joints ``(T, 21, D)``, in their unit per frame^2.

    Second differences, without those of the true movement (Kanazawa et al., CVPR 2019). Frames of
    NaN, where nothing was found or nothing is labelled, and their neighbours are left out.
    """
    accelerations = np.linalg.norm(np.diff(joints - truth, 2, axis=0), axis=2)
    seen = np.isfinite(accelerations)
    return float(accelerations[seen].mean()) if seen.any() else float("nan")


def jitter_mm(joints_m: np.ndarray, truth_m: np.ndarray) -> tuple[float, float]:
    """``jitter`` of joints ``(T, 21, 3)`` in mm/frame^2: about the root, and absolute."""
    root = slice(MIDDLE_MCP, MIDDLE_MCP + 1)
    about_root = jitter(joints_m - joints_m[:, root], truth_m - truth_m[:, root])
    return 1000 * about_root, 1000 * jitter(joints_m, truth_m)


def lag_frames(joints_m: np.ndarray, truth_m: np.ndarray) -> float:
    """Number of frames by which joints ``(T, 21, 3)`` trail the truth, about the root.

    The part of the error that points against the true velocity, by least squares. What is wrong in
    every frame is taken out first.
    """
    moved = truth_m - truth_m[:, MIDDLE_MCP : MIDDLE_MCP + 1]
    error = joints_m - joints_m[:, MIDDLE_MCP : MIDDLE_MCP + 1] - moved
    velocity = np.gradient(moved, axis=0)
    error = error - np.nanmean(error, axis=0)
    seen = np.isfinite(error)
    return float(-(error * velocity)[seen].sum() / max((velocity**2)[seen].sum(), 1e-12))


class Calibration(NamedTuple):
    """Relation of a number that is known without labels to the error of a hand."""

    rank_correlation: float  # Spearman's: 1 it orders hands by their error, 0 it says nothing
    bins: list[tuple[float, float, int]]  # number up to, mean error, hands; from low to high


def calibrate(signal: np.ndarray, errors: np.ndarray, bins: int = 5) -> Calibration | None:
    """Compare ``(N,)`` numbers with the ``(N,)`` errors of the same hands.

    None where there are too few hands for two in each bin.
    """
    if len(signal) < 2 * bins:
        return None
    order = np.argsort(signal, kind="stable")
    parts = np.array_split(order, bins)
    constant = np.ptp(signal) == 0 or np.ptp(errors) == 0
    correlation = 0.0 if constant else float(spearmanr(signal, errors).statistic)
    rows = [(float(signal[p[-1]]), float(errors[p].mean()), len(p)) for p in parts]
    return Calibration(correlation, rows)
