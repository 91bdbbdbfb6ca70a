"""Joints that the camera does not see because another part of the hand lies before them."""

from __future__ import annotations

import numpy as np

from dhpe_ros.geometry.scale import BONE_RADII, hand_length_m
from dhpe_ros.system.compiled import kernel
from dhpe_ros.types import BONES, JOINT_COUNT

# (21,): of the thinner bone at the joint, as fractions of the hand's length.
_THICKNESSES = 2 * np.array(
    [min(r for b, r in zip(BONES, BONE_RADII, strict=True) if j in b) for j in range(JOINT_COUNT)]
)


def occluded_joints(
    joints_m: np.ndarray, vertices_m: np.ndarray, triangles: np.ndarray
) -> np.ndarray:
    """``(21,)`` bool: more lies before the joint than the hand is thick there.

    ``joints_m`` ``(21, 3)`` and ``vertices_m`` ``(V, 3)`` are in the camera's optical frame,
    ``triangles`` is ``(F, 3)``. What is not finite hides nothing.
    """
    joints, vertices = joints_m.astype(np.float64), vertices_m.astype(np.float64)
    nearness = _nearness(_seen(joints), _seen(vertices), triangles)
    limits_m = joints[:, 2] - _THICKNESSES * hand_length_m(joints)
    return nearness * limits_m > 1


@np.errstate(all="ignore")
def _seen(points_m: np.ndarray) -> np.ndarray:
    """``(N, 3)``: x / z, y / z, 1 / z."""
    return np.stack((points_m[:, 0], points_m[:, 1], np.ones(len(points_m))), 1) / points_m[:, 2:]


@kernel(error_model="numpy")
def _nearness(joints, vertices, triangles):
    """1 / z of the surface nearest to the camera at each joint, 0 where there is none: (N,)."""
    nearness = np.zeros(len(joints))
    for face in range(len(triangles)):
        a, b, c = triangles[face]
        ax, bx, cx = vertices[a, 0], vertices[b, 0], vertices[c, 0]
        ay, by, cy = vertices[a, 1], vertices[b, 1], vertices[c, 1]
        left, right, top, bottom = (
            min(ax, bx, cx),
            max(ax, bx, cx),
            min(ay, by, cy),
            max(ay, by, cy),
        )
        for joint in range(len(joints)):
            x, y = joints[joint, 0], joints[joint, 1]
            if not (left <= x <= right and top <= y <= bottom):
                continue
            # Areas opposite each corner; the joint lies within where they have one sign.
            of_a = (bx - x) * (cy - y) - (by - y) * (cx - x)
            of_b = (cx - x) * (ay - y) - (cy - y) * (ax - x)
            of_c = (ax - x) * (by - y) - (ay - y) * (bx - x)
            if min(of_a, of_b, of_c) >= 0 or max(of_a, of_b, of_c) <= 0:
                # 1 / z is linear in the picture.
                here = of_a * vertices[a, 2] + of_b * vertices[b, 2] + of_c * vertices[c, 2]
                here /= of_a + of_b + of_c
                if here > nearness[joint]:  # not where it is not a number
                    nearness[joint] = here
    return nearness
