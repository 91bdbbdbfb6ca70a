"""The node's publishers. Nothing is computed or serialised for a topic without a subscriber."""

from __future__ import annotations

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from dhpe_ros.drawing import draw_overlay, hand_mask
from dhpe_ros.ros.markers import MarkerBuilder
from dhpe_ros.ros.message_conversion import (
    HandArray,
    HandMesh,
    camera_info_message,
    hand_array_message,
    image_message,
    mesh_message,
)
from dhpe_ros.ros.qos import advertise
from dhpe_ros.ros.troubles import Troubles
from dhpe_ros.types import Hand

TOPICS = {
    "hands": HandArray,
    "meshes": HandMesh,
    "mask": Image,
    "camera_info": CameraInfo,
    "markers": MarkerArray,
    "overlay": Image,
}


class HandOutputs:
    """Publishes what was found in one image. Only the worker calls it."""

    def __init__(self, node: Node, troubles: Troubles) -> None:
        self._publishers: dict[str, Publisher] = {
            name: advertise(node, kind, f"~/{name}", troubles) for name, kind in TOPICS.items()
        }
        self._markers = MarkerBuilder()

    def wanted(self) -> bool:
        """Whether anybody listens to anything that was found: camera_info only goes along."""
        return any(self._wanted(name) for name in TOPICS if name != "camera_info")

    def publish_hands(self, hands: list[Hand], header: Header) -> None:
        """First what robots wait for: the hands, then their meshes."""
        if self._wanted("hands"):
            self._publishers["hands"].publish(hand_array_message(hands, header))
        if self._wanted("meshes"):
            for hand in hands:
                self._publishers["meshes"].publish(mesh_message(hand, header))

    def publish_images(
        self, hands: list[Hand], header: Header, image: np.ndarray, info: CameraInfo | None
    ) -> None:
        """The mask with its camera_info, and the overlay; ``image`` is ``(H, W, 3)`` RGB."""
        height, width = image.shape[:2]
        if self._wanted("mask"):
            mask = image_message(hand_mask(hands, height, width), "mono8", header)
            self._publishers["mask"].publish(mask)
        if self._wanted("camera_info"):
            copy = camera_info_message(info, header, width, height)
            self._publishers["camera_info"].publish(copy)
        if self._wanted("overlay"):
            overlay = image_message(draw_overlay(image, hands), "rgb8", header)
            self._publishers["overlay"].publish(overlay)

    def publish_markers(self, hands: list[Hand], header: Header, lifetime_s: float) -> None:
        """Markers of these hands; those of hands that are gone are deleted, once."""
        if self._wanted("markers") and (hands or self._markers.shows_any):
            markers = self._markers.update(hands, header, lifetime_s)
            self._publishers["markers"].publish(markers)

    def _wanted(self, name: str) -> bool:
        return self._publishers[name].get_subscription_count() > 0
