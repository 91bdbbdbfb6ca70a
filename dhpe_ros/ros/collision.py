"""The node ``hand_collision``: publishes hands as collision objects of MoveIt.

An object is made of capsules along the bones, which collision checking can follow at several hertz.

Started by ``ros2 run dhpe_ros hand_collision_node``, or by ``hand.launch.py`` with
``collision_objects:=true``.
"""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Sequence

import numpy as np
from geometry_msgs.msg import Point, Pose, Quaternion
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from shape_msgs.msg import SolidPrimitive
from std_msgs.msg import Header

from dhpe_ros.config import MAX_HANDS
from dhpe_ros.geometry.scale import BONE_RADII, hand_length_m
from dhpe_ros.ros.conversion import HandArray, HandMessage
from dhpe_ros.ros.health import HealthMonitor
from dhpe_ros.ros.node_configs import AUTO, BridgeConfig, shared_prefix
from dhpe_ros.ros.parameters import declare_parameters
from dhpe_ros.ros.qos import Input, advertise, steady_timer
from dhpe_ros.ros.running import run
from dhpe_ros.types import BONES, JOINT_COUNT, Scale

try:
    from moveit_msgs.msg import CollisionObject
except ImportError:
    CollisionObject = None

MISSING = (
    "moveit_msgs is not installed, and collision objects need it: "
    "apt install ros-$ROS_DISTRO-moveit-msgs"
)
_COVERED = 2.0  # standard deviations: covers nine joints in ten (docs/explanation/distance.md)
JOINT_RADII = np.array(  # (21,): that of the thickest bone at the joint
    [max(r for b, r in zip(BONES, BONE_RADII, strict=True) if j in b) for j in range(JOINT_COUNT)]
)


class CollisionBridge(Node):
    """Turns ``hand/hands`` into ``collision_object``: ADD for each hand, REMOVE when it is lost.

    Hands without known intrinsics are left out, since their place is unknown, and hands whose scale
    is less than ``min_scale``. The others are padded by the uncertainty of their distance.
    """

    def __init__(self) -> None:
        super().__init__("hand_collision")
        self._config = declare_parameters(self, BridgeConfig()).collision
        self._prefix = self._config.prefix
        if self._prefix == AUTO:  # no slashes: MoveIt separates an object's frames by them
            self._prefix = f"{shared_prefix(self, 'hand_collision', '_')}hand_"
        self._health = HealthMonitor(self.get_logger())
        self._newest: HandArray | None = None
        self._heard_s = 0.0
        self._shown: dict[str, Header] = {}  # ids of the objects in the scene
        # One message per hand, all at once, and one per lost hand.
        depth = 2 * MAX_HANDS
        self._objects = advertise(self, CollisionObject, "collision_object", self._health, depth)
        Input(self, "hand/hands", {HandArray: self._on_hands}, self._health).listen()
        steady_timer(self, 1 / self._config.rate, self._update)
        self.get_logger().info(
            f"ready: hands of {self.resolve_topic_name('hand/hands')} become objects on "
            f"{self.resolve_topic_name('collision_object')}"
        )

    def remove_all(self) -> None:
        """Remove all objects from the scene."""
        self._remove(set(self._shown))

    def _on_hands(self, message: HandArray) -> None:
        self._newest, self._heard_s = message, time.monotonic()

    def _update(self) -> None:
        if time.monotonic() - self._heard_s > self._config.timeout:
            self.remove_all()
        if self._newest is None:
            return
        message, self._newest = self._newest, None
        placed = self._well_placed(message.hands)
        hands = {f"{self._prefix}{hand.track_id}": hand for hand in placed}
        self._remove(set(self._shown) - set(hands))
        for name, hand in hands.items():
            self._objects.publish(added(name, hand, message.header, self._config.padding))
            self._shown[name] = message.header

    def _well_placed(self, hands: Sequence[HandMessage]) -> list[HandMessage]:
        """The hands whose distance is known well enough; the others are reported."""
        known = [hand for hand in hands if hand.intrinsics_known]
        fault = "hands are left out: without camera_info the hand node does not know their distance"
        self._health.update("intrinsics", fault if len(known) < len(hands) else "", once=True)
        name = self._config.min_scale
        placed = [hand for hand in known if hand.scale >= Scale[name.upper()]]
        fault = (
            f"hands are left out: min_scale is {name}, and their size is less certain. The hand "
            "node learns it within scale.learn_seconds, takes it from scale.hand_length, or "
            "measures it in a depth image; or set min_scale to estimated"
        )
        self._health.update("scale", fault if len(placed) < len(known) else "", once=True)
        return placed

    def _remove(self, names: set[str]) -> None:
        for name in sorted(names):
            self._objects.publish(removed(name, self._shown.pop(name)))


def added(name: str, hand: HandMessage, header: Header, padding_m: float) -> CollisionObject:
    """The ADD of one hand, which replaces an object of the same name.

    Its radii grow by ``padding_m`` and by the uncertainty of its joints.
    """
    joints_m = np.reshape(hand.joints_m, (-1, 3)).astype(float)
    shapes, poses = capsules(joints_m, padding_m + _COVERED * hand.joint_stds_m.astype(float))
    added = CollisionObject(header=header, id=name, operation=CollisionObject.ADD, pose=Pose())
    added.pose.orientation.w = 1.0
    added.primitives, added.primitive_poses = shapes, poses
    return added


def removed(name: str, header: Header) -> CollisionObject:
    return CollisionObject(header=header, id=name, operation=CollisionObject.REMOVE)


def capsules(
    joints_m: np.ndarray, padding_m: np.ndarray | float
) -> tuple[list[SolidPrimitive], list[Pose]]:
    """A sphere at each joint ``(21, 3)`` and a cylinder along each bone, with their poses.

    A bone with its two spheres is a capsule. ``padding_m``, of each joint ``(21,)`` or of all, is
    added to the radii; a bone has the wider of its ends'.
    """
    length_m = hand_length_m(joints_m)
    shapes, poses = [], []
    for center, radius in zip(joints_m, JOINT_RADII * length_m + padding_m, strict=True):
        shapes.append(SolidPrimitive(type=SolidPrimitive.SPHERE, dimensions=[float(radius)]))
        poses.append(_pose(center, np.array((0.0, 0.0, 1.0))))
    by_bone_m = np.broadcast_to(padding_m, len(joints_m))[np.array(BONES)].max(1)
    for (start, end), radius in zip(BONES, BONE_RADII * length_m + by_bone_m, strict=True):
        bone = joints_m[end] - joints_m[start]
        size = float(np.linalg.norm(bone)), float(radius)
        if size[0] > 0:
            shapes.append(SolidPrimitive(type=SolidPrimitive.CYLINDER, dimensions=size))
            poses.append(_pose((joints_m[start] + joints_m[end]) / 2, bone / size[0]))
    return shapes, poses


def _pose(position: np.ndarray, direction: np.ndarray) -> Pose:
    """The pose whose z axis has the direction of a unit vector ``(3,)``."""
    x, y, z = (float(value) for value in direction)
    turn = Quaternion(x=1.0, w=0.0)  # where z is turned round
    if z > -1 + 1e-9:
        length = (2 * (1 + z)) ** 0.5
        turn = Quaternion(x=-y / length, y=x / length, w=length / 2)
    return Pose(
        position=Point(**dict(zip("xyz", position.tolist(), strict=True))), orientation=turn
    )


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM. Returns 0, or 1 if it cannot start."""
    if CollisionObject is None:
        get_logger("hand_collision").fatal(f"cannot start: {MISSING}")
        return 1
    # Not ROS's signal handlers: they would end the publisher before the objects are removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    return run(
        "hand_collision",
        CollisionBridge,
        args,
        stop=CollisionBridge.remove_all,
        signals=SignalHandlerOptions.NO,
    )


if __name__ == "__main__":
    sys.exit(main())
