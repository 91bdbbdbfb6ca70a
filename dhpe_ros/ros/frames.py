"""``/tf``: a frame at each wrist, where tf2's messages are installed."""

from __future__ import annotations

from rclpy.node import Node
from std_msgs.msg import Header

from dhpe_ros.ros.message_conversion import transform_message
from dhpe_ros.ros.qos import advertise
from dhpe_ros.ros.troubles import Troubles
from dhpe_ros.types import Hand

try:
    from tf2_msgs.msg import TFMessage
except ImportError:
    TFMessage = None


class HandFrames:
    """Publishes ``<prefix>hand_<track>`` for each hand while somebody listens to ``/tf``."""

    def __init__(self, node: Node, troubles: Troubles) -> None:
        self._publisher = None
        if TFMessage is None:
            troubles.report(
                "tf",
                "publish_tf has no effect: tf2_msgs is not installed here. It comes with tf2_ros: "
                "apt install ros-$ROS_DISTRO-tf2-ros",
                once=True,
            )
            return
        self._publisher = advertise(node, TFMessage, "/tf", troubles)

    def wanted(self) -> bool:
        return self._publisher is not None and self._publisher.get_subscription_count() > 0

    def publish(self, hands: list[Hand], header: Header, prefix: str) -> None:
        """The wrists of one image; without a frame they would hang in the air, and are left out."""
        if hands and header.frame_id and self.wanted():
            transforms = [transform_message(hand, header, prefix) for hand in hands]
            self._publisher.publish(TFMessage(transforms=transforms))
