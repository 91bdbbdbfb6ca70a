"""The parts of the node that need no second process: worker, health, the two types of ~/roi."""

import platform
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dhpe_ros.msg", reason="needs the messages built")

import rclpy
from builtin_interfaces.msg import Time
from diagnostic_msgs.msg import DiagnosticStatus
from fake_tracker import make_hand
from geometry_msgs.msg import PolygonStamped
from rclpy.parameter import Parameter
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest
from std_msgs.msg import Header

from dhpe_ros.config import Config
from dhpe_ros.media.image_messages import fill_image
from dhpe_ros.msg import HandArray
from dhpe_ros.ros import inputs, parameters
from dhpe_ros.ros.conversion import targets_from_roi
from dhpe_ros.ros.health import HealthMonitor, Level, Statistics, diagnostic_message
from dhpe_ros.ros.inputs import DepthInput, RoiInput
from dhpe_ros.ros.node_configs import BridgeConfig, shared_prefix
from dhpe_ros.ros.outputs import PICTURES, HandOutputs, Result, hand_transforms
from dhpe_ros.ros.parameters import declare_parameters, follow_changes, unknown_overrides
from dhpe_ros.ros.worker import Worker
from dhpe_ros.types import Box, Scale, Side, Target


class Log(list):
    def error(self, message):
        self.append(("error", message))

    def warning(self, message):
        self.append(("warning", message))

    def info(self, message):
        self.append(("info", message))


class SlowWork:
    """A worker whose items wait for ``go``."""

    def __init__(self):
        self.done, self.errors = [], []
        self.begun, self.go = threading.Event(), threading.Event()
        self.worker = Worker("test", self.handle, self.errors.append)
        self.worker.start()

    def handle(self, item):
        self.begun.set()
        assert self.go.wait(10)
        if item == "bad":
            raise RuntimeError(item)
        self.done.append(item)


def until(happened):
    end = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.fixture
def slow():
    slow = SlowWork()
    yield slow
    slow.go.set()
    assert slow.worker.stop(10)


def test_the_newest_replaces_what_waits_and_is_counted(slow):
    slow.worker.submit(1)
    assert slow.begun.wait(10)
    for item in (2, 3, 4):
        slow.worker.submit(item)
    slow.go.set()
    until(lambda: slow.done == [1, 4])
    assert slow.worker.dropped == 2


def test_tasks_run_before_the_waiting_item_and_none_is_lost(slow):
    slow.worker.submit(1)
    assert slow.begun.wait(10)
    slow.worker.submit(2)
    for name in "ab":
        slow.worker.call(lambda name=name: slow.done.append(name))
    slow.go.set()
    until(lambda: slow.done == [1, "a", "b", 2])


def test_an_exception_is_handed_on_counted_and_survived(slow):
    slow.go.set()
    slow.worker.submit("bad")
    until(lambda: slow.errors)
    slow.worker.submit(2)
    until(lambda: slow.done == [2])
    assert slow.worker.failures == 1


def test_not_even_a_failing_report_of_a_failure_ends_the_worker(caplog):
    done = []

    def fail(item):
        raise (SystemExit if item else ValueError)(f"item {item}")

    worker = Worker("test", fail, on_error=lambda error: 1 / 0)
    worker.start()
    for failures in (1, 2):
        worker.submit(failures - 1)
        until(lambda failures=failures: worker.failures == failures)
    worker.call(lambda: done.append("still there"))
    until(lambda: done == ["still there"])
    assert worker.stop(10)
    assert [record.message.split(" could")[0] for record in caplog.records] == [
        "ValueError: item 0",
        "SystemExit: item 1",
    ]


def test_one_that_waits_until_it_is_idle_goes_on_when_nothing_is_left(slow):
    slow.worker.wait_idle()
    slow.worker.submit(1)
    slow.worker.call(lambda: slow.done.append("task"))
    threading.Timer(0.05, slow.go.set).start()
    slow.worker.wait_idle()
    assert sorted(map(str, slow.done)) == ["1", "task"]


def test_one_that_does_not_end_is_left(slow):
    slow.worker.submit(1)
    assert slow.begun.wait(10)
    assert not slow.worker.stop(timeout_s=0.02)


def test_stopping_finishes_the_item_at_hand_and_drops_the_next(slow):
    slow.worker.submit(1)
    assert slow.begun.wait(10)
    slow.worker.submit(2)
    slow.go.set()
    assert slow.worker.stop(10)
    assert slow.done == [1]


@pytest.fixture
def monitored():
    now, log = [0.0], Log()
    return HealthMonitor(log, clock=lambda: now[0]), log, now


def test_a_trouble_is_logged_at_most_every_ten_seconds(monitored):
    health, log, now = monitored
    for now[0] in range(25):
        health.report("key", "broken")
    assert log == [("warning", "broken")] * 3
    assert health.faults() == ["broken"]


def test_once_means_the_same_words_once(monitored):
    health, log, now = monitored
    for now[0] in range(0, 100, 20):
        health.report("key", "broken", once=True)
    health.report("key", "broken differently", once=True)
    assert [message for _, message in log] == ["broken", "broken differently"]


def test_a_flickering_trouble_does_not_flood_the_log(monitored):
    health, log, _ = monitored
    for _ in range(20):
        health.report("key", "broken")
        health.clear("key", "fine")
    assert log == [("warning", "broken"), ("info", "fine")]
    assert health.faults() == []


def test_an_event_is_over_after_its_time(monitored):
    health, _, now = monitored
    health.report("key", "broken", lasts_s=60)
    now[0] = 61
    assert health.faults() == []


def test_the_worst_comes_first_and_gives_the_level(monitored):
    health, log, _ = monitored
    assert health.level() == Level.OK
    health.report("odd", "odd")
    health.report("broken", "broken", Level.ERROR)
    health.report("known", "known", logged=False)
    assert health.faults() == ["broken", "odd", "known"]
    assert log == [("warning", "odd"), ("error", "broken")]
    (status,) = diagnostic_message("/hand", Header(), {}, health, "idle").status
    assert (status.level, status.message) == (DiagnosticStatus.ERROR, "broken; odd; known")
    assert status.hardware_id == platform.node()
    health.clear("broken")
    assert health.level() == Level.WARN
    health.clear("odd")
    health.clear("known")
    (status,) = diagnostic_message("/hand", Header(), {}, health, "idle").status
    assert (status.level, status.message) == (DiagnosticStatus.OK, "idle")


def test_images_without_a_stamp_count_but_have_no_latency():
    statistics = Statistics()
    statistics.frame_published(1, None, 5.0)
    statistics.frame_published(1, 20.0, 5.0)
    assert statistics.values()["latency from stamp p95 (ms)"] == "20.0"
    assert statistics.values()["images processed"] == "2"


@pytest.fixture
def ros():
    rclpy.init()
    yield
    rclpy.shutdown()


def node_with(**overrides):
    overrides = [Parameter(k.replace("__", "."), value=v) for k, v in overrides.items()]
    return rclpy.create_node("hand", parameter_overrides=overrides)


def test_parameters_are_the_configuration_with_descriptions_and_ranges(ros):
    node = node_with(refinement__steps=7)
    assert declare_parameters(node, Config()) == Config().replace({"refinement.steps": 7})
    for name, setting, default in Config().items():
        descriptor = node.describe_parameter(name)
        assert descriptor.description
        assert descriptor.read_only != setting.metadata["live"]
        if type(default) in (int, float):
            assert descriptor.integer_range or descriptor.floating_point_range, name


@pytest.mark.parametrize(
    ("overrides", "reason"),
    [
        ({"refinement__steps": -3}, "refinement.steps out of range"),
        ({"tracking__crop_scale": 2}, "tracking.crop_scale.*decimal point"),
        ({"tracking__box": 3}, "tracking.box.*write a value of the type of 'full'"),
        ({"tracking__side": "both"}, "tracking.side must be one of auto, left, right"),
    ],
)
def test_bad_overrides_are_refused_with_the_remedy(ros, overrides, reason):
    with pytest.raises(ValueError, match=reason):
        declare_parameters(node_with(**overrides), Config())


def test_overrides_of_nothing_are_named(ros):
    node = node_with(refinment__steps=3, use_sim_time=False)
    known = Config().as_mapping()
    declare_parameters(node, Config())
    (message,) = unknown_overrides(node, known)
    assert message.startswith("parameter refinment.steps is unknown")
    assert message.endswith("did you mean refinement.steps?")


def test_of_very_many_unknown_overrides_some_are_named_and_the_others_counted(ros, monkeypatch):
    asked = []
    monkeypatch.setattr(parameters, "did_you_mean", lambda name, _: asked.append(name) or "")
    node = SimpleNamespace(
        _parameter_overrides=dict.fromkeys(f"p{n}" for n in range(100_000)),
        has_parameter=lambda _: False,
    )
    messages = unknown_overrides(node, Config().as_mapping())
    assert (len(messages), len(asked)) == (11, 10)
    assert messages[-1] == "99990 more parameters are unknown"


def test_a_file_for_all_nodes_is_no_mistake_and_each_node_says_what_is_one(ros, capfd):
    node = node_with(refinement__steps=3, intrinsics="", paddin=0.1)  # of hand, camera, nobody
    declare_parameters(node, BridgeConfig())
    (line,) = [line for line in capfd.readouterr().err.splitlines() if "WARN" in line]
    assert "parameter paddin is unknown and has no effect; did you mean padding?" in line


def test_the_names_of_the_contract_have_no_section(ros):
    node = node_with(image_transport="compressed", max_age=0.5, frame_id="elsewhere")
    config = declare_parameters(node, Config()).node
    assert (config.image_transport, config.max_age, config.frame_id) == (
        "compressed",
        0.5,
        "elsewhere",
    )
    with pytest.raises(ValueError, match=r"^\W*image_transport must be one of raw, compressed"):
        declare_parameters(node_with(image_transport="theora"), Config())


def test_a_good_change_is_applied_and_a_bad_one_leaves_all_as_it_was(ros):
    node, configs = node_with(), []
    configs.append(declare_parameters(node, Config()))
    follow_changes(node, lambda: configs[-1], configs.append)
    good = [Parameter("refinement.steps", value=5), Parameter("tracking.box", value="1,2,3,4")]
    assert node.set_parameters_atomically(good).successful
    assert configs[-1] == Config().replace({"refinement.steps": 5, "tracking.box": "1,2,3,4"})
    bad = [Parameter("refinement.steps", value=6), Parameter("tracking.box", value="1,2,3")]
    assert not node.set_parameters_atomically(bad).successful
    assert len(configs) == 2
    assert node.get_parameter("refinement.steps").value == 5


def test_a_listener_of_the_camera_info_alone_wants_no_hands(ros):
    node = node_with()
    outputs = HandOutputs(node, Config().node, HealthMonitor(Log()))

    def heard(topic):
        until = time.monotonic() + 10
        while not node.count_subscribers(topic) and time.monotonic() < until:
            time.sleep(0.02)
        return node.count_subscribers(topic)

    node.create_subscription(CameraInfo, "/hand/camera_info", print, 1)
    assert heard("/hand/camera_info")
    assert outputs.wanted()
    assert not outputs.hands_wanted()
    listener = node.create_subscription(Image, "/hand/mask", print, 1)
    assert heard("/hand/mask")
    assert outputs.hands_wanted()
    node.destroy_subscription(listener)
    until(lambda: not outputs.hands_wanted())


def test_nothing_is_computed_for_a_topic_without_a_listener(ros, monkeypatch):
    def never(*_):
        raise AssertionError("nobody wants it")

    clouds = "mesh_array_message", "points_message", "cloud_message"
    for name in ("hand_mask", "draw_overlay", *clouds, "markers_message"):
        monkeypatch.setattr(f"dhpe_ros.ros.outputs.{name}", never)
    node = node_with()
    heard, config = [], Config().node
    outputs = HandOutputs(node, config, HealthMonitor(Log()))
    node.create_subscription(HandArray, "/hand/hands", heard.append, 1)
    until = time.monotonic() + 10
    image, depth_m = np.zeros((24, 32, 3), np.uint8), np.ones((24, 32), np.float32)
    while not heard and time.monotonic() < until:
        result = Result([make_hand()], config, frozenset(), Header(), image, depth_m)
        outputs.publish([*outputs.results, *PICTURES], result)
        rclpy.spin_once(node, timeout_sec=0.05)
    assert len(heard[0].hands) == 1


def test_a_depth_image_that_comes_after_its_image_is_waited_for(ros, monkeypatch):
    monkeypatch.setattr("dhpe_ros.ros.inputs._WAIT_S", 20.0)
    monkeypatch.setattr("dhpe_ros.ros.inputs._FLOWS_S", 60.0)
    node, log = node_with(), Log()
    depth = DepthInput(node, HealthMonitor(log))
    depth.input.listen()
    publisher = node.create_publisher(Image, "depth", 1)

    def send(second, metres):
        header = Header(frame_id="camera", stamp=Time(sec=second))
        pixels = np.full((3, 4), metres, np.float32)
        publisher.publish(fill_image(Image(header=header), pixels, "32FC1"))

    def answered(second, tolerance_s=0.0):
        header = Header(frame_id="camera", stamp=Time(sec=second))
        return depth.at(header, 4, 3, tolerance_s)

    assert answered(1) is None, "none comes, and none is waited for"
    executor = rclpy.executors.SingleThreadedExecutor()
    executor.add_node(node)
    thread = threading.Thread(target=executor.spin)
    thread.start()
    try:
        until = time.monotonic() + 20
        while answered(1, tolerance_s=100.0) is None and time.monotonic() < until:
            send(5, 0.25)
            time.sleep(0.05)
        later = threading.Timer(0.1, send, (7, 0.5))
        later.start()
        assert (answered(7) == 0.5).all()
        later.join()
        monkeypatch.setattr("dhpe_ros.ros.inputs._WAIT_S", 0.0)
        assert answered(9) is None
        assert "the nearest is 2.000 s away, depth_tolerance is 0 s" in log[-1][1]
        monkeypatch.setattr("dhpe_ros.ros.inputs._WAIT_S", 20.0)
        begin = time.monotonic()
        assert answered(6) is None
        assert time.monotonic() - begin < 5, "a later one is there: none was waited for"
    finally:
        executor.shutdown()
        thread.join()


@pytest.fixture
def depths(ros):
    """``depth``, what arrived on it so far, and its health."""
    health = HealthMonitor(Log())
    node = node_with()
    depth = DepthInput(node, health)

    def arrived(metres, at_s=0.0):
        pixels = np.full((3, 4), metres, np.float32)
        depth._on_depth(fill_image(Image(header=stamped(at_s)), pixels, "32FC1"))

    def answer(at_s=0.0):
        depth_m = depth.at(stamped(at_s), 4, 3, 0.02)
        return None if depth_m is None else pytest.approx(float(depth_m[0, 0]))

    return arrived, answer, health, depth


def stamped(at_s):
    header = Header(frame_id="camera")
    header.stamp.sec, header.stamp.nanosec = divmod(round(at_s * 1e9), 10**9)
    return header


@pytest.mark.parametrize(
    ("depth_s", "image_s"), [(0.0, 0.0), (5.0, 5.0), (5.0, 0.0), (0.0, 5.0), (4.99, 5.0)]
)
def test_of_depth_images_equally_near_in_time_the_newest_counts(depths, depth_s, image_s):
    arrived, answer, health, _ = depths
    for metres in (0.5, 0.6, 0.7):
        arrived(metres, depth_s)
    assert answer(image_s) == 0.7
    said = [message for message in health.faults() if "have no stamp" in message]
    assert len(said) == (not depth_s or not image_s)


def test_before_and_after_equally_near_are_told_apart_by_what_came_last(depths):
    arrived, answer, _, _ = depths
    arrived(0.5, 4.99)
    arrived(0.6, 5.01)
    assert answer(5.0) == 0.6


def test_a_bag_that_begins_again_is_followed_without_a_word(depths):
    arrived, answer, health, _ = depths
    arrived(0.5, 60.0)
    assert answer(60.0) == 0.5
    assert answer(1.0) is None, "that of the same time is still to come"
    for metres, at_s in ((0.6, 1.0), (0.7, 1.1), (0.8, 60.0)):
        arrived(metres, at_s)
        assert answer(at_s) == metres
    assert health.faults() == []


@pytest.mark.parametrize(
    ("metres", "said"),
    [(0.0, "no pixel has a depth"), (np.nan, "no pixel"), (600.0, "millimetres as 16UC1")],
)
def test_depth_images_without_a_depth_or_of_another_unit_are_reported(depths, metres, said):
    arrived, answer, health, _ = depths
    arrived(metres, 5.0)
    assert answer(5.0) is None
    assert said in health.faults()[0]


def test_depth_that_was_not_used_for_a_hand_is_reported_with_the_remedy(depths):
    _, _, health, depth = depths
    hand = replace(make_hand(), normals=-make_hand().vertices_m)
    pixels = hand.vertices_px[:, :2].astype(int) % 300
    hand = replace(hand, vertices_px=np.c_[pixels, np.zeros(778)].astype(np.float32))
    depth_m = np.full((300, 300), np.nan, np.float32)
    depth.check([hand], depth_m)
    depth.check([hand], None)
    assert health.faults() == [], "without a depth there is nothing to disagree with"
    depth_m[:] = 2.4
    depth.check([replace(hand, scale=Scale.DEPTH)], depth_m)
    assert health.faults() == []
    depth.check([hand], depth_m)
    (said,) = health.faults()
    assert "is not used for hand 1" in said
    assert "people's are 8 to 28" in said


def test_frames_go_to_tf_where_it_is_installed(ros):
    tf2_msgs = pytest.importorskip("tf2_msgs.msg", reason="needs tf2_msgs, of a ROS installation")
    node, heard = node_with(), []
    outputs = HandOutputs(node, replace(Config().node, publish_tf=True), HealthMonitor(Log()))
    config = Config().replace({"tf_prefix": "robot/"}).node
    node.create_subscription(tf2_msgs.TFMessage, "/tf", heard.append, 5)
    until = time.monotonic() + 10
    while not heard and time.monotonic() < until:
        hands, header = [make_hand(track_id=3)], Header(frame_id="optical")
        outputs.publish(outputs.results, Result(hands, config, frozenset(), header))
        rclpy.spin_once(node, timeout_sec=0.05)
    numbered, by_side = heard[0].transforms
    assert (numbered.header.frame_id, numbered.child_frame_id) == ("optical", "robot/hand_3")
    assert by_side.child_frame_id == f"robot/hand_{make_hand().side.name.lower()}"
    assert by_side.transform == numbered.transform


def test_the_most_prominent_hand_of_a_side_has_a_frame_without_its_number():
    near, far = Box(0, 0, 200, 200), Box(300, 0, 50, 50)
    hands = [
        make_hand(far, track_id=1),
        replace(
            make_hand(near, track_id=2),
            joint_rotations=np.tile(np.eye(3, dtype=np.float32), (21, 1, 1)),
        ),
        make_hand(far, Side.LEFT, track_id=3),
    ]
    transforms = hand_transforms(hands, Header(frame_id="optical"), "robot/")
    names = [transform.child_frame_id.removeprefix("robot/") for transform in transforms]
    assert sorted(names) == ["hand_1", "hand_2", "hand_3", "hand_left", "hand_right"]
    found = dict(zip(names, transforms, strict=True))
    assert found["hand_right"].transform == found["hand_2"].transform
    assert found["hand_left"].transform == found["hand_3"].transform
    assert found["hand_1"].transform != found["hand_2"].transform


def test_other_joints_have_frames_too_where_they_are_asked_for():
    hand = make_hand(side=Side.LEFT, track_id=3)
    transforms = hand_transforms([hand], Header(frame_id="optical"), "", joints=True)
    named = {transform.child_frame_id: transform.transform for transform in transforms}
    assert len(named) == len(transforms) == 2 * 21
    assert named["hand_3_index4"] == named["hand_left_index4"]
    tip = named["hand_3_index4"].translation
    np.testing.assert_allclose((tip.x, tip.y, tip.z), hand.joints_m[8])


def test_without_vision_msgs_one_line_says_so(ros, monkeypatch):
    monkeypatch.setattr("dhpe_ros.ros.outputs.Detection3DArray", None)
    node, log = node_with(), Log()
    monkeypatch.setattr(node, "get_logger", lambda: log)
    outputs = HandOutputs(node, Config().node, HealthMonitor(Log()))
    assert not any("detections" in output.topic for output in outputs.results)
    assert sum("vision_msgs is not installed" in text for _, text in log) == 1


@pytest.mark.parametrize(
    ("namespace", "name", "prefix"),
    [("", "hand", ""), ("/left", "hand", "left/"), ("/a/b", "hand", "a/b/"), ("/a", "c", "a/c/")],
)
def test_what_all_nodes_share_is_named_after_the_namespace(ros, namespace, name, prefix):
    node = rclpy.create_node(name, namespace=namespace)
    assert shared_prefix(node, "hand", "/") == prefix


def test_frames_without_tf_installed_are_reported_and_nothing_else_fails(ros, monkeypatch):
    monkeypatch.setattr("dhpe_ros.ros.outputs.TFMessage", None)
    health = HealthMonitor(Log())
    outputs = HandOutputs(node_with(), replace(Config().node, publish_tf=True), health)
    result = Result([make_hand()], Config().node, frozenset(), Header(frame_id="optical"))
    outputs.publish(outputs.results, result)
    assert "tf2_msgs is not installed" in health.faults()[0]


def test_roi_takes_the_type_that_its_publisher_has(ros, monkeypatch):
    """Another message stands for Detection2DArray, which is not on every machine."""
    box = Target(Box(1, 2, 3, 4))
    monkeypatch.setattr(inputs, "Detection2DArray", PolygonStamped)
    monkeypatch.setattr(inputs, "targets_from_detections", lambda _: [box])
    elsewhere = rclpy.Context()  # within one, a topic has one type
    rclpy.init(context=elsewhere)
    node = rclpy.create_node("takes_both")
    detector = rclpy.create_node("detector", context=elsewhere)
    spinner = rclpy.executors.SingleThreadedExecutor()
    spinner.add_node(node)
    boxes = RoiInput(node, HealthMonitor(Log()))
    boxes.input.listen()

    def first_of(message):
        publisher = detector.create_publisher(type(message), "/takes_both/roi", 1)
        taken = None
        for _ in range(200):
            publisher.publish(message)
            spinner.spin_once(timeout_sec=0.05)
            taken = boxes.take(Header(), 640, 480, 0.0)
            if taken:
                break
        detector.destroy_publisher(publisher)
        boxes.clear()
        return taken

    try:
        assert first_of(PolygonStamped()) == [box]
        region = RegionOfInterest(x_offset=5, y_offset=6, width=7, height=8)
        assert first_of(region) == [Target(Box(5, 6, 7, 8))]
    finally:
        rclpy.shutdown(context=elsewhere)


@pytest.fixture
def regions(ros, monkeypatch):
    """Takes boxes from ``~/roi``, its health and their time, and how messages arrive.

    Another message stands for Detection2DArray, which is not on every machine.
    """
    monkeypatch.setattr(inputs, "Detection2DArray", PolygonStamped)
    now = [0.0]
    health = HealthMonitor(Log(), clock=lambda: now[0])
    boxes = RoiInput(node_with(), health)

    def arrived(*found, at_s=None):
        """Boxes as a stamped message, or a region."""
        if at_s is None:
            boxes._on_message(targets_from_roi, *found)
        else:
            message = PolygonStamped(header=stamped(at_s))
            boxes._on_message(lambda _: [Target(box) for box in found], message)

    def take(at_s=0.0):
        taken = boxes.take(stamped(at_s), 640, 480, 0.1)
        return None if taken is None else [target.box for target in taken]

    return take, health, now, arrived


ONE, OTHER = Box(5, 6, 7, 8), Box(50, 60, 70, 80)


def test_a_region_that_is_all_zero_leaves_the_hands_where_they_are_followed(regions):
    take, _, _, arrived = regions
    arrived(RegionOfInterest())
    assert take() is None
    arrived(RegionOfInterest(x_offset=5, y_offset=6, width=7, height=8))
    arrived(RegionOfInterest())
    assert take() == [ONE]
    assert take() is None


def test_boxes_wait_for_the_image_of_their_stamp_and_count_once(regions):
    take, health, _, arrived = regions
    arrived(ONE, at_s=2.0)
    arrived(OTHER, at_s=3.0)
    assert take(1.0) is None
    assert [take(2.0), take(2.0)] == [[ONE], None]
    assert [take(3.05), take(3.06)] == [[OTHER], None], "a little late"
    assert health.faults() == []


def test_boxes_that_are_much_too_late_or_ahead_are_said_and_not_used(regions):
    take, health, _, arrived = regions
    arrived(ONE, at_s=2.0)
    assert take(2.4) is None
    assert "they came 0.40 s after their image, and roi_max_age is 0.1 s" in health.faults()[0]
    for _ in range(10):
        arrived(ONE, at_s=9.0)
    assert take(2.5) is None
    assert "their stamps are 6.5 s ahead of the images'" in health.faults()[0]
    arrived(OTHER, at_s=0.0)
    assert take(2.6) == [OTHER], "without a stamp it is for the next image, as said"


def test_boxes_of_before_a_bag_began_again_do_not_stand_in_the_way(regions):
    take, health, _, arrived = regions
    for at_s in (59.0, 60.0, 1.0):
        arrived(ONE, at_s=at_s)
    assert take(1.0) == [ONE]
    assert take(59.0) is None
    assert health.faults() == []


def test_an_array_without_boxes_says_that_there_is_no_hand(regions):
    take, _, _, arrived = regions
    arrived(at_s=2.0)
    assert take(2.0) == []


def test_boxes_beside_the_image_are_said(regions):
    take, health, _, arrived = regions
    arrived(Box(1900, 900, 20, 20), at_s=2.0)
    take(2.0)
    assert "lie outside the image of 640x480 pixels" in health.faults()[0]


def test_one_impossible_region_is_a_trouble_for_a_moment_only(regions):
    take, health, now, arrived = regions
    arrived(RegionOfInterest(x_offset=5))
    assert take() is None
    assert "~/roi is not used" in health.faults()[0]
    now[0] = 6.0
    assert health.faults() == []
