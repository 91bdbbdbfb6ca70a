"""What is measured, in plain NumPy: 3D-PCK and its area, 2D error, mask overlap.

3D figures follow the protocol of hand3d (Zimmermann & Brox, ICCV 2017): a curve for each joint over
the hands in which it is visible, the mean of these curves, its area by trapezoids over the range.
"""

from __future__ import annotations

import numpy as np

from dhpe_ros.types import MIDDLE_MCP

ALIGNMENT = "root-aligned at the middle MCP, middle MCP-PIP bone scaled to its true length"
THRESHOLDS_MM = np.arange(20.0, 51.0)  # 20 to 50 mm, one a millimetre
_MIDDLE_PIP = MIDDLE_MCP + 1  # hand3d's reference bone ends here


def align_by_bone(joints_m: np.ndarray, truth_m: np.ndarray) -> np.ndarray:
    """``(21, 3)`` metres moved to the true root and scaled by the true reference bone.

    Nothing is turned: a wrong view stays wrong.
    """
    bone = joints_m[_MIDDLE_PIP] - joints_m[MIDDLE_MCP]
    true_bone = truth_m[_MIDDLE_PIP] - truth_m[MIDDLE_MCP]
    scale = np.linalg.norm(true_bone) / max(np.linalg.norm(bone), 1e-9)
    return scale * (joints_m - joints_m[MIDDLE_MCP]) + truth_m[MIDDLE_MCP]


def errors_3d_mm(joints_m: np.ndarray, truth_m: np.ndarray) -> np.ndarray:
    """``(21,)``: distances in millimetres after ``align_by_bone``."""
    return 1000 * np.linalg.norm(align_by_bone(joints_m, truth_m) - truth_m, axis=1)


def pck_curve(
    errors: np.ndarray, thresholds: np.ndarray, visible: np.ndarray | None = None
) -> np.ndarray:
    """``(T,)``: share of errors ``(N, 21)`` at or below each threshold, mean over the joints.

    ``visible`` ``(N, 21)`` bool says which errors count; a joint never visible is left out.
    """
    seen = np.ones(errors.shape, bool) if visible is None else visible
    below = (errors[None] <= thresholds[:, None, None]) & seen
    joints = seen.any(axis=0)
    return (below.sum(axis=1)[:, joints] / seen.sum(axis=0)[joints]).mean(axis=1)


def area_under(curve: np.ndarray, thresholds: np.ndarray) -> float:
    """Area under ``curve`` by trapezoids, over that of a curve that is 1 everywhere."""
    steps = np.diff(thresholds)
    return float(((curve[1:] + curve[:-1]) / 2 * steps).sum() / steps.sum())


def errors_2d_pct(joints_px: np.ndarray, truth_px: np.ndarray) -> np.ndarray:
    """``(21,)``: distances in percent of the longer side of the true joints' box."""
    side = max(np.ptp(truth_px, axis=0).max(), 1.0)
    return 100 * np.linalg.norm(joints_px - truth_px, axis=1) / side


def mask_iou(mask: np.ndarray, truth: np.ndarray, counted: np.ndarray | None = None) -> float:
    """Intersection over union of two bool masks ``(H, W)`` over the pixels that are ``counted``."""
    if counted is not None:
        mask, truth = mask & counted, truth & counted
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0


def hand_side_of_wrist(joints_px: np.ndarray, height: int, width: int) -> np.ndarray:
    """``(H, W)`` bool: pixels on the fingers' side of the wrist.

    The border is the line through the wrist joint, across the axis from it to the middle MCP. For
    masks that show some of the forearm, where the mesh has none.
    """
    wrist, axis = joints_px[0], joints_px[MIDDLE_MCP] - joints_px[0]
    y, x = np.mgrid[0:height, 0:width]
    return (x - wrist[0]) * axis[0] + (y - wrist[1]) * axis[1] >= 0


def jitter_mm(joints_m: np.ndarray, truth_m: np.ndarray) -> tuple[float, float]:
    """Mean acceleration error of joints ``(T, 21, 3)`` in mm/frame^2: about the root, and absolute.

    Second differences, without those of the true movement (Kanazawa et al., CVPR 2019). Frames of
    NaN, where nothing was found, and their neighbours are left out.
    """
    error = 1000 * (joints_m - truth_m)
    about_root = error - error[:, MIDDLE_MCP : MIDDLE_MCP + 1]
    relative, absolute = (
        np.linalg.norm(np.diff(part, 2, axis=0), axis=2) for part in (about_root, error)
    )
    return float(np.nanmean(relative)), float(np.nanmean(absolute))


def lag_frames(joints_m: np.ndarray, truth_m: np.ndarray) -> float:
    """By how many frames joints ``(T, 21, 3)`` trail the truth, about the root.

    The part of the error that points against the true velocity, by least squares. What is wrong in
    every frame is taken out first.
    """
    moved = truth_m - truth_m[:, MIDDLE_MCP : MIDDLE_MCP + 1]
    error = joints_m - joints_m[:, MIDDLE_MCP : MIDDLE_MCP + 1] - moved
    velocity = np.gradient(moved, axis=0)
    error = error - np.nanmean(error, axis=0)
    seen = np.isfinite(error)
    return float(-(error * velocity)[seen].sum() / max((velocity**2)[seen].sum(), 1e-12))
