"""Joints that the camera does not see because another part of the hand lies before them."""

from __future__ import annotations

import numpy as np

from dhpe_ros.geometry.scale import BONE_RADII, hand_length_m
from dhpe_ros.types import BONES, JOINT_COUNT

# (21,): of the thinner bone at the joint, as fractions of the hand's length.
_THICKNESSES = 2 * np.array(
    [min(r for b, r in zip(BONES, BONE_RADII, strict=True) if j in b) for j in range(JOINT_COUNT)]
)


@np.errstate(all="ignore")  # what is not finite hides nothing
def occluded_joints(
    joints_m: np.ndarray, vertices_m: np.ndarray, triangles: np.ndarray
) -> np.ndarray:
    """``(21,)`` bool: more lies before the joint than the hand is thick there.

    ``joints_m`` ``(21, 3)`` and ``vertices_m`` ``(V, 3)`` are in the camera's optical frame,
    ``triangles`` is ``(F, 3)``.
    """
    seen = joints_m[:, :2] / joints_m[:, 2:]
    # Corners of each triangle about each joint, as the camera sees them: (21, F, 3, 2).
    corners = (vertices_m[:, :2] / vertices_m[:, 2:])[triangles] - seen[:, None, None]
    after, before = np.roll(corners, -1, 2), np.roll(corners, 1, 2)
    areas = after[..., 0] * before[..., 1] - after[..., 1] * before[..., 0]  # opposite each corner
    whole = areas.sum(2)
    hit = ((areas >= 0).all(2) | (areas <= 0).all(2)) & (whole != 0)
    nearness = (areas / vertices_m[:, 2][triangles]).sum(2) / whole  # 1/z is linear in the picture
    nearest = np.where(hit, nearness, 0.0).max(1)
    return joints_m[:, 2] - 1 / nearest > _THICKNESSES * hand_length_m(joints_m)
