"""The node's output topics, one row each, and their publishers.

Nothing is computed or serialised for a topic without a subscriber.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import cv2
import numpy as np
from geometry_msgs.msg import PoseArray, TransformStamped
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, JointState, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from dhpe_ros.config import NodeConfig
from dhpe_ros.detection.search import prominence
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.grasp import UNKNOWN, Grasp, find_grasps, with_contacts
from dhpe_ros.rendering.overlay import draw_overlay, hand_mask, window_of
from dhpe_ros.ros.conversion import (
    Detection2DArray,
    Detection3DArray,
    HandArray,
    HandMeshArray,
    camera_info_message,
    cloud_message,
    detections_2d_message,
    detections_3d_message,
    hand_array_message,
    image_message,
    joint_state_message,
    mesh_array_message,
    points_message,
    pose_array_message,
    pose_messages,
    transform_message,
)
from dhpe_ros.ros.health import HealthMonitor
from dhpe_ros.ros.markers import markers_message
from dhpe_ros.ros.node_configs import AUTO, shared_prefix
from dhpe_ros.ros.qos import advertise
from dhpe_ros.types import JOINT_NAMES, Hand, Side

try:
    from tf2_msgs.msg import TFMessage
except ImportError:
    TFMessage = None


@dataclass(frozen=True)
class Result:
    """The hands of one image, and what else their messages are made of."""

    hands: list[Hand]
    config: NodeConfig
    lost: frozenset[int]  # tracks that the last result had
    header: Header  # of the image, with the frame of the results
    image: np.ndarray = field(default_factory=lambda: np.zeros((0, 0, 3), np.uint8))  # (H, W, 3)
    depth_m: np.ndarray | None = None  # (H, W); None without depth
    camera: Camera | None = None  # None where it is assumed

    @cached_property
    def mask(self) -> np.ndarray:
        """``(H, W)`` uint8, 255 on the hands."""
        return hand_mask(self.hands, *self.image.shape[:2])

    @cached_property
    def grasps(self) -> list[Grasp]:
        """Points and distances of the object in each hand; unknown without depth or intrinsics."""
        return find_grasps(self.hands, self.depth_m, self.camera, self.config.grasp_distance)


@dataclass(frozen=True)
class Output:
    """A topic: its name, its type, and its messages for a result."""

    topic: str
    type: type
    messages: Callable[[Result], Iterable[Any]]


def _depth_without_hands(result: Result) -> list[Image]:
    """The depth with NaN under the hands' mask, dilated by the margin; none without depth."""
    if result.depth_m is None:
        return []
    margin_px = result.config.depth_margin
    square = np.ones((2 * margin_px + 1, 2 * margin_px + 1), np.uint8)  # OpenCV's fastest kernel
    without = result.depth_m.copy()
    height, width = without.shape
    for hand in result.hands:
        window = window_of(hand, height, width, margin=margin_px)
        if window is not None:
            without[window][cv2.dilate(result.mask[window], square) > 0] = np.nan
    return [image_message(without, "32FC1", result.header)]


def _grasped_object(result: Result) -> list[PointCloud2]:
    """The points that the hands hold; none without depth or intrinsics."""
    if result.depth_m is None or result.camera is None:
        return []
    points_m = np.concatenate([UNKNOWN.points_m, *(grasp.points_m for grasp in result.grasps)])
    return [cloud_message(points_m, result.header)]


def _overlay(result: Result) -> list[Image]:
    return [image_message(draw_overlay(result.image, result.hands), "rgb8", result.header)]


def _markers(result: Result) -> list[MarkerArray]:
    if not result.hands and not result.lost:
        return []
    lifetime_s = result.config.marker_lifetime
    return [markers_message(result.hands, result.lost, result.header, lifetime_s)]


def _frames(own_prefix: str, result: Result) -> list[Any]:
    """The wrists' frames, unless the image has no frame_id to be relative to."""
    if not result.hands or not result.header.frame_id:
        return []
    config = result.config
    prefix = own_prefix if config.tf_prefix == AUTO else config.tf_prefix
    transforms = hand_transforms(result.hands, result.header, prefix, config.tf_joints)
    return [TFMessage(transforms=transforms)]


def _poses(side: Side, result: Result) -> list[PoseArray]:
    return [pose_array_message(by_side(result.hands).get(side), result.header)]


def _joint_states(result: Result) -> list[JointState]:
    return [joint_state_message(by_side(result.hands).values(), result.header)]


MARKERS = Output("~/markers", MarkerArray, _markers)
# In the order in which robots wait for them.
RESULTS = (
    Output(
        "~/hands",
        HandArray,
        lambda r: [hand_array_message(with_contacts(r.hands, r.grasps), r.header)],
    ),
    Output("~/meshes", HandMeshArray, lambda r: [mesh_array_message(r.hands, r.header)]),
    Output("~/grasped_object", PointCloud2, _grasped_object),
    Output("~/poses/left", PoseArray, partial(_poses, Side.LEFT)),
    Output("~/poses/right", PoseArray, partial(_poses, Side.RIGHT)),
    Output("~/joint_states", JointState, _joint_states),
    Output("~/points", PointCloud2, lambda r: [points_message(r.hands, r.header)]),
)
DETECTIONS = (  # where vision_msgs is installed
    Output("~/detections", Detection3DArray, lambda r: [detections_3d_message(r.hands, r.header)]),
    Output(
        "~/detections_2d", Detection2DArray, lambda r: [detections_2d_message(r.hands, r.header)]
    ),
)
PICTURES = (  # drawn and published while the next image is processed
    Output("~/mask", Image, lambda r: [image_message(r.mask, "mono8", r.header)]),
    Output("~/depth_without_hands", Image, _depth_without_hands),
    Output("~/overlay", Image, _overlay),
    MARKERS,
)


class HandOutputs:
    """The publishers of the outputs, and of ``~/camera_info``."""

    def __init__(self, node: Node, config: NodeConfig, health: HealthMonitor) -> None:
        self.results: tuple[Output, ...] = RESULTS
        if Detection3DArray is not None:
            self.results += DETECTIONS
        else:
            node.get_logger().info(
                "no ~/detections and ~/detections_2d: vision_msgs is not installed "
                "(apt install ros-$ROS_DISTRO-vision-msgs)"
            )
        if config.publish_tf and TFMessage is not None:
            frames = partial(_frames, shared_prefix(node, "hand", "/"))
            self.results = (Output("/tf", TFMessage, frames), *self.results)
        elif config.publish_tf:
            health.report(
                "tf",
                "publish_tf has no effect: tf2_msgs is not installed. It comes with tf2_ros: "
                "apt install ros-$ROS_DISTRO-tf2-ros",
                once=True,
            )
        self._camera_info = advertise(node, CameraInfo, "~/camera_info", health)
        self._publishers = {
            output: advertise(node, output.type, output.topic, health)
            for output in (*self.results, *PICTURES)
        }

    def wanted(self) -> bool:
        """True where any topic has a subscriber."""
        return self.hands_wanted() or self._camera_info.get_subscription_count() > 0

    def hands_wanted(self) -> bool:
        """True where a topic that needs the hands has a subscriber: all but camera_info."""
        return any(p.get_subscription_count() for p in self._publishers.values())

    def publish_camera_info(
        self, info: CameraInfo | None, header: Header, width: int, height: int
    ) -> None:
        """Publish the camera of an image; ``info`` is None where it is unknown."""
        if self._camera_info.get_subscription_count():
            self._camera_info.publish(camera_info_message(info, header, width, height))

    def publish(self, outputs: Iterable[Output], result: Result) -> None:
        """Publish a result on those of ``outputs`` that have a subscriber."""
        for output in outputs:
            publisher = self._publishers[output]
            if publisher.get_subscription_count():
                for message in output.messages(result):
                    publisher.publish(message)


def by_side(hands: Iterable[Hand]) -> dict[Side, Hand]:
    """The most prominent hand of each side."""
    return {h.side: h for h in sorted(hands, key=lambda h: prominence(h.score, h.box))}


def hand_transforms(
    hands: list[Hand], header: Header, prefix: str, joints: bool = False
) -> list[TransformStamped]:
    """The wrist of each hand under its track, and of each side's most prominent under the side.

    With ``joints`` the other joints too, each under its wrist's name and its own.
    """
    named = {f"{prefix}hand_{hand.track_id}": hand for hand in hands}
    named |= {f"{prefix}hand_{s.name.lower()}": hand for s, hand in by_side(hands).items()}
    transforms = []
    for wrist, hand in named.items():
        names = wrist, *(f"{wrist}_{joint}" for joint in JOINT_NAMES[1:] if joints)
        poses = zip(names, pose_messages(hand), strict=False)
        transforms += [transform_message(pose, header, name) for name, pose in poses]
    return transforms
