"""A hand cut out of a photograph, by a mesh that lies on it and the colours on either side."""

from __future__ import annotations

import cv2
import numpy as np

_REACH = 0.07  # of the joints' box: how far beside the mesh's outline the hand may end
_SURE = 0.05  # likewise within it
_ARM = 1.6  # length of forearm that is looked for, in palm lengths
_ARM_WIDTH = 0.75  # likewise its width
_ROUNDS = 3
_CLEAR = 0.7  # the least overlap of the cut with the mesh that is believed
_BESIDE = 0.03  # of the joints' box: how far beside the cut a joint may lie


def cut_out(image: np.ndarray, mesh: np.ndarray, joints_px: np.ndarray) -> np.ndarray | None:
    """Opacity of a photograph over another background: the hand and its forearm.

    GrabCut (Rother et al., 2004): sure of the mesh's inside, asking about its rim and about the
    strip beyond the wrist. None where the cut does not look like the mesh.

    Args:
        image: (H, W, 3) uint8 RGB.
        mesh: (H, W) bool, the silhouette of the fitted mesh.
        joints_px: (21, 2).

    Returns:
        (H, W) uint8, 0 to 255, soft by a pixel at the rim.
    """
    side = np.ptp(joints_px, axis=0).max()
    inside = cv2.distanceTransform(mesh.astype(np.uint8), cv2.DIST_L2, 3)
    outside = cv2.distanceTransform((~mesh).astype(np.uint8), cv2.DIST_L2, 3)
    arm = _forearm(joints_px, image.shape[:2])
    sure = mesh & (inside > _SURE * side)
    asked = (outside < _REACH * side) | arm
    labels = np.where(asked, cv2.GC_PR_BGD, cv2.GC_BGD).astype(np.uint8)
    labels[mesh] = cv2.GC_PR_FGD
    labels[sure] = cv2.GC_FGD
    if not sure.any() or asked.all():
        return None
    models = np.zeros((1, 65)), np.zeros((1, 65))
    bgr = np.ascontiguousarray(image[..., ::-1])
    cv2.setRNGSeed(0)
    cv2.grabCut(bgr, labels, None, *models, _ROUNDS, cv2.GC_INIT_WITH_MASK)
    cut = ((labels == cv2.GC_FGD) | (labels == cv2.GC_PR_FGD)).astype(np.uint8)
    cut = _largest_part(cv2.morphologyEx(cut, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)))
    near = cut.astype(bool) & ~(arm & ~mesh)
    if (near & mesh).sum() < _CLEAR * (near | mesh).sum() or not _holds(cut, joints_px, side):
        return None
    return cv2.GaussianBlur(cut * 255, (0, 0), 0.7)


def _forearm(joints_px: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """``(H, W)`` bool: a strip from the wrist away from the middle knuckle."""
    wrist, knuckle = joints_px[0], joints_px[9]
    palm = wrist - knuckle
    end = wrist + _ARM * palm
    strip = np.zeros(shape, np.uint8)
    width = max(int(_ARM_WIDTH * np.linalg.norm(palm)), 1)
    points = [tuple(round(float(v)) for v in p) for p in (wrist, end)]
    cv2.line(strip, *points, 1, width)
    return strip > 0


def _largest_part(cut: np.ndarray) -> np.ndarray:
    count, labels, areas, _ = cv2.connectedComponentsWithStats(cut)
    if count < 2:
        return cut
    return (labels == 1 + areas[1:, cv2.CC_STAT_AREA].argmax()).astype(np.uint8)


def _holds(cut: np.ndarray, joints_px: np.ndarray, side: float) -> bool:
    """True if all joints lie in the cut: no finger was lost to the background."""
    away = cv2.distanceTransform(1 - cut, cv2.DIST_L2, 3)
    column, row = np.rint(joints_px).astype(int).T
    height, width = cut.shape
    inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
    return bool(inside.all() and (away[row, column] <= _BESIDE * side).all())
