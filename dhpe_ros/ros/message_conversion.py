"""The core's nouns as ROS messages, and what comes in as the core's nouns."""

from __future__ import annotations

import math
from array import array
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from dhpe_ros.media.image_messages import fill_image
from dhpe_ros.types import Box, Hand, Side, Target

try:
    from dhpe_ros.msg import Hand as HandMessage
    from dhpe_ros.msg import HandArray, HandMesh
except ImportError as error:
    raise ImportError(
        "the messages of dhpe_ros are not there: run 'make setup' in the source tree, or "
        "'colcon build' in the workspace and source its install/setup.bash"
    ) from error


def hand_array_message(hands: list[Hand], header: Header) -> HandArray:
    """All hands of one image; empty where there is none."""
    return HandArray(header=header, hands=[hand_message(hand) for hand in hands])


def hand_message(hand: Hand) -> HandMessage:
    """Everything known about one hand; metres in the optical frame, pixels of the input image."""
    return HandMessage(
        track_id=hand.track_id,
        side=int(hand.side),
        score=float(hand.score),
        box_px=hand.box.as_array(),
        joints_m=_flat(hand.joints_m),
        joints_px=_flat(hand.joints_px),
        joint_confidences=_flat(hand.joint_confidences),
        parameters=_flat(hand.parameters),
        wrist_pose=_pose(hand.joints_m[0], hand.wrist_rotation),
        metric=bool(hand.metric),
        refinement_steps=int(hand.refinement.steps),
        residual_before_px=float(hand.refinement.residual_before_px),
        residual_after_px=float(hand.refinement.residual_after_px),
    )


def mesh_message(hand: Hand, header: Header) -> HandMesh:
    """The hand's surface, metres in the optical frame."""
    return HandMesh(
        header=header,
        track_id=hand.track_id,
        side=int(hand.side),
        vertices=_array("f", hand.vertices_m, np.float32),
        normals=_array("f", hand.normals, np.float32),
        triangles=_array("I", hand.triangles, np.uint32),
    )


def image_message(pixels: np.ndarray, encoding: str, header: Header) -> Image:
    """``(H, W)`` or ``(H, W, 3)`` uint8 pixels."""
    return fill_image(Image(header=header), pixels, encoding)


def camera_info_message(
    info: CameraInfo | None, header: Header, width: int, height: int
) -> CameraInfo:
    """``info`` with the image's header; without it the size alone, K zero as for no calibration."""
    if info is None:
        return CameraInfo(header=header, width=width, height=height)
    copy = CameraInfo(header=header)
    for name in ("height", "width", "distortion_model", "d", "k", "r", "p", "roi"):
        setattr(copy, name, getattr(info, name))
    copy.binning_x, copy.binning_y = info.binning_x, info.binning_y
    return copy


def targets_from_roi(roi: Any) -> list[Target]:
    """One box from a ``sensor_msgs/RegionOfInterest``; all zero means the whole image: none.

    Raises ``ValueError`` for a region of no width or height elsewhere.
    """
    if not any((roi.x_offset, roi.y_offset, roi.width, roi.height)):
        return []
    return [Target(Box(roi.x_offset, roi.y_offset, roi.width, roi.height))]


def targets_from_detections(detections: Any) -> list[Target]:
    """Boxes from a ``vision_msgs/Detection2DArray``; a class id with left or right is the side.

    Raises ``ValueError`` for a box that is not finite or has no area.
    """
    return [_target(detection) for detection in detections.detections]


def _target(detection: Any) -> Target:
    box = detection.bbox
    x = box.center.position.x - box.size_x / 2
    y = box.center.position.y - box.size_y / 2
    return Target(Box(x, y, box.size_x, box.size_y), _side(detection))


def _side(detection: Any) -> Side | None:
    names = [result.hypothesis.class_id.lower() for result in detection.results[:1]]
    found = [side for side in Side if any(side.name.lower() in name for name in names)]
    return found[0] if len(found) == 1 else None


def _pose(position: np.ndarray, rotation: np.ndarray) -> Pose:
    """A pose from ``(3,)`` metres and a ``(3, 3)`` rotation."""
    axis_angle = cv2.Rodrigues(np.asarray(rotation, np.float64))[0][:, 0]
    angle = float(np.linalg.norm(axis_angle))
    x, y, z = axis_angle * (math.sin(angle / 2) / angle if angle > 1e-9 else 0.5)
    px, py, pz = (float(value) for value in position)
    return Pose(
        position=Point(x=px, y=py, z=pz),
        orientation=Quaternion(x=x, y=y, z=z, w=math.cos(angle / 2)),
    )


def _flat(values: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32).ravel()


def _array(code: str, values: np.ndarray, dtype: type) -> array:
    """A flat ``array.array``, which rclpy takes as it is: thousands of times faster than a list."""
    flat = array(code)
    flat.frombytes(memoryview(np.ascontiguousarray(values, dtype)).cast("B"))
    return flat
