"""The node ``retarget``: publishes joint angles of a robot hand that follows a person's hand.

Started by ``ros2 launch dhpe_ros retarget.launch.py`` or ``ros2 run dhpe_ros dhpe_retarget``.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from ament_index_python.packages import PackageNotFoundError, get_package_share_directory
from rclpy.logging import get_logger
from rclpy.node import Node
from sensor_msgs.msg import JointState

from dhpe_ros.files.resources import shared_file
from dhpe_ros.ros.conversion import HandArray, HandMessage
from dhpe_ros.ros.health import ONE_MESSAGE_S, HealthMonitor
from dhpe_ros.ros.node_configs import RetargetConfig, RobotHandConfig
from dhpe_ros.ros.parameters import declare_parameters
from dhpe_ros.ros.qos import Input, advertise
from dhpe_ros.ros.running import run
from dhpe_ros.types import Side

try:
    from dhpe_ros.ros.retarget.retargeting import Retargeter
except ModuleNotFoundError as error:
    if error.name is None or error.name.startswith("dhpe_ros"):
        raise
    Retargeter = None  # type: ignore[assignment,misc]

MISSING = (
    "dex-retargeting is not installed, and retargeting needs it: "
    "pip install --no-deps -r requirements/retarget.txt"
)
_PACKAGE = "package://"


class RetargetNode(Node):
    """Turns ``hand/hands`` into ``~/joint_states``: one message for each with the operator's hand.

    Without that hand nothing is published, so that the robot stays as it is.
    """

    def __init__(self) -> None:
        super().__init__("retarget")
        torch.set_num_threads(1)  # the solver's tensors are tiny: threads only wait
        robot = declare_parameters(self, RetargetConfig()).robot
        self._retargeter = Retargeter(_configuration(robot), _urdf(robot.urdf))
        same = robot.operator == "same"
        self._operator = self._retargeter.side if same else Side[robot.operator.upper()]
        self._track: int | None = None
        self._health = HealthMonitor(self.get_logger())
        self._angles = advertise(self, JointState, "~/joint_states", self._health)
        Input(self, "hand/hands", {HandArray: self._on_hands}, self._health).listen()
        self.get_logger().info(
            f"ready: {len(self._retargeter.joint_names)} joints on "
            f"{self.resolve_topic_name('~/joint_states')} follow the {self._operator.name.lower()} "
            f"hand of {self.resolve_topic_name('hand/hands')}"
        )

    def _on_hands(self, message: HandArray) -> None:
        hand = self._followed(message.hands)
        if hand is None:
            return
        joints_m = np.reshape(hand.joints_m, (-1, 3))
        try:
            angles = self._retargeter.retarget(joints_m, self._operator)
        except ValueError as error:
            self._health.report("joints", f"a hand is left out: {error}", lasts_s=ONE_MESSAGE_S)
            return
        state = JointState(name=self._retargeter.joint_names, position=array("d", angles))
        state.header.stamp = message.header.stamp
        self._angles.publish(state)

    def _followed(self, hands: Sequence[HandMessage]) -> HandMessage | None:
        """The hand with the last one's track, or the surest of the operator's side."""
        ours = [hand for hand in hands if hand.side == self._operator]
        if not ours:
            return None
        hand = max(ours, key=lambda hand: (hand.track_id == self._track, hand.score))
        self._track = hand.track_id
        return hand


def _configuration(robot: RobotHandConfig) -> Path:
    """The configuration that ships for ``robot``, or the file that it names."""
    if robot.hand.endswith((".yaml", ".yml")):
        return Path(robot.hand)
    try:
        return shared_file(f"config/retarget/{robot.hand}_{robot.side}.yaml")
    except FileNotFoundError as error:
        raise ValueError(
            f"there is no configuration of a {robot.side} hand {robot.hand!r}; write shadow, "
            "allegro, leap, example (right only), or the path of a .yaml file"
        ) from error


def _urdf(text: str) -> Path | None:
    """The file that a path or ``package://NAME/PATH`` names; None for an empty text."""
    if not text.startswith(_PACKAGE):
        return Path(text) if text else None
    package, _, path = text.removeprefix(_PACKAGE).partition("/")
    try:
        return Path(get_package_share_directory(package), path)
    except (PackageNotFoundError, OSError) as error:  # OSError: nothing is sourced at all
        raise FileNotFoundError(
            f"urdf {text}: there is no ROS package {package}; install it and source its workspace"
        ) from error


def main(args: Sequence[str] | None = None) -> int:
    """Run the node until SIGINT or SIGTERM. Returns 0, or 1 if it cannot start."""
    if Retargeter is None:
        get_logger("retarget").fatal(f"cannot start: {MISSING}")
        return 1
    return run("retarget", RetargetNode, args)


if __name__ == "__main__":
    sys.exit(main())
