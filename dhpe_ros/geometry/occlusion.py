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
    seen, corners = (points[:, :2] / points[:, 2:] for points in (joints_m, vertices_m))
    corners = corners[triangles]  # (F, 3, 2), as the camera sees them
    about = (corners.min(1) <= seen[:, None]) & (corners.max(1) >= seen[:, None])
    joint, triangle = about.all(2).nonzero()
    corners = corners[triangle] - seen[joint, None]
    after, before = np.roll(corners, -1, 1), np.roll(corners, 1, 1)
    areas = after[..., 0] * before[..., 1] - after[..., 1] * before[..., 0]  # opposite each corner
    whole = areas.sum(1)
    hit = ((areas >= 0).all(1) | (areas <= 0).all(1)) & (whole != 0)
    depths_m = vertices_m[:, 2][triangles[triangle]]
    nearness = (areas / depths_m).sum(1) / whole  # 1/z is linear in the picture
    nearest = np.zeros(len(joints_m))
    np.maximum.at(nearest, joint[hit], nearness[hit])
    return joints_m[:, 2] - 1 / nearest > _THICKNESSES * hand_length_m(joints_m)
