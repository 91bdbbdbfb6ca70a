"""Inputs that take what their publishers offer, with publishers of another context."""

import time
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

import rclpy
from geometry_msgs.msg import PolygonStamped
from rclpy.parameter import Parameter
from rclpy.qos import DurabilityPolicy, QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import CameraInfo, RegionOfInterest

from dhpe_ros.ros.health import HealthMonitor
from dhpe_ros.ros.qos import Input

TOPIC = "info"


def qos(words):
    """``"reliable latched"`` and the like."""
    reliable, latched = "reliable" in words, "latched" in words
    return QoSProfile(
        depth=1,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )


class Log(list):
    def warning(self, message):
        self.append(message)

    info = warning


class World:
    """A node with an input, and the publishers of others."""

    def __init__(self):
        rclpy.init()
        self._elsewhere = rclpy.Context()  # within one, a topic has one type
        rclpy.init(context=self._elsewhere)
        self.others = rclpy.create_node("others", context=self._elsewhere)
        self.heard, self.log = [], Log()
        self.late_s = 0.0
        self.health = HealthMonitor(self.log, clock=lambda: time.monotonic() + self.late_s)

    def listen(self, kinds=(CameraInfo,), **overrides):
        overrides = [
            Parameter(f"qos_overrides./{TOPIC}.subscription.{policy}", value=value)
            for policy, value in overrides.items()
        ]
        self.node = rclpy.create_node("listener", parameter_overrides=overrides)
        callbacks = dict.fromkeys(kinds, self.heard.append)
        listening = Input(self.node, TOPIC, callbacks, self.health, "install it")
        listening.listen()
        return listening

    def offer(self, words, kind=CameraInfo):
        return self.others.create_publisher(kind, TOPIC, qos(words))

    def until(self, happened):
        end = time.monotonic() + 20
        while not happened() and time.monotonic() < end:
            rclpy.spin_once(self.node, timeout_sec=0.05)
        return happened()

    def asks_for(self, words):
        found = self.others.get_subscriptions_info_by_topic(f"/{TOPIC}")
        asked = [(s.qos_profile.reliability, s.qos_profile.durability) for s in found]
        return asked == [(qos(words).reliability, qos(words).durability)]

    def hears(self, publisher):
        """True once a message of ``publisher`` arrives, which may take a few where it is new."""
        self.heard.clear()

        def arrived():
            publisher.publish(publisher.msg_type())
            return any(type(message) is publisher.msg_type for message in self.heard)

        return self.until(arrived)

    def close(self):
        # Up to Jazzy nodes outlive their context, and would be seen by the next test.
        self.node.destroy_node()
        self.others.destroy_node()
        rclpy.shutdown(context=self._elsewhere)
        rclpy.shutdown()


@pytest.fixture
def world():
    world = World()
    yield world
    world.close()


@pytest.mark.parametrize(
    ("offers", "asked"),
    [
        (["reliable"], "reliable"),
        (["best effort"], "best effort"),
        (["reliable latched"], "reliable latched"),
        (["reliable", "best effort"], "best effort"),
        (["reliable latched", "reliable"], "reliable"),
        (["reliable latched", "best effort"], "best effort"),
    ],
)
def test_it_asks_for_the_most_that_all_publishers_offer(world, offers, asked):
    world.listen()
    publishers = [world.offer(words) for words in offers]
    assert world.until(lambda: world.asks_for(asked))
    assert all(world.hears(publisher) for publisher in publishers)
    assert world.health.faults() == []


def test_it_follows_publishers_that_come_and_go_and_asks_anew_only_for_something_else(world):
    world.listen()
    count = []
    create = world.node.create_subscription
    world.node.create_subscription = lambda *a, **k: [count.append(1), create(*a, **k)][1]
    first = world.offer("reliable")
    assert world.until(lambda: world.asks_for("reliable"))
    second = world.offer("best effort")
    assert world.until(lambda: world.asks_for("best effort"))
    third = world.offer("best effort")
    assert world.hears(third)
    for gone in (second, third):
        world.others.destroy_publisher(gone)
    assert world.until(lambda: world.asks_for("reliable"))
    world.others.destroy_publisher(first)
    assert world.hears(world.offer("reliable"))
    assert len(count) == 3


def test_what_was_latched_before_it_listened_is_received(world):
    world.offer("reliable latched").publish(CameraInfo(width=7))
    world.listen()
    assert world.until(lambda: world.heard)
    assert world.heard[0].width == 7


def test_overrides_win_and_the_other_policy_is_still_followed(world):
    world.listen(reliability="best_effort", depth=3)
    publisher = world.offer("reliable latched")
    assert world.until(lambda: world.asks_for("best effort latched"))
    assert world.hears(publisher)


def test_an_override_that_no_publisher_can_serve_is_reported_until_it_is_gone(world):
    world.listen(reliability="reliable")
    publisher = world.offer("best effort")
    assert world.until(world.health.faults)
    (message,) = world.health.faults()
    assert "incompatible QoS (best effort publisher and reliable subscription)" in message
    assert "leave out the parameters qos_overrides./info.subscription.*" in message
    world.others.destroy_publisher(publisher)
    assert world.until(lambda: not world.health.faults())


@pytest.mark.parametrize(
    ("offer", "overrides", "remedy"),
    [
        ("best effort", {}, "publish it reliably: the subscription follows"),
        ("reliable", {"reliability": "best_effort"}, "leave out the parameter qos_overrides./info"),
        ("reliable", {}, "publish smaller or compressed messages"),
    ],
)
def test_lost_messages_are_counted_and_told_with_what_helps_until_none_is_lost(
    world, offer, overrides, remedy
):
    listening = world.listen(**overrides)
    world.hears(world.offer(offer))
    assert world.until(lambda: listening.publishers)
    (subscription,) = [s for s in world.node.subscriptions if s.topic_name == f"/{TOPIC}"]
    (event,) = subscription.event_handlers
    for total, change in ((2, 2), (5, 3)):
        event.callback(SimpleNamespace(total_count=total, total_count_change=change))
    assert listening.lost == 5
    (message,) = world.health.faults()
    assert message.startswith(f"5 of {5 + listening.received} messages of /info were lost")
    assert remedy in message
    assert ("reliably" in message) == (offer == "best effort" or bool(overrides))
    world.late_s = 11.0
    assert world.health.faults() == []


def test_it_takes_the_type_that_its_publisher_has(world):
    world.listen(kinds=(CameraInfo, RegionOfInterest))
    for kind in (RegionOfInterest, CameraInfo):
        publisher = world.offer("reliable", kind)
        assert world.hears(publisher)
        world.others.destroy_publisher(publisher)


def test_a_type_that_it_cannot_take_is_reported_until_it_is_gone(world):
    world.listen()
    publisher = world.offer("reliable", PolygonStamped)
    assert world.until(world.health.faults)
    assert world.health.faults() == [
        "/info is published as geometry_msgs/msg/PolygonStamped; it must be "
        "sensor_msgs/msg/CameraInfo: install it"
    ]
    world.others.destroy_publisher(publisher)
    assert world.until(lambda: not world.health.faults())
