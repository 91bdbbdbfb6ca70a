"""The node's publishers. Nothing is computed or serialised for a topic without a subscriber."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from dhpe_ros.config import MAX_HANDS, NodeConfig
from dhpe_ros.detection.search import prominence
from dhpe_ros.rendering.overlay import draw_overlay, hand_mask, window_of
from dhpe_ros.ros.conversion import (
    HandArray,
    HandMesh,
    camera_info_message,
    hand_array_message,
    image_message,
    mesh_message,
    points_message,
    transform_message,
)
from dhpe_ros.ros.health import HealthMonitor
from dhpe_ros.ros.markers import FastMarkers
from dhpe_ros.ros.names import AUTO, shared_prefix
from dhpe_ros.ros.qos import DEPTH, advertise
from dhpe_ros.types import Hand

try:
    from tf2_msgs.msg import TFMessage
except ImportError:
    TFMessage = None

TOPICS = {
    "hands": HandArray,
    "meshes": HandMesh,
    "mask": Image,
    "camera_info": CameraInfo,
    "markers": MarkerArray,
    "points": PointCloud2,
    "depth_without_hands": Image,
    "overlay": Image,
}

_DEPTHS = {"meshes": MAX_HANDS}  # one message per hand, all at once


class HandOutputs:
    """Publishes the hands of one image; ``publish_images`` may run in a thread of its own."""

    def __init__(self, node: Node, config: NodeConfig, health: HealthMonitor) -> None:
        self._publishers: dict[str, Publisher] = {
            name: advertise(node, message_type, f"~/{name}", health, _DEPTHS.get(name, DEPTH))
            for name, message_type in TOPICS.items()
        }
        self._frames = HandFrames(node, health) if config.publish_tf else None
        self._markers = FastMarkers()

    def wanted(self) -> bool:
        """True where any output has a subscriber."""
        return self.hands_wanted() or self._wanted("camera_info")

    def hands_wanted(self) -> bool:
        """True where an output that needs the hands has a subscriber: all but camera_info."""
        if any(self._wanted(name) for name in TOPICS if name != "camera_info"):
            return True
        return self._frames is not None and self._frames.wanted()

    def publish_camera_info(
        self, info: CameraInfo | None, header: Header, width: int, height: int
    ) -> None:
        """Publish the camera of an image; ``info`` is None where it is unknown."""
        if self._wanted("camera_info"):
            copy = camera_info_message(info, header, width, height)
            self._publishers["camera_info"].publish(copy)

    def publish_hands(self, hands: list[Hand], header: Header, config: NodeConfig) -> None:
        """Publish hands, frames, meshes, points, in the order in which robots wait for them."""
        if self._wanted("hands"):
            self._publishers["hands"].publish(hand_array_message(hands, header))
        if self._frames is not None:
            self._frames.publish(hands, header, config.tf_prefix)
        if self._wanted("meshes"):
            for hand in hands:
                self._publishers["meshes"].publish(mesh_message(hand, header))
        if self._wanted("points"):
            self._publishers["points"].publish(points_message(hands, header))

    def publish_images(
        self,
        hands: list[Hand],
        header: Header,
        image: np.ndarray,
        depth_m: np.ndarray | None,
        config: NodeConfig,
    ) -> None:
        """Publish the mask, the depth image without the hands, and the overlay.

        ``image`` is ``(H, W, 3)`` RGB; ``depth_m`` is ``(H, W)`` metres, or None without depth.
        """
        height, width = image.shape[:2]
        without_wanted = depth_m is not None and self._wanted("depth_without_hands")
        if without_wanted or self._wanted("mask"):
            mask = hand_mask(hands, height, width)
            self._publish_image("mask", mask, "mono8", header)
            if depth_m is not None and without_wanted:
                without = _without(depth_m, hands, mask, config.depth_margin)
                self._publish_image("depth_without_hands", without, "32FC1", header)
        if self._wanted("overlay"):
            self._publish_image("overlay", draw_overlay(image, hands), "rgb8", header)

    def publish_markers(self, hands: list[Hand], header: Header, lifetime_s: float) -> None:
        """Publish the markers of these hands; those of lost hands are deleted, once."""
        if self._wanted("markers") and (hands or self._markers.shows_any):
            markers = self._markers.update(hands, header, lifetime_s)
            self._publishers["markers"].publish(markers)

    def _publish_image(self, name: str, pixels: np.ndarray, encoding: str, header: Header) -> None:
        if self._wanted(name):
            self._publishers[name].publish(image_message(pixels, encoding, header))

    def _wanted(self, name: str) -> bool:
        return self._publishers[name].get_subscription_count() > 0


class HandFrames:
    """Publishes frames at the hands' wrists on ``/tf``, where tf2's messages are installed.

    ``<prefix>hand_<track>`` for each hand, and ``<prefix>hand_left``, ``<prefix>hand_right`` for
    the most prominent one of a side.
    """

    def __init__(self, node: Node, health: HealthMonitor) -> None:
        self._publisher = None
        self._own_prefix = shared_prefix(node, "hand", "/")
        if TFMessage is None:
            health.report(
                "tf",
                "publish_tf has no effect: tf2_msgs is not installed. It comes with tf2_ros: "
                "apt install ros-$ROS_DISTRO-tf2-ros",
                once=True,
            )
            return
        self._publisher = advertise(node, TFMessage, "/tf", health)

    def wanted(self) -> bool:
        return self._publisher is not None and self._publisher.get_subscription_count() > 0

    def publish(self, hands: list[Hand], header: Header, prefix: str) -> None:
        """Publish the wrists of one image, unless it has no frame_id to be relative to.

        ``prefix`` ``auto`` stands for the node's own.
        """
        if self._publisher is not None and hands and header.frame_id and self.wanted():
            prefix = self._own_prefix if prefix == AUTO else prefix
            self._publisher.publish(TFMessage(transforms=hand_transforms(hands, header, prefix)))


def hand_transforms(hands: list[Hand], header: Header, prefix: str) -> list[TransformStamped]:
    """The wrist of each hand under its track, and of each side's most prominent under the side."""
    named = {f"{prefix}hand_{hand.track_id}": hand for hand in hands}
    for hand in sorted(hands, key=lambda hand: prominence(hand.score, hand.box)):
        named[f"{prefix}hand_{hand.side.name.lower()}"] = hand
    return [transform_message(hand, header, name) for name, hand in named.items()]


def _without(
    depth_m: np.ndarray, hands: Sequence[Hand], mask: np.ndarray, margin_px: int
) -> np.ndarray:
    """A copy of the depth with NaN under the hands' mask, dilated by the margin."""
    square = np.ones((2 * margin_px + 1, 2 * margin_px + 1), np.uint8)  # OpenCV's fastest kernel
    without = depth_m.copy()
    height, width = depth_m.shape
    for hand in hands:
        window = window_of(hand, height, width, margin=margin_px)
        if window is not None:
            without[window][cv2.dilate(mask[window], square) > 0] = np.nan
    return without
