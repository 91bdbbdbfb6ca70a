"""Hands as fields of messages, both for ``rclpy`` and for recordings."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from dhpe_ros.types import JOINT_NAMES, Hand

_POINT_FIELDS = ("x", "y", "z", "normal_x", "normal_y", "normal_z")  # as PCL names them
_FLOAT32 = 7  # sensor_msgs/PointField


def hand_fields(hand: Hand) -> dict[str, Any]:
    """The fields of ``dhpe_ros/msg/Hand``; arrays flat, messages within as their own fields."""
    poses = joint_poses(hand)
    return {
        "track_id": hand.track_id,
        "side": int(hand.side),
        "score": float(hand.score),
        "box_px": hand.box.as_array(),
        "joint_names": list(JOINT_NAMES),
        "joints_m": _flat(hand.joints_m),
        "joint_stds_m": _flat(hand.joint_stds_m),
        "joint_orientations": [pose["orientation"] for pose in poses],
        "joints_px": _flat(hand.joints_px),
        "joint_confidences": _flat(hand.joint_confidences),
        "occluded": np.ascontiguousarray(hand.occluded, bool),
        "parameters": _flat(hand.parameters),
        "wrist_pose": poses[0],
        "contact_distances": _flat(hand.contact_distances),
        "intrinsics_known": bool(hand.intrinsics_known),
        "scale": int(hand.scale),
        "scale_std": float(hand.scale.std),
        "refinement_steps": int(hand.refinement.steps),
        "residual_before_px": float(hand.refinement.residual_before_px),
        "residual_after_px": float(hand.refinement.residual_after_px),
    }


def joint_orientations(hand: Hand) -> np.ndarray:
    """``(21, 4)`` unit quaternions x, y, z, w of the joints' frames."""
    m = hand.joint_rotations.astype(float).transpose(1, 2, 0)
    signs = np.array(((1, -1, -1), (-1, 1, -1), (-1, -1, 1), (1, 1, 1)))
    x, y, z, w = signs @ np.einsum("iik->ik", m)
    products = np.array(  # of the quaternion's numbers, four times
        (
            (1 + x, m[1, 0] + m[0, 1], m[2, 0] + m[0, 2], m[2, 1] - m[1, 2]),
            (m[1, 0] + m[0, 1], 1 + y, m[2, 1] + m[1, 2], m[0, 2] - m[2, 0]),
            (m[2, 0] + m[0, 2], m[2, 1] + m[1, 2], 1 + z, m[1, 0] - m[0, 1]),
            (m[2, 1] - m[1, 2], m[0, 2] - m[2, 0], m[1, 0] - m[0, 1], 1 + w),
        )
    )
    largest = np.argmax((x, y, z, w), axis=0)
    rows = products[largest, :, np.arange(len(largest))]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def joint_poses(hand: Hand) -> list[dict[str, dict[str, float]]]:
    """The fields of a ``geometry_msgs/msg/Pose`` for each joint, in the camera's optical frame."""
    rows = zip(hand.joints_m.tolist(), joint_orientations(hand).tolist(), strict=True)
    return [
        {
            "position": dict(zip("xyz", position, strict=True)),
            "orientation": dict(zip("xyzw", orientation, strict=True)),
        }
        for position, orientation in rows
    ]


def mesh_fields(hand: Hand) -> dict[str, Any]:
    """The fields of ``dhpe_ros/msg/HandMesh``; arrays flat."""
    return {
        "track_id": hand.track_id,
        "side": int(hand.side),
        "vertices": _flat(hand.vertices_m),
        "normals": _flat(hand.normals),
        "triangles": np.ascontiguousarray(hand.triangles, np.uint32).ravel(),
    }


def points_fields(hands: Sequence[Hand]) -> dict[str, Any]:
    """The vertices of all hands with their normals, as ``cloud_fields``."""
    rows = [np.concatenate((hand.vertices_m, hand.normals), axis=1) for hand in hands]
    return cloud_fields(np.concatenate([np.zeros((0, len(_POINT_FIELDS)), np.float32), *rows]))


def cloud_fields(points: np.ndarray) -> dict[str, Any]:
    """The fields of ``sensor_msgs/msg/PointCloud2`` except the header; each PointField a dict.

    ``points`` is ``(N, 3)`` float32, metres in the optical frame, or ``(N, 6)`` with normals.
    """
    names = _POINT_FIELDS[: points.shape[1]]
    step = points.itemsize * len(names)
    return {
        "height": 1,
        "width": len(points),
        "fields": [
            {"name": name, "offset": points.itemsize * k, "datatype": _FLOAT32, "count": 1}
            for k, name in enumerate(names)
        ],
        "is_bigendian": sys.byteorder == "big",
        "point_step": step,
        "row_step": step * len(points),
        "data": points.ravel().view(np.uint8),
        "is_dense": True,
    }


def _flat(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).ravel()
