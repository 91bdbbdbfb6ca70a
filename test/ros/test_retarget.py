"""The node ``retarget`` over the real transport, and its launch file."""

import os
import runpy
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dhpe_ros.msg", reason="needs the messages built")

import rclpy
from fake_tracker import make_hand
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState
from std_msgs.msg import Header

from dhpe_ros.msg import HandArray
from dhpe_ros.ros.conversion import hand_array_message
from dhpe_ros.ros.node_configs import RetargetConfig
from dhpe_ros.ros.retarget import retarget_node
from dhpe_ros.types import Side

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def robot(request):
    """The node beside an operator, who publishes hands and hears the joint angles."""
    pytest.importorskip("dex_retargeting", reason="needs requirements/retarget.txt")
    rclpy.init(args=["--ros-args", *getattr(request, "param", [])])
    yield Operator()
    rclpy.shutdown()


class Operator:
    def __init__(self):
        self.node = rclpy.create_node("operator")
        self.heard = []
        self.hands = self.node.create_publisher(HandArray, "hand/hands", 1)
        self.node.create_subscription(JointState, "retarget/joint_states", self.heard.append, 10)
        self.retarget = retarget_node.RetargetNode()
        self.executor = SingleThreadedExecutor()
        for node in (self.node, self.retarget):
            self.executor.add_node(node)

    def show(self, *hands, until=lambda state: True):
        """Publish hands until a heard state is as wanted; that state, or None."""
        self.heard.clear()
        end = time.monotonic() + 20
        header = Header(frame_id="optical")
        header.stamp.sec = 7
        while time.monotonic() < end:
            self.hands.publish(hand_array_message(hands, header))
            self.executor.spin_once(timeout_sec=0.05)
            if any(map(until, self.heard)):
                return self.heard[-1]
        return None


def test_each_message_with_the_hand_gives_one_joint_state(robot):
    state = robot.show(make_hand(side=Side.RIGHT))
    assert state.header.stamp.sec == 7
    assert state.name == robot.retarget._retargeter.joint_names
    angles, limits = np.array(state.position), robot.retarget._retargeter.limits
    assert (limits[:, 0] <= angles).all() and (angles <= limits[:, 1]).all()


@pytest.mark.parametrize(
    ("robot", "followed"),
    [([], Side.RIGHT), (["-p", "operator:=left"], Side.LEFT)],
    indirect=["robot"],
)
def test_only_the_operators_hand_moves_the_robot(robot, followed):
    assert robot.show(make_hand(side=followed))
    calls = []
    robot.retarget._retargeter.retarget = lambda joints, side: calls.append(side)
    robot.retarget._on_hands(hand_array_message([make_hand(side=followed.other)], Header()))
    assert calls == []


def test_the_same_hand_is_followed_beside_a_surer_one(robot):
    first, other = make_hand(track_id=1), make_hand(track_id=2)
    sure, surer = (replace(hand, score=s) for hand, s in ((first, 0.5), (other, 0.9)))
    followed = robot.retarget._followed
    assert followed(hand_array_message([sure], Header()).hands).track_id == 1
    assert followed(hand_array_message([surer, sure], Header()).hands).track_id == 1
    assert followed(hand_array_message([], Header()).hands) is None
    assert followed(hand_array_message([surer], Header()).hands).track_id == 2


def test_joints_that_are_no_hand_are_told_and_the_next_hand_is_taken(robot):
    flat = replace(make_hand(), joints_m=np.zeros((21, 3), np.float32))
    robot.retarget._on_hands(hand_array_message([flat], Header()))
    (fault,) = robot.retarget._health.faults()
    assert fault.startswith("a hand is left out: the joints of a hand are not finite")
    assert robot.show(make_hand())


@pytest.mark.parametrize(
    ("parameter", "message"),
    [
        ("hand:=shadow", "shadow_right.yaml brings no URDF: give the robot hand's by urdf:=FILE"),
        ("hand:=glove", "no configuration of a right hand 'glove'; write shadow, allegro, leap"),
        ("side:=left", "no configuration of a left hand 'example'"),
        ("hand:=/none.yaml", "No such file or directory: '/none.yaml'"),
        ("urdf:=/none.urdf", "no URDF /none.urdf"),
        ("urdf:=package://none_description/hand.urdf", "there is no ROS package none_description"),
        ("operator:=both", "operator must be one of same, right, left, got 'both'"),
    ],
)
def test_what_it_cannot_start_with_is_told_in_one_line(parameter, message, capfd):
    pytest.importorskip("dex_retargeting", reason="needs requirements/retarget.txt")
    assert retarget_node.main(["--ros-args", "-p", parameter]) == 1
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "cannot start" in line]
    assert message in line


@pytest.mark.parametrize("missing", ["dex_retargeting", "pinocchio"])
def test_without_dex_retargeting_a_real_process_says_what_to_install_and_fails(missing):
    program = f"""
import sys
sys.modules[{missing!r}] = None
from dhpe_ros.ros.retarget.retarget_node import main
sys.exit(main())
"""
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert run.returncode == 1
    assert "pip install --no-deps -r requirements/retarget.txt" in run.stderr
    assert len(run.stderr.splitlines()) == 1


def test_the_launch_file_offers_the_parameters_of_the_node():
    pytest.importorskip("launch_ros", reason="needs launch_ros, of a ROS 2 installation")
    from launch import LaunchContext

    file = runpy.run_path(str(ROOT / "launch" / "retarget.launch.py"))
    defaults = RetargetConfig().as_mapping()
    assert {name: file["ARGUMENTS"][name][0] for name in file["PARAMETERS"]} == defaults
    context = LaunchContext()
    given = {name: default for name, (default, _) in file["ARGUMENTS"].items()}
    context.launch_configurations.update({**given, "hand": "leap", "hands": "/left/hand/hands"})
    (node,) = file["_start"](context)
    assert node.node_executable == "dhpe_retarget"
    context.launch_configurations["use_sim_time"] = "maybe"
    with pytest.raises(ValueError, match="use_sim_time must be true or false, got 'maybe'"):
        file["_start"](context)


def test_under_launch_it_tells_why_it_cannot_start():
    pytest.importorskip("ros2cli", reason="needs ros2cli, of a ROS 2 installation")
    pytest.importorskip("dex_retargeting", reason="needs requirements/retarget.txt")
    ros2 = "import sys; from ros2cli.cli import main; sys.exit(main())"
    command = [
        sys.executable,
        "-c",
        ros2,
        "launch",
        "launch/retarget.launch.py",
        "urdf:=/none.urdf",
    ]
    environment = {k: v for k, v in os.environ.items() if "DEFAULT_PROFILES_FILE" not in k}
    run = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120
    )
    assert "cannot start: no URDF /none.urdf" in run.stdout + run.stderr
