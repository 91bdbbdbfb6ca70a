"""Wrists in the map, of a camera that moves: ``python examples/09_hands_in_map.py``.

Publishes geometry_msgs/PoseArray on ``hands_in_map``. A Buffer of tf2_ros would interpolate, too.
"""

from collections import defaultdict, deque
from contextlib import suppress

import rclpy
from geometry_msgs.msg import PoseArray
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, QoSProfile
from rclpy.time import Time
from scipy.spatial.transform import Rotation
from tf2_msgs.msg import TFMessage

from dhpe_ros.msg import HandArray


class HandsInMap(Node):
    def __init__(self) -> None:
        super().__init__("hands_in_map")
        self.fixed = self.declare_parameter("fixed_frame", "map").value
        self.known = defaultdict(lambda: deque(maxlen=200))  # child frame -> its last transforms
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        self.create_subscription(TFMessage, "/tf", self.on_tf, 100)
        self.create_subscription(TFMessage, "/tf_static", self.on_tf, latched)
        self.create_subscription(HandArray, "hand/hands", self.on_hands, 1)
        self.poses = self.create_publisher(PoseArray, "hands_in_map", 1)

    def on_tf(self, message: TFMessage) -> None:
        for known in message.transforms:
            time_ns, parent = Time.from_msg(known.header.stamp).nanoseconds, known.header.frame_id
            self.known[known.child_frame_id].append((time_ns, parent, known.transform))

    def on_hands(self, message: HandArray) -> None:
        poses = [hand.wrist_pose for hand in message.hands]
        then, frame = Time.from_msg(message.header.stamp).nanoseconds, message.header.frame_id
        while frame != self.fixed:  # up the tree, as it was when the image was taken
            if not self.known[frame]:
                self.get_logger().warning(f"/tf has no parent of {frame}", throttle_duration_sec=2)
                return
            _, frame, step = min(self.known[frame], key=lambda known: abs(known[0] - then))
            q, t = step.rotation, step.translation
            up = Rotation.from_quat((q.x, q.y, q.z, q.w))
            for pose in poses:
                p, q = pose.position, pose.orientation
                x, y, z = up.apply((p.x, p.y, p.z))
                p.x, p.y, p.z = x + t.x, y + t.y, z + t.z
                q.x, q.y, q.z, q.w = (up * Rotation.from_quat((q.x, q.y, q.z, q.w))).as_quat()
        message.header.frame_id = self.fixed
        self.poses.publish(PoseArray(header=message.header, poses=poses))


if __name__ == "__main__":
    rclpy.init()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(HandsInMap())
