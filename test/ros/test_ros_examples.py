"""The examples of ROS, each as a process beside the node; the node's tracker is the fake one."""

import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dhpe_ros.msg", reason="needs the messages built")

import rclpy
from geometry_msgs.msg import PoseArray, TransformStamped
from ros_processes import FAKE, CameraProcess, Ears, NodeProcess, stamp_of
from scipy.spatial.transform import Rotation
from std_msgs.msg import Bool

from dhpe_ros.media.hand_bags import read_hands
from dhpe_ros.msg import HandArray

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@pytest.fixture(scope="module")
def camera():
    rclpy.init()
    camera = CameraProcess("--ros-args", "-r", "hand/roi:=unused")  # another's boxes are tested
    yield camera
    camera.close()
    rclpy.shutdown()


@pytest.fixture(scope="module")
def ears(tmp_path_factory, camera):
    """Beside the node with the fake tracker."""
    settings = ("max_age:=0.0", "roi_max_age:=10.0")  # however slow the machine is
    parameters = [word for setting in settings for word in ("-p", setting)]
    node = NodeProcess(tmp_path_factory.mktemp("node"), FAKE, *parameters)
    node.wait_for("ready")
    ears = Ears(topics=("hands",))
    assert until(camera, ears, lambda: ears.heard["hands"])
    yield ears
    ears.node.destroy_node()
    node.close()


@pytest.fixture
def start(tmp_path):
    """``start(name, *ROS arguments, words=...)``: the example as a process."""
    started = []

    def start(name, *arguments, words=()):
        folder = tmp_path / str(len(started))
        folder.mkdir()
        program = (str(EXAMPLES / name), *map(str, words))
        started.append(NodeProcess(folder, program, *arguments))
        return started[-1]

    yield start
    for process in started:
        process.close()


def until(camera, ears, happened, *orders):
    """Send images, as each of the orders says, until it happened; whether it did."""
    for _ in range(150):
        for order in orders or ({},):
            camera.send(period=0.0, **order)
        if ears.until(happened, 0.15):
            return True
    return False


def listen(ears, kind, topic):
    heard = []
    ears.node.create_subscription(kind, topic, heard.append, 10)
    return heard


def test_hands_and_meshes_are_heard(camera, ears, start):
    example = start("03_subscribe.py")
    mesh = r"mesh of hand \d: 778 vertices, 1538 triangles"
    assert until(camera, ears, lambda: re.search(mesh, example.log())), example.log()
    tip = r"right hand \d: index tip at \[0\.\d+ 0\.\d+ 0\.6\d*\]"
    assert until(camera, ears, lambda: re.search(tip, example.log())), example.log()


def test_the_depth_image_of_the_hands_time_is_found(camera, ears, start):
    example = start("04_pair_with_depth.py")
    found = r"wrist of hand \d: 0\.6\d\d m by the hand, 0\.750 m by the depth image"
    sent = {"depth_m": 0.75}
    assert until(camera, ears, lambda: re.search(found, example.log()), sent), example.log()
    # An image older than any depth image.
    ages = {"age": 5.0}
    missing = "no depth image of that time"
    assert until(camera, ears, lambda: missing in example.log(), ages), example.log()


def test_a_near_hand_stops_and_so_does_silence(camera, ears, start):
    near, far = listen(ears, Bool, "stop"), listen(ears, Bool, "far/stop")
    start("05_safety_stop.py")
    box = ("-p", "low:=[-0.1, -0.1, 1.3]", "-p", "high:=[0.1, 0.1, 1.5]")
    start("05_safety_stop.py", "-r", "stop:=far/stop", *box)
    assert until(camera, ears, lambda: near and far, {"kind": "black"})

    def said(heard, stop):
        """The last answer; with older ones forgotten."""
        return bool(heard) and heard[-1].data is stop

    # The silence between two images also says stop: that there is no hand is what takes images.
    assert until(camera, ears, lambda: said(near, False) and said(far, False), {"kind": "black"})
    assert until(camera, ears, lambda: said(near, True) and said(far, False))
    assert until(camera, ears, lambda: said(far, False))
    assert until(camera, ears, lambda: said(far, True), {"focal": 0.0}), "an unknown distance"
    assert until(camera, ears, lambda: said(far, False), {"kind": "black"})
    assert ears.until(lambda: said(near, True) and said(far, True)), "silence"


def test_what_was_recorded_is_played_again(camera, ears, start, tmp_path):
    record = start("06_record_and_replay.py", words=("record", tmp_path / "bag"))
    assert until(camera, ears, lambda: "." in record.log()), record.log()
    ears.spin(0.5)
    ears.forget()
    for _ in range(3):
        camera.send(period=0.0)
    assert ears.until(lambda: len(ears.heard["hands"]) >= 3)
    ears.spin(1.5)  # so that the recorder, on a busy machine, has heard the last ones too
    assert record.interrupt() == 0, record.log()
    recorded = list(read_hands(tmp_path / "bag"))
    assert all(len(hands) == 1 for _, hands in recorded)
    stamps = [divmod(stamp_ns, 10**9) for stamp_ns, _ in recorded]
    assert stamps[-3:] == [stamp_of(m) for m in ears.heard["hands"]][-3:]

    played = listen(ears, HandArray, "/played")
    words = ("replay", tmp_path / "bag")
    replay = start("06_record_and_replay.py", "-r", "/hand/hands:=/played", words=words)
    assert ears.until(lambda: len(played) == len(recorded)), replay.log()
    assert [stamp_of(message) for message in played] == stamps
    assert replay.exit_code() == 0, replay.log()


def test_the_node_takes_the_boxes_of_the_detector(camera, ears, start):
    pytest.importorskip("vision_msgs", reason="needs vision_msgs")
    example = start("08_own_detector.py")
    ears.forget()
    boxes = [[0, 0, 320, 240]]  # the picture changes from black to noise: all of it moves

    def taken():
        return any([*h.box_px] in boxes for m in ears.heard["hands"] for h in m.hands)

    assert until(camera, ears, taken, {"kind": "black"}, {}, {}), example.log()


def test_a_moving_camera_s_hands_lie_in_the_map(camera, ears, start):
    tf2_msgs = pytest.importorskip("tf2_msgs.msg", reason="needs tf2_msgs")
    publisher = ears.node.create_publisher(tf2_msgs.TFMessage, "/tf", 10)
    found = listen(ears, PoseArray, "hands_in_map")
    example = start("09_hands_in_map.py")
    missing = "/tf has no parent of camera"
    assert until(camera, ears, lambda: missing in example.log()), example.log()

    now = ears.node.get_clock().now().nanoseconds
    upright, sideways = Rotation.identity(), Rotation.from_euler("zx", (90, 30), degrees=True)
    transforms = [
        transform("base", "camera", now, sideways, (0.1, 0.2, 0.3)),
        transform("map", "base", now - 10**12, upright, (-5, -5, -5)),  # long ago
        transform("map", "base", now, sideways, (1, 2, 3)),
    ]
    publisher.publish(tf2_msgs.TFMessage(transforms=transforms))
    ears.forget()
    assert until(camera, ears, lambda: pairs(found, ears.heard["hands"])), example.log()
    poses, hands = pairs(found, ears.heard["hands"])[-1]
    assert poses.header.frame_id == "map"
    (pose,), (hand,) = poses.poses, hands.hands
    own = hand.wrist_pose
    step = sideways.apply(vector(own.position, "xyz")) + np.array((0.1, 0.2, 0.3))
    expected = sideways.apply(step) + np.array((1, 2, 3))
    np.testing.assert_allclose(vector(pose.position, "xyz"), expected, atol=1e-6)
    expected = sideways * sideways * Rotation.from_quat(vector(own.orientation, "xyzw"))
    turned = Rotation.from_quat(vector(pose.orientation, "xyzw"))
    assert (expected.inv() * turned).magnitude() < 1e-5


def transform(parent, child, time_ns, rotation, translation):
    message = TransformStamped(child_frame_id=child)
    message.header.frame_id = parent
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(time_ns, 10**9)
    to, turn = message.transform.translation, message.transform.rotation
    to.x, to.y, to.z = map(float, translation)
    turn.x, turn.y, turn.z, turn.w = rotation.as_quat()
    return message


def vector(message, names):
    return np.array([getattr(message, name) for name in names])


def pairs(poses, hands):
    """Those of the same stamp."""
    return [(p, h) for p in poses for h in hands if stamp_of(p) == stamp_of(h)]
