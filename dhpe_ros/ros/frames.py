"""``/tf``: a frame at each wrist, where tf2's messages are installed."""

from __future__ import annotations

from geometry_msgs.msg import TransformStamped
from rclpy.node import Node
from std_msgs.msg import Header

from dhpe_ros.detection.search import prominence
from dhpe_ros.ros.message_conversion import transform_message
from dhpe_ros.ros.names import AUTO, shared_prefix
from dhpe_ros.ros.qos import advertise
from dhpe_ros.ros.troubles import Troubles
from dhpe_ros.types import Hand

try:
    from tf2_msgs.msg import TFMessage
except ImportError:
    TFMessage = None


class HandFrames:
    """Publishes frames at the hands' wrists while somebody listens to ``/tf``.

    ``<prefix>hand_<track>`` for each hand, and ``<prefix>hand_left``, ``<prefix>hand_right`` for
    the most prominent one of a side.
    """

    def __init__(self, node: Node, troubles: Troubles) -> None:
        self._publisher = None
        self._own_prefix = shared_prefix(node, "hand", "/")
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
        """The wrists of one image; without a frame they would hang in the air, and are left out.

        ``prefix`` ``auto`` stands for the node's own.
        """
        if hands and header.frame_id and self.wanted():
            prefix = self._own_prefix if prefix == AUTO else prefix
            self._publisher.publish(TFMessage(transforms=hand_transforms(hands, header, prefix)))


def hand_transforms(hands: list[Hand], header: Header, prefix: str) -> list[TransformStamped]:
    """The wrist of each hand by its track, and of the most prominent one of each side by that."""
    named = {f"{prefix}hand_{hand.track_id}": hand for hand in hands}
    for hand in sorted(hands, key=lambda hand: prominence(hand.score, hand.box)):
        named[f"{prefix}hand_{hand.side.name.lower()}"] = hand
    return [transform_message(hand, header, name) for name, hand in named.items()]
