"""A hand as capsules along its bones, which collision checking can follow at several hertz."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion
from shape_msgs.msg import SolidPrimitive

from dhpe_ros.geometry.scale import hand_length_m
from dhpe_ros.types import BONES, JOINT_COUNT

# Radii as fractions of the hand's length, ``(20,)`` in the order of ``BONES``: 90 % of the skin is
# nearer to its bone, in 40 hands of random pose and shape.
BONE_RADII = np.array(
    (
        0.176, 0.140, 0.081, 0.068,
        0.152, 0.082, 0.068, 0.060,
        0.127, 0.091, 0.078, 0.067,
        0.125, 0.085, 0.064, 0.058,
        0.151, 0.078, 0.055, 0.049,
    )
)  # fmt: skip
JOINT_RADII = np.array(  # (21,): that of the thickest bone at the joint
    [max(r for b, r in zip(BONES, BONE_RADII, strict=True) if j in b) for j in range(JOINT_COUNT)]
)


def capsules(joints_m: np.ndarray, padding_m: float) -> tuple[list[SolidPrimitive], list[Pose]]:
    """A sphere at each joint ``(21, 3)`` and a cylinder along each bone, with their poses.

    A bone with its two spheres is a capsule. ``padding_m`` is added to every radius.
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
