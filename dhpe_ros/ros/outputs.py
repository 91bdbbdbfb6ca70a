"""The node's publishers. Nothing is computed or serialised for a topic without a subscriber."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, Image, PointCloud2
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from dhpe_ros.config import MAX_HANDS, NodeConfig
from dhpe_ros.rendering.overlay import draw_overlay, hand_mask, window_of
from dhpe_ros.ros.fast_markers import FastMarkers
from dhpe_ros.ros.frames import HandFrames
from dhpe_ros.ros.message_conversion import (
    HandArray,
    HandMesh,
    camera_info_message,
    hand_array_message,
    image_message,
    mesh_message,
    points_message,
)
from dhpe_ros.ros.qos import DEPTH, advertise
from dhpe_ros.ros.troubles import Troubles
from dhpe_ros.types import Hand

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

_DEPTHS = {"meshes": MAX_HANDS}  # a message a hand, all at once


class HandOutputs:
    """Publishes what was found in one image, the pictures in a thread of their own."""

    def __init__(self, node: Node, config: NodeConfig, troubles: Troubles) -> None:
        self._publishers: dict[str, Publisher] = {
            name: advertise(node, kind, f"~/{name}", troubles, _DEPTHS.get(name, DEPTH))
            for name, kind in TOPICS.items()
        }
        self._frames = HandFrames(node, troubles) if config.publish_tf else None
        self._markers = FastMarkers()

    def wanted(self) -> bool:
        """True where anybody listens to anything."""
        return self.hands_wanted() or self._wanted("camera_info")

    def hands_wanted(self) -> bool:
        """True where anybody listens to what is found in images, as all but camera_info is."""
        if any(self._wanted(name) for name in TOPICS if name != "camera_info"):
            return True
        return self._frames is not None and self._frames.wanted()

    def publish_camera_info(
        self, info: CameraInfo | None, header: Header, width: int, height: int
    ) -> None:
        """The camera of an image, whether or not hands are wanted; None where it is not known."""
        if self._wanted("camera_info"):
            copy = camera_info_message(info, header, width, height)
            self._publishers["camera_info"].publish(copy)

    def publish_hands(self, hands: list[Hand], header: Header, config: NodeConfig) -> None:
        """First what robots wait for: the hands, where they are, then their surfaces."""
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
        """The mask, the depth image without the hands, and the overlay.

        ``image`` is ``(H, W, 3)`` RGB, ``depth_m`` ``(H, W)`` metres where there is one.
        """
        height, width = image.shape[:2]
        leaves_out = depth_m is not None and self._wanted("depth_without_hands")
        if leaves_out or self._wanted("mask"):
            mask = hand_mask(hands, height, width)
            self._publish_image("mask", mask, "mono8", header)
            if leaves_out:
                without = _without(depth_m, hands, mask, config.depth_margin)
                self._publish_image("depth_without_hands", without, "32FC1", header)
        if self._wanted("overlay"):
            self._publish_image("overlay", draw_overlay(image, hands), "rgb8", header)

    def publish_markers(self, hands: list[Hand], header: Header, lifetime_s: float) -> None:
        """Markers of these hands; those of hands that are gone are deleted, once."""
        if self._wanted("markers") and (hands or self._markers.shows_any):
            markers = self._markers.update(hands, header, lifetime_s)
            self._publishers["markers"].publish(markers)

    def _publish_image(self, name: str, pixels: np.ndarray, encoding: str, header: Header) -> None:
        if self._wanted(name):
            self._publishers[name].publish(image_message(pixels, encoding, header))

    def _wanted(self, name: str) -> bool:
        return self._publishers[name].get_subscription_count() > 0


def _without(
    depth_m: np.ndarray, hands: Sequence[Hand], mask: np.ndarray, margin_px: int
) -> np.ndarray:
    """A copy of the depth, NaN under the hands' mask and for so many pixels about it."""
    near = np.ones((2 * margin_px + 1, 2 * margin_px + 1), np.uint8)  # what OpenCV is quickest at
    without = depth_m.copy()
    for hand in hands:
        window = window_of(hand, *mask.shape, margin=margin_px)
        if window is not None:
            without[window][cv2.dilate(mask[window], near) > 0] = np.nan
    return without
