"""Hands as fields of messages, both for ``rclpy`` and for recordings."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from dhpe_ros.types import Hand

_POINT_FIELDS = ("x", "y", "z", "normal_x", "normal_y", "normal_z")  # as PCL names them
_FLOAT32 = 7  # sensor_msgs/PointField


def hand_fields(hand: Hand) -> dict[str, Any]:
    """The fields of ``dhpe_ros/msg/Hand`` except ``wrist_pose``; arrays flat, float32."""
    return {
        "track_id": hand.track_id,
        "side": int(hand.side),
        "score": float(hand.score),
        "box_px": hand.box.as_array(),
        "joints_m": _flat(hand.joints_m),
        "joints_px": _flat(hand.joints_px),
        "joint_confidences": _flat(hand.joint_confidences),
        "parameters": _flat(hand.parameters),
        "metric": bool(hand.metric),
        "scale": int(hand.scale),
        "refinement_steps": int(hand.refinement.steps),
        "residual_before_px": float(hand.refinement.residual_before_px),
        "residual_after_px": float(hand.refinement.residual_after_px),
    }


def wrist_pose(hand: Hand) -> tuple[dict[str, float], dict[str, float]]:
    """The fields of the wrist's position, metres, and of its orientation, a unit quaternion."""
    axis_angle = cv2.Rodrigues(np.asarray(hand.wrist_rotation, np.float64))[0][:, 0]
    angle = float(np.linalg.norm(axis_angle))
    x, y, z = axis_angle * (math.sin(angle / 2) / angle if angle > 1e-9 else 0.5)
    position = dict(zip("xyz", hand.joints_m[0].tolist(), strict=True))
    return position, {"x": x, "y": y, "z": z, "w": math.cos(angle / 2)}


def mesh_fields(hand: Hand) -> dict[str, Any]:
    """The fields of ``dhpe_ros/msg/HandMesh`` except the header; arrays flat."""
    return {
        "track_id": hand.track_id,
        "side": int(hand.side),
        "vertices": _flat(hand.vertices_m),
        "normals": _flat(hand.normals),
        "triangles": np.ascontiguousarray(hand.triangles, np.uint32).ravel(),
    }


def points_fields(hands: Sequence[Hand]) -> dict[str, Any]:
    """The fields of ``sensor_msgs/msg/PointCloud2`` except the header; each PointField a dict.

    The vertices of all hands with their normals, float32, metres in the optical frame.
    """
    rows = [np.concatenate((hand.vertices_m, hand.normals), axis=1) for hand in hands]
    points = np.concatenate([np.zeros((0, len(_POINT_FIELDS)), np.float32), *rows])
    step = points.itemsize * len(_POINT_FIELDS)
    return {
        "height": 1,
        "width": len(points),
        "fields": [
            {"name": name, "offset": points.itemsize * k, "datatype": _FLOAT32, "count": 1}
            for k, name in enumerate(_POINT_FIELDS)
        ],
        "is_bigendian": sys.byteorder == "big",
        "point_step": step,
        "row_step": step * len(points),
        "data": points.ravel().view(np.uint8),
        "is_dense": True,
    }


def _flat(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).ravel()
