"""A hand as capsules along its bones: what collision checking can follow at several hertz."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion
from shape_msgs.msg import SolidPrimitive

from dhpe_ros.hand_scale import hand_length_m
from dhpe_ros.types import BONES, JOINT_COUNT

# Radii in lengths of the hand, by place in the finger: metacarpal, then to the tip.
_RADII = (0.078, 0.061, 0.053, 0.047)
_THUMB_RADII = (0.095, 0.078, 0.067, 0.056)
BONE_RADII = np.array((*_THUMB_RADII, *(4 * _RADII)))  # (20,), as ``BONES``
JOINT_RADII = np.array(  # (21,): of the thickest bone that ends there
    [max(r for b, r in zip(BONES, BONE_RADII, strict=True) if j in b) for j in range(JOINT_COUNT)]
)


def capsules(joints_m: np.ndarray, padding_m: float) -> tuple[list[SolidPrimitive], list[Pose]]:
    """A sphere at each of the joints ``(21, 3)`` and a cylinder along each bone, with their poses.

    Each bone with its two spheres is a capsule. ``padding_m`` is added to every radius.
    """
    length_m = hand_length_m(joints_m)
    shapes, poses = [], []
    for center, radius in zip(joints_m, JOINT_RADII * length_m + padding_m, strict=True):
        shapes.append(_solid(SolidPrimitive.SPHERE, radius))
        poses.append(_pose(center, (0.0, 0.0, 0.0, 1.0)))
    for (start, end), radius in zip(BONES, BONE_RADII * length_m + padding_m, strict=True):
        bone = joints_m[end] - joints_m[start]
        length = float(np.linalg.norm(bone))
        if length > 0:
            shapes.append(_solid(SolidPrimitive.CYLINDER, length, radius))
            middle = (joints_m[start] + joints_m[end]) / 2
            poses.append(_pose(middle, _turn_from_z(bone / length)))
    return shapes, poses


def _solid(kind: int, *dimensions: float) -> SolidPrimitive:
    return SolidPrimitive(type=kind, dimensions=[float(value) for value in dimensions])


def _turn_from_z(direction: np.ndarray) -> tuple[float, float, float, float]:
    """The quaternion x, y, z, w of a rotation that takes the z axis to a unit vector ``(3,)``."""
    x, y, z = (float(value) for value in direction)
    if z < -1 + 1e-9:
        return 1.0, 0.0, 0.0, 0.0
    length = (2 * (1 + z)) ** 0.5
    return -y / length, x / length, 0.0, length / 2


def _pose(position: np.ndarray, turn: Sequence[float]) -> Pose:
    x, y, z = (float(value) for value in position)
    qx, qy, qz, qw = turn
    return Pose(position=Point(x=x, y=y, z=z), orientation=Quaternion(x=qx, y=qy, z=qz, w=qw))
