"""From crop coordinates back to the image and into the camera's frame: the last stage."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.crop import Crop
from dhpe_ros.types import MIDDLE_MCP

_MIRROR = np.diag((-1.0, 1.0, 1.0))
_Y_TURNED = np.diag((1.0, -1.0, 1.0))  # which a mirror image needs to be right-handed


class LiftedHand(NamedTuple):
    """A hand's points in the image and in the camera's frame, as ``Hand`` has them; float32."""

    joints_px: np.ndarray  # (21, 2)
    joints_m: np.ndarray  # (21, 3)
    vertices_px: np.ndarray  # (V, 3): image pixels, and depth relative to the root in pixels
    vertices_m: np.ndarray  # (V, 3)
    joint_rotations: np.ndarray  # (21, 3, 3)


def lift_to_camera(
    joints: np.ndarray,
    vertices: np.ndarray,
    scale: float,
    frames: np.ndarray,
    crop: Crop,
    camera: Camera,
) -> LiftedHand:
    """Lift a hand out of its crop: to image pixels, and to metres in the camera's frame.

    ``joints`` ``(21, 3)`` and ``vertices`` ``(V, 3)`` are in crop coordinates, ``scale`` of which
    are a metre; ``frames`` ``(21, 3, 3)`` are the joints'. A mirrored crop is mirrored back.
    """
    joints_px = crop.to_image(joints[:, :2])
    # A crop shows the hand as seen along its own ray; without this turn a hand at the image's edge
    # would be published as if the camera had looked straight at it.
    view = camera.look_at(joints_px[MIDDLE_MCP])
    to_camera = view @ _MIRROR if crop.mirrored else view

    def turned_m(points: np.ndarray) -> np.ndarray:
        return (points - joints[MIDDLE_MCP]) / scale @ to_camera.T

    root_m = root_position_m(camera, turned_m(joints), joints_px)
    depth_px = (vertices[:, 2:] - joints[MIDDLE_MCP, 2]) * (crop.box.width / 2)
    axes = to_camera @ frames
    points = (
        joints_px,
        turned_m(joints) + root_m,
        np.concatenate((crop.to_image(vertices[:, :2]), depth_px), axis=1),
        turned_m(vertices) + root_m,
        axes @ _Y_TURNED if crop.mirrored else axes,
    )
    return LiftedHand(*(np.ascontiguousarray(array, np.float32) for array in points))


def root_position_m(camera: Camera, joints_m: np.ndarray, joints_px: np.ndarray) -> np.ndarray:
    """``(3,)``: where the root must be for the joints, ``(21, 3)`` about it, to look as they do.

    Least squares of the joints' distances to the rays through their pixels. For a flat hand it is
    the paper's weak perspective, one metre spans ``scale * side / 2`` pixels at the root; for a
    deep one that alone misplaces near and far joints.
    """
    rays = camera.rays(joints_px)
    across = np.eye(3) - rays[:, :, None] * rays[:, None, :]  # the part of a vector beside the ray
    return np.linalg.solve(across.sum(0), -(across @ joints_m[..., None]).sum(0))[:, 0]
