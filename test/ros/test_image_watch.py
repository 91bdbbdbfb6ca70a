"""Missing images and camera_info, low rates: what is said of them, and whether the remedy helps."""

import re
import time

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")

import rclpy
from geometry_msgs.msg import PolygonStamped
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header

from dhpe_ros.config import Config
from dhpe_ros.ros.health import HealthMonitor, Level, Statistics
from dhpe_ros.ros.image_watch import ImageWatch
from dhpe_ros.ros.qos import Input

KINDS = {"image": Image, "image/compressed": CompressedImage, "camera_info": CameraInfo}
CONFIG = Config().replace({"image_timeout": 2.0, "expected_rate": 14.0}).node


class Silent:
    def error(self, message):
        pass

    warning = info = error


class World:
    """A node that watches, by a clock of the test's, and a camera of another context."""

    def __init__(self):
        rclpy.init()
        self._elsewhere = rclpy.Context()  # within one, a topic has one type
        rclpy.init(context=self._elsewhere)
        self.camera = rclpy.create_node("camera", context=self._elsewhere)
        self.now = 100.0
        self.health = HealthMonitor(Silent(), clock=lambda: self.now)
        self.statistics = Statistics(clock=lambda: self.now)

    def watch(self, image_topic="image"):
        self.node = rclpy.create_node("hand")
        self.inputs = [
            Input(self.node, topic, {KINDS[topic]: print}, self.health)
            for topic in (image_topic, "camera_info")
        ]
        for each in self.inputs:
            each.listen()
        return ImageWatch(self.node, *self.inputs, self.statistics, self.health)

    def find(self, publisher):
        end = time.monotonic() + 10
        while not self.node.count_publishers(publisher.topic_name) and time.monotonic() < end:
            time.sleep(0.02)
        for each in self.inputs:
            each.follow()

    def images(self, watch, rate_hz, seconds):
        for _ in range(int(seconds * rate_hz)):
            self.now += 1 / rate_hz
            self.statistics.image_received()
            watch.image_arrived()

    def close(self):
        # Up to Jazzy nodes outlive their context, and would be seen by the next test.
        self.node.destroy_node()
        self.camera.destroy_node()
        rclpy.shutdown(context=self._elsewhere)
        rclpy.shutdown()


@pytest.fixture
def world():
    world = World()
    yield world
    world.close()


def arrives_with(remedy, publisher):
    """True where a node that is remapped by ``remedy`` gets the publisher's messages."""
    name, topic = re.search(r"remap (\S+):=(\S+)", remedy).groups()
    transport = re.search(r"set image_transport to (\S+) at the start", remedy)
    if transport:
        assert name == {"raw": "image", "compressed": "image/compressed"}[transport[1]]
    rule = f"{name}:={publisher.topic_name if topic == '<topic>' else topic}"
    context, heard = rclpy.Context(), []
    rclpy.init(context=context)
    try:
        node = rclpy.create_node("cured", context=context, cli_args=["--ros-args", "-r", rule])
        Input(node, name, {KINDS[name]: heard.append}, HealthMonitor(Silent())).listen()
        executor = rclpy.executors.SingleThreadedExecutor(context=context)
        executor.add_node(node)
        end = time.monotonic() + 10
        while not heard and time.monotonic() < end:
            publisher.publish(publisher.msg_type())
            executor.spin_once(timeout_sec=0.05)
    finally:
        rclpy.shutdown(context=context)
    return bool(heard)


@pytest.mark.parametrize(
    ("listens", "published", "said"),
    [
        ("image", (CompressedImage, "/image"), "to take /image, set image_transport to compressed"),
        ("image/compressed", (Image, "/image/compressed"), "set image_transport to raw"),
        ("image", (Image, "/cam/image"), "such images are on /cam/image"),
        ("image/compressed", (CompressedImage, "/cam/image"), "such images are on /cam/image"),
        ("image", (CompressedImage, "/cam/c"), "to take /cam/c, set image_transport to compressed"),
    ],
)
def test_where_images_are_elsewhere_the_remedy_helps(world, listens, published, said):
    publisher = world.camera.create_publisher(*published, 1)
    watch = world.watch(listens)
    world.find(publisher)
    world.now += 3.0
    watch.check(CONFIG, wanted=True)
    (message,) = [m for m in world.health.faults() if m.startswith("no image on")]
    assert said in message
    assert arrives_with(message, publisher)
    assert world.health.level() == Level.ERROR


@pytest.mark.parametrize(
    ("published", "said"),
    [
        ((Image, "/image"), "it has 1 publisher(s), but nothing arrives: is the camera running"),
        ((PolygonStamped, "/image"), "nobody publishes sensor_msgs/msg/Image at all: start"),
        ((PolygonStamped, "/else"), "nobody publishes sensor_msgs/msg/Image at all: start"),
    ],
)
def test_where_there_are_none_no_remapping_is_proposed(world, published, said):
    publisher = world.camera.create_publisher(*published, 1)
    watch = world.watch()
    world.find(publisher)
    world.now += 3.0
    watch.check(CONFIG, wanted=True)
    (message,) = [m for m in world.health.faults() if m.startswith("no image on")]
    assert said in message
    assert "remap" not in message


@pytest.mark.parametrize(
    ("topic", "said"),
    [
        ("/cam/camera_info", "it is on /cam/camera_info: remap camera_info:=<topic>"),
        ("/camera_info", "let the camera driver publish it with every image, or latched"),
        (None, "nobody publishes one: calibrate the camera"),
    ],
)
def test_a_missing_camera_info_is_told_by_where_it_is(world, topic, said):
    watch = world.watch()
    if topic:
        publisher = world.camera.create_publisher(CameraInfo, topic, 1)
        world.find(publisher)
    world.images(watch, 15.0, seconds=3.0)
    watch.check(CONFIG, wanted=False)
    (message,) = world.health.faults()
    assert message.startswith("no camera_info on /camera_info: a field of view is assumed")
    assert said in message
    if "remap" in said:
        assert arrives_with(message, publisher)


@pytest.mark.parametrize(
    ("image_hz", "result_hz", "said"),
    [
        (15.0, 15.0, []),
        (10.0, 15.0, ["images come at HZ, expected_rate is 14"]),
        (15.0, 5.0, ["results come at HZ, expected_rate is 14"]),
    ],
)
def test_rates_below_the_expected_are_told(world, image_hz, result_hz, said):
    watch = world.watch()
    watch.check(CONFIG, wanted=True)

    def run(seconds):
        start = world.now
        events = [(start + i / image_hz, "image") for i in range(int(seconds * image_hz))]
        events += [(start + i / result_hz, "result") for i in range(int(seconds * result_hz))]
        for world.now, event in sorted(events):
            if event == "image":
                world.statistics.image_received()
                watch.image_arrived()
            else:
                world.statistics.frame_published(1, None, 1.0)
        world.now = start + seconds

    def told(config=CONFIG):
        watch.check(config, wanted=True)
        return [m.partition(":")[0] for m in world.health.faults() if "expected_rate" in m]

    run(seconds=4.0)
    assert told() == [], "there was no time yet to measure them"
    run(seconds=4.0)
    assert [re.sub(r"([.0-9]+) Hz", "HZ", message) for message in told()] == said
    run(seconds=3.0)
    assert told(Config().node) == [], "0: none is expected; and it ends by itself"


def test_a_rate_falls_when_nothing_comes_any_more(world):
    world.images(world.watch(), 10.0, seconds=5.0)
    assert world.statistics.image_rate_hz() == pytest.approx(10.0)
    world.now += 2.0
    assert world.statistics.image_rate_hz() < 7.0


def test_images_that_have_a_frame_again_are_no_trouble_any_more(world):
    watch, config = world.watch(), Config().node
    watch.fresh(Header(), config)
    assert any("no frame_id" in message for message in world.health.faults())
    watch.fresh(Header(frame_id="camera"), config)
    assert not any("no frame_id" in message for message in world.health.faults())


def test_images_that_are_not_processed_are_worse_than_odd_stamps(world):
    watch, config = world.watch(), Config().node
    header = Header(frame_id="camera")
    watch.fresh(header, config)
    assert world.health.level() == Level.WARN
    header.stamp.sec = 5
    assert not watch.fresh(header, config)
    assert world.health.level() == Level.ERROR
