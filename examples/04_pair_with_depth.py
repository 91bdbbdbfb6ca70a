"""Depth camera and hands side by side: ``python examples/04_pair_with_depth.py``.

Remap the depth image: ``--ros-args -r depth:=/camera/aligned_depth_to_color/image_raw``.
"""

from collections import deque
from contextlib import suppress

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import Image

from dhpe_ros.media.image_messages import depth_to_metres, stamp_ns
from dhpe_ros.msg import HandArray

TOLERANCE_NS = 20_000_000  # between the stamps of a pair


class DepthAtHands(Node):
    def __init__(self) -> None:
        super().__init__("depth_at_hands")
        # Hands come later than the depth image of the same time: keep some. A message_filters
        # ApproximateTimeSynchronizer does the same, where message_filters is installed.
        self.depths: deque[Image] = deque(maxlen=30)
        # Cameras publish "best effort", which a reliable subscription would never receive.
        self.create_subscription(Image, "depth", self.on_depth, qos_profile_sensor_data)
        self.create_subscription(HandArray, "hand/hands", self.on_hands, 1)

    def on_depth(self, image: Image) -> None:
        self.depths.append(image)

    def on_hands(self, message: HandArray) -> None:
        wanted = stamp_ns(message.header.stamp) or 0
        gaps = [abs((stamp_ns(depth.header.stamp) or 0) - wanted) for depth in self.depths]
        if not gaps or min(gaps) > TOLERANCE_NS:
            self.get_logger().warning("no depth image of that time", throttle_duration_sec=2.0)
            return
        depth_m = depth_to_metres(self.depths[int(np.argmin(gaps))])  # NaN where unmeasured
        for hand in message.hands:
            # The camera measures the skin, joints lie about a centimetre beneath.
            x, y = np.rint(hand.joints_px[:2]).astype(int)  # the wrist
            if 0 <= y < depth_m.shape[0] and 0 <= x < depth_m.shape[1]:
                self.get_logger().info(
                    f"wrist of hand {hand.track_id}: {hand.joints_m[2]:.3f} m by the hand, "
                    f"{depth_m[y, x]:.3f} m by the depth image"
                )


if __name__ == "__main__":
    rclpy.init()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(DepthAtHands())
