"""Boxes of your own detector for the node: ``python examples/08_own_detector.py``.

Remap the image: ``--ros-args -r image:=/camera/image_raw``. ``detect`` is yours to replace.
"""

from contextlib import suppress

import cv2
import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image
from vision_msgs.msg import Detection2D, Detection2DArray

from dhpe_ros.media.image_messages import image_to_rgb


class Detector(Node):
    def __init__(self) -> None:
        super().__init__("detector")
        self.before: np.ndarray | None = None
        self.boxes = self.create_publisher(Detection2DArray, "hand/roi", 1)
        self.create_subscription(Image, "image", self.on_image, qos_profile_sensor_data)

    def detect(self, rgb: np.ndarray) -> list[tuple[int, int, int, int]]:
        """x, y, width, height of what moves; a box may be rough, the node refines it."""
        before, self.before = self.before, cv2.cvtColor(rgb, cv2.COLOR_RGB2GRAY)
        if before is None or before.shape != self.before.shape:
            return []
        moved = (cv2.absdiff(before, self.before) > 25).astype(np.uint8)
        x, y, width, height = cv2.boundingRect(moved)
        return [(x, y, width, height)] if width and height else []

    def on_image(self, image: Image) -> None:
        found = self.detect(image_to_rgb(image))
        # The image's stamp says which image the boxes are of. An empty array would tell the node
        # that there is no hand; nothing at all leaves it to its own search.
        message = Detection2DArray(header=image.header)
        for x, y, width, height in found:
            detection = Detection2D(header=image.header)
            detection.bbox.center.position.x = x + width / 2
            detection.bbox.center.position.y = y + height / 2
            detection.bbox.size_x, detection.bbox.size_y = float(width), float(height)
            message.detections.append(detection)
        if found:
            self.boxes.publish(message)


if __name__ == "__main__":
    rclpy.init()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(Detector())
