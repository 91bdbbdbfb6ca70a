"""Says "stop" while a hand is near a box: ``python examples/05_safety_stop.py``.

Publishes std_msgs/Bool on ``stop``. The box is in the camera's optical frame, metres:
``--ros-args -p low:="[-0.2, -0.1, 0.5]" -p high:="[0.2, 0.3, 0.9]" -p margin:=0.1``.

It makes a demonstration gentler. It is no safety function in the sense of any standard.
"""

from contextlib import suppress

import numpy as np
import rclpy
from rclpy.clock import Clock, ClockType
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from std_msgs.msg import Bool

from dhpe_ros.msg import Hand, HandArray

SILENCE_S = 0.5  # without hands messages; the node sends one for every image, if only an empty one


class SafetyStop(Node):
    def __init__(self) -> None:
        super().__init__("safety_stop")
        self.low = np.array(self.declare_parameter("low", [-0.2, -0.1, 0.5]).value)
        self.high = np.array(self.declare_parameter("high", [0.2, 0.3, 0.9]).value)
        self.margin = self.declare_parameter("margin", 0.1).value
        self.stop = self.create_publisher(Bool, "stop", 1)
        self.create_subscription(HandArray, "hand/hands", self.on_hands, 1)
        # Silence means that nobody looks: stop. Every message starts the time anew. A steady clock
        # runs on where simulated time stands still.
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.silence = self.create_timer(SILENCE_S, self.on_silence, clock=steady)

    def on_hands(self, message: HandArray) -> None:
        self.silence.reset()
        self.stop.publish(Bool(data=any(self.is_near(hand) for hand in message.hands)))

    def on_silence(self) -> None:
        self.stop.publish(Bool(data=True))

    def is_near(self, hand: Hand) -> bool:
        if not hand.intrinsics_known:
            return True  # no camera_info, no distance
        joints_m = np.reshape(hand.joints_m, (21, 3))
        nearest = np.clip(joints_m, self.low, self.high)  # point of the box, of each joint
        distances_m = np.linalg.norm(joints_m - nearest, axis=1)
        # A joint may be off by two standard deviations, which depth makes small.
        nearest_m = distances_m - 2 * np.array(hand.joint_stds_m)
        return not (nearest_m > self.margin).all()  # so that NaN stops


if __name__ == "__main__":
    rclpy.init()
    with suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(SafetyStop())
