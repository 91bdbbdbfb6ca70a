"""Hands to collision objects, over the real transport."""

import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dhpe_ros.msg", reason="needs the messages built")

import rclpy
from fake_tracker import make_hand
from rclpy.executors import SingleThreadedExecutor
from std_msgs.msg import Header

from dhpe_ros.msg import HandArray
from dhpe_ros.ros import collision as collision_bridge
from dhpe_ros.ros.conversion import hand_array_message
from dhpe_ros.types import Scale

QUICK = ["--ros-args", "-p", "rate:=30.0", "-p", "timeout:=0.5"]


def sized(scale, **about):
    """A hand whose size rests on ``scale``."""
    return replace(make_hand(**about), scale=scale)


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
def planner(request):
    pytest.importorskip("moveit_msgs.msg", reason="needs moveit_msgs, of a ROS installation")
    rclpy.init(args=[*QUICK, *getattr(request, "param", [])])
    yield Planner()
    rclpy.shutdown()


def test_a_hand_becomes_an_object_and_is_removed_when_it_is_gone(planner):
    both = [sized(Scale.LEARNED, track_id=1), sized(Scale.LEARNED, track_id=2)]
    assert planner.until(lambda: set(planner.scene) == {"hand_1", "hand_2"}, both)
    added = planner.scene["hand_1"]
    assert added.header.frame_id == "optical"
    assert len(added.primitives) == len(added.primitive_poses) == 41
    assert planner.until(lambda: set(planner.scene) == {"hand_2"}, both[1:])


@pytest.mark.parametrize(
    ("planner", "name"),
    [(["-r", "__ns:=/left"], "left_hand_1"), (["-p", "prefix:=person_"], "person_1")],
    indirect=["planner"],
)
def test_objects_are_named_after_the_namespace_or_as_told(planner, name):
    assert planner.until(lambda: planner.scene, [sized(Scale.LEARNED, track_id=1)])
    assert set(planner.scene) == {name}


def test_silence_removes_everything_once(planner):
    assert planner.until(lambda: planner.scene, [sized(Scale.LEARNED, track_id=1)])
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
    hands = [sized(Scale.DEPTH, track_id=1, intrinsics_known=False), sized(Scale.DEPTH, track_id=2)]
    assert planner.until(lambda: planner.scene, hands)
    assert set(planner.scene) == {"hand_2"}


class Object(SimpleNamespace):
    """Stands for CollisionObject, which is not on every machine."""

    ADD, REMOVE = 0, 1


@pytest.fixture
def shown(monkeypatch):
    """Gives the objects by id, and the warnings, for hands and parameters."""
    objects, warnings = {}, []

    def publish(message):
        objects[message.id] = message

    monkeypatch.setattr(collision_bridge, "CollisionObject", Object)
    monkeypatch.setattr(collision_bridge, "advertise", lambda *_: SimpleNamespace(publish=publish))

    def bridged(hands, *parameters):
        rclpy.init(args=["--ros-args", *parameters])
        try:
            bridge = collision_bridge.CollisionBridge()
            bridge._on_hands(hand_array_message(hands, Header()))
            bridge._update()
            warnings.extend(bridge._health.faults())
        finally:
            rclpy.shutdown()
        return objects, warnings

    return bridged


EVERY_SCALE = [sized(scale, track_id=int(scale)) for scale in Scale]


@pytest.mark.parametrize("least", [None, *Scale])
def test_hands_of_too_little_known_size_are_left_out_with_the_remedy(shown, least):
    parameters = () if least is None else ("-p", f"min_scale:={least.name.lower()}")
    objects, warnings = shown(EVERY_SCALE, *parameters)
    least = Scale.LEARNED if least is None else least
    assert set(objects) == {f"hand_{int(scale)}" for scale in Scale if scale >= least}
    assert len(warnings) == (least > Scale.ESTIMATED)
    assert all("or set min_scale to estimated" in warning for warning in warnings)


def test_padding_is_what_the_distance_may_be_off(shown):
    further = np.float32((0, 0, 1))
    far = [
        replace(hand, track_id=10 + hand.track_id, joints_m=hand.joints_m + further)
        for hand in EVERY_SCALE
    ]
    objects, _ = shown(EVERY_SCALE + far, "-p", "min_scale:=estimated", "-p", "padding:=0.02")
    radii = {name: shown.primitives[0].dimensions[0] for name, shown in objects.items()}
    by_scale = [radii[f"hand_{int(scale)}"] for scale in Scale]
    assert by_scale[0] == by_scale[1] > by_scale[2] > by_scale[3]
    for near, distant in zip(EVERY_SCALE, far, strict=True):
        grown = radii[f"hand_{distant.track_id}"] - radii[f"hand_{near.track_id}"]
        expected = 2 * (distant.joint_stds_m[0] - near.joint_stds_m[0])  # nine joints in ten
        assert grown == pytest.approx(expected, rel=1e-4)


def test_without_moveit_it_says_what_to_install_and_fails(monkeypatch, capfd):
    monkeypatch.setattr(collision_bridge, "CollisionObject", None)
    assert collision_bridge.main([]) == 1
    assert "apt install ros-$ROS_DISTRO-moveit-msgs" in capfd.readouterr().err
