"""Hands and meshes of the running node: ``python examples/03_subscribe.py``."""

from contextlib import suppress

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from dhpe_ros.msg import Hand, HandArray, HandMeshArray


class Listener(Node):
    def __init__(self) -> None:
        super().__init__("listener")
        # Depth 1: only the newest message counts.
        self.create_subscription(HandArray, "hand/hands", self.on_hands, 1)
        self.create_subscription(HandMeshArray, "hand/meshes", self.on_meshes, 1)

    def on_hands(self, message: HandArray) -> None:
        for hand in message.hands:
            side = "left" if hand.side == Hand.LEFT else "right"
            joints_m = np.reshape(hand.joints_m, (21, 3))  # in the frame of the header
            tip = hand.joint_names.index("index4")
            where = np.round(joints_m[tip], 3) if hand.intrinsics_known else "an unknown distance"
            self.get_logger().info(f"{side} hand {hand.track_id}: index tip at {where}")

    def on_meshes(self, message: HandMeshArray) -> None:
        for mesh in message.meshes:  # the hands of the HandArray with the same stamp
            vertices_m = np.reshape(mesh.vertices, (-1, 3))
            triangles = np.reshape(mesh.triangles, (-1, 3))
            size = np.round(np.ptp(vertices_m, axis=0), 3)
            self.get_logger().info(
                f"mesh of hand {mesh.track_id}: {len(vertices_m)} vertices, "
                f"{len(triangles)} triangles, {size} m large"
            )


if __name__ == "__main__":
    rclpy.init()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(Listener())
