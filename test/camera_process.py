"""A camera in a process of its own: publishes what it is told by JSON lines on its input.

``{"kind": "noise", "count": 3, ...}``; each line is answered by the stamps that were sent, as JSON.
Arguments: ``reliable`` publishes images so; ``latched`` publishes one camera_info at the start.
"""

import json
import sys
import time

import numpy as np
import rclpy
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest
from std_msgs.msg import Header

from dhpe_ros.media.image_messages import fill_image

WIDTH, HEIGHT = 320, 240


def pixels_of(kind, size=(WIDTH, HEIGHT)):
    """``(height, width, 3)``: black, or noise whose first pixel is the number in the kind."""
    width, height = size
    if kind == "black":
        return np.zeros((height, width, 3), np.uint8)
    pixels = np.random.default_rng(0).integers(20, 235, (height, width, 3), np.uint8)
    if kind.isdigit():
        pixels[0, 0] = int(kind)
    return pixels


def _set(**values):
    def change(message):
        for name, value in values.items():
            setattr(message, name, value)

    return change


BREAK = {
    "step": _set(step=WIDTH),
    "data": lambda message: setattr(message, "data", message.data[:-10]),
    "empty": _set(width=0, height=0, step=0, data=[]),
}


class Camera:
    def __init__(self, node, reliable, latched):
        sensor = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        self.node = node
        self.images = node.create_publisher(Image, "image", 5 if reliable else sensor)
        self.depths = node.create_publisher(Image, "depth", sensor)
        once = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.infos = node.create_publisher(CameraInfo, "camera_info", once if latched else sensor)
        if latched:
            self.infos.publish(self.info(Image(header=Header(frame_id="camera")), 300.0))
        self.rois = node.create_publisher(RegionOfInterest, "hand/roi", sensor)

    def obey(self, kind="noise", count=1, period=0.1, info=True, focal=300.0, encoding="rgb8",
             frame="camera", age=0.0, stamped=True, roi=None, size=(WIDTH, HEIGHT),
             broken="", distortion=(), depth_m=0.0, depth_size=(WIDTH, HEIGHT)):  # fmt: skip
        """Publish ``count`` images; the ``(sec, nanosec)`` stamps of them."""
        stamps = []
        if roi:
            self.rois.publish(RegionOfInterest(**roi))
            time.sleep(0.1)
        for _ in range(count):
            message = fill_image(Image(), pixels_of(kind, size), "rgb8")
            message.encoding = encoding
            if broken:
                BREAK[broken](message)
            message.header.frame_id = frame
            if stamped:
                nanoseconds = self.node.get_clock().now().nanoseconds - int(age * 1e9)
                message.header.stamp.sec, message.header.stamp.nanosec = divmod(nanoseconds, 10**9)
            if info:
                self.infos.publish(self.info(message, focal, distortion))
                time.sleep(0.03)
            if depth_m:
                pixels = np.full(depth_size[::-1], depth_m, np.float32)
                self.depths.publish(fill_image(Image(header=message.header), pixels, "32FC1"))
                time.sleep(0.03)
            self.images.publish(message)
            stamps.append((message.header.stamp.sec, message.header.stamp.nanosec))
            time.sleep(period)
        return stamps

    def info(self, image, focal, distortion=()):
        info = CameraInfo(header=image.header, width=WIDTH, height=HEIGHT)
        info.distortion_model, info.d = "plumb_bob", list(distortion)
        info.k = [focal, 0.0, 160.0, 0.0, focal, 120.0, 0.0, 0.0, 1.0 if focal else 0.0]
        return info


def main():
    rclpy.init()
    node = rclpy.create_node("camera")
    camera = Camera(node, "reliable" in sys.argv, "latched" in sys.argv)
    print("ready", flush=True)
    for line in sys.stdin:
        print(json.dumps(camera.obey(**json.loads(line))), flush=True)
    node.destroy_node()  # or it lives on for the others, until its lease ends
    rclpy.shutdown()


if __name__ == "__main__":
    main()
