"""Hands to collision objects, over the real transport."""

import time

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dhpe_ros.msg", reason="needs the messages built")

import rclpy
from fake_tracker import make_hand
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Header

from dhpe_ros.msg import HandArray
from dhpe_ros.ros import collision_bridge
from dhpe_ros.ros.message_conversion import hand_array_message

QUICK = ["--ros-args", "-p", "rate:=30.0", "-p", "timeout:=0.5"]


class Planner:
    """Publishes hands, and knows what the scene has in it."""

    def __init__(self):
        kind = collision_bridge.CollisionObject
        self.node = rclpy.create_node("planner")
        self.scene, self.heard = {}, []
        self.hands = self.node.create_publisher(HandArray, "hand/hands", 1)
        self.node.create_subscription(kind, "collision_object", self._on_object, 20)
        self.bridge = collision_bridge.CollisionBridge()
        self.executor = SingleThreadedExecutor()
        for node in (self.node, self.bridge):
            self.executor.add_node(node)

    def _on_object(self, message):
        self.heard.append(message)
        if message.operation == message.ADD:
            self.scene[message.id] = message
        else:
            self.scene.pop(message.id, None)

    def until(self, happened, publish=None):
        """Publish and spin until ``happened()``; whether it did."""
        end = time.monotonic() + 20
        while not happened() and time.monotonic() < end:
            if publish is not None:
                header = Header(frame_id="optical")
                self.hands.publish(hand_array_message(publish, header))
            self.executor.spin_once(timeout_sec=0.05)
        return happened()


@pytest.fixture
def planner():
    pytest.importorskip("moveit_msgs.msg", reason="needs moveit_msgs, of a ROS installation")
    rclpy.init(args=QUICK)
    yield Planner()
    rclpy.shutdown()


def test_a_hand_becomes_an_object_and_is_removed_when_it_is_gone(planner):
    both = [make_hand(track_id=1), make_hand(track_id=2)]
    assert planner.until(lambda: set(planner.scene) == {"hand_1", "hand_2"}, both)
    added = planner.scene["hand_1"]
    assert added.header.frame_id == "optical"
    assert len(added.primitives) == len(added.primitive_poses) == 41
    assert planner.until(lambda: set(planner.scene) == {"hand_2"}, both[1:])


def test_silence_removes_everything_once(planner):
    assert planner.until(lambda: planner.scene, [make_hand(track_id=1)])
    assert planner.until(lambda: not planner.scene)
    planner.heard.clear()
    end = time.monotonic() + 0.5
    planner.until(lambda: time.monotonic() > end)
    assert planner.heard == []


def test_simulated_time_that_stands_still_keeps_no_hand(monkeypatch):
    """Another message stands for CollisionObject, which is not on every machine."""
    monkeypatch.setattr(collision_bridge, "CollisionObject", Header)
    monkeypatch.setattr(collision_bridge, "removed", lambda name, _: Header(frame_id=name))
    rclpy.init(args=[*QUICK, "-p", "use_sim_time:=true"])
    try:
        bridge = collision_bridge.CollisionBridge()
        bridge._shown["hand_1"] = Header()
        end = time.monotonic() + 10
        while bridge._shown and time.monotonic() < end:
            rclpy.spin_once(bridge, timeout_sec=0.05)
        assert not bridge._shown
    finally:
        rclpy.shutdown()


def test_a_hand_of_unknown_distance_is_left_out(planner):
    hands = [make_hand(track_id=1, metric=False), make_hand(track_id=2)]
    assert planner.until(lambda: planner.scene, hands)
    assert set(planner.scene) == {"hand_2"}


def test_without_moveit_it_says_what_to_install_and_fails(monkeypatch, capfd):
    monkeypatch.setattr(collision_bridge, "CollisionObject", None)
    assert collision_bridge.main([]) == 1
    assert "apt install ros-$ROS_DISTRO-moveit-msgs" in capfd.readouterr().err
