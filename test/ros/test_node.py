"""The node as a process, a camera as another, and the test listening, over the real transport.

What concerns the networks runs with the real tracker, what provokes trouble with the fake one.
"""

import signal
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dhpe_ros.msg", reason="needs the messages built")

from rclpy.qos import ReliabilityPolicy
from ros_processes import FAKE, REAL, TOPICS, CameraProcess, Ears, NodeProcess
from std_srvs.srv import SetBool, Trigger
from visualization_msgs.msg import Marker

from dhpe_ros.ros import node as hand_node

WEIGHTS = Path(__file__).resolve().parents[2] / "weights" / "lite.safetensors"
SIZE = (240, 320)  # of camera_process.py
ERROR = 2
ANY_AGE = ("-p", "max_age:=0.0")  # however slow the machine is


pytestmark = pytest.mark.usefixtures("ros")


@pytest.fixture(scope="module")
def shared_node(tmp_path_factory, camera):
    """The node with the fake tracker, connected to camera and ears; one for all tests here."""
    node = NodeProcess(tmp_path_factory.mktemp("fake"), FAKE, "-p", "image_timeout:=0.5", *ANY_AGE)
    node.wait_for("ready")
    ears = Ears()
    connect(camera, ears)
    yield node, ears
    ears.node.destroy_node()
    node.close()


@pytest.fixture
def node(shared_node):
    node, ears = shared_node
    ears.spin(0.1)
    ears.forget()
    return node


@pytest.fixture
def ears(shared_node, node):
    return shared_node[1]


def connect(camera, ears, topics=tuple(TOPICS)):
    """Send images until one comes back on every topic: everybody has found everybody."""
    for _ in range(100):
        camera.send(period=0.0)
        if ears.until(lambda: all(ears.heard[name] for name in topics), 0.2):
            return
    raise AssertionError(f"never heard: {[name for name in topics if not ears.heard[name]]}")


def test_every_topic_carries_the_image_s_stamp_and_frame(camera, ears):
    stamp = camera.send(frame="optical")[0]
    for topic in TOPICS:
        assert ears.until(lambda topic=topic: ears.of(topic, stamp)), topic
        message = ears.of(topic, stamp)[0]
        header = message.markers[0].header if topic == "markers" else message.header
        assert header.frame_id == "optical"


def test_the_arrays_have_the_sizes_of_the_contract(camera, ears):
    stamp = camera.send()[0]
    (hand,) = ears.hands_of(stamp).hands
    sizes = {"joints_m": 63, "joints_px": 42, "joint_confidences": 21, "parameters": 63}
    assert {name: len(getattr(hand, name)) for name in sizes} == sizes
    assert ears.until(lambda: ears.of("overlay", stamp) and ears.of("meshes", stamp))
    (mesh,) = ears.of("meshes", stamp)[0].meshes
    assert (mesh.track_id, mesh.side) == (hand.track_id, hand.side)
    assert (len(mesh.vertices), len(mesh.normals), len(mesh.triangles)) == (2334, 2334, 4614)
    mask, overlay = ears.of("mask", stamp)[0], ears.of("overlay", stamp)[0]
    assert (mask.height, mask.width, mask.encoding) == (*SIZE, "mono8")
    assert set(np.unique(mask.data)) == {0, 255}
    assert (overlay.height, overlay.width, overlay.encoding) == (*SIZE, "rgb8")
    points = ears.of("points", stamp)[0]
    assert (points.width, points.point_step) == (778, 24)
    info = ears.of("camera_info", stamp)[0]
    assert (info.height, info.width, info.k[0]) == (*SIZE, 300.0)


def test_standard_topics_carry_the_hand_s_joints(camera, ears):
    stamp = camera.send()[0]
    (hand,) = ears.hands_of(stamp).hands
    topics = ("poses/left", "poses/right", "joint_states")
    assert ears.until(lambda: all(ears.of(topic, stamp) for topic in topics))
    left, right, state = (ears.of(topic, stamp)[0] for topic in topics)
    assert left.poses == []
    assert [pose.orientation for pose in right.poses] == list(hand.joint_orientations)
    assert right.poses[0].position == hand.wrist_pose.position
    assert len(state.name) == len(state.position) == 20
    assert {name.partition("_")[0] for name in state.name} == {"right"}
    black = camera.send("black")[0]
    assert ears.until(lambda: all(ears.of(topic, black) for topic in topics))
    assert not any(ears.of(topic, black)[0].poses for topic in topics[:2])
    assert ears.of("joint_states", black)[0].name == []


def test_inputs_are_sensor_data_and_results_are_reliable(ears):
    (image,) = ears.node.get_subscriptions_info_by_topic("/image")
    (hands,) = ears.node.get_publishers_info_by_topic("/hand/hands")
    assert image.qos_profile.reliability == ReliabilityPolicy.BEST_EFFORT
    assert hands.qos_profile.reliability == ReliabilityPolicy.RELIABLE


def test_a_black_image_has_no_hand_and_its_markers_go(camera, ears):
    track = ears.hands_of(camera.send()[0]).hands[0].track_id
    stamp = camera.send("black")[0]
    assert ears.hands_of(stamp).hands == []
    assert ears.until(lambda: all(ears.of(t, stamp) for t in ("meshes", "mask", "markers")))
    assert not np.any(ears.of("mask", stamp)[0].data)
    markers = ears.of("markers", stamp)[0].markers
    assert {m.id for m in markers} == {track}
    assert {m.action for m in markers} == {Marker.DELETE}
    assert ears.of("meshes", stamp)[0].meshes == []


def test_an_unknown_encoding_is_reported_and_survived(camera, node, ears):
    camera.send(encoding="rgb48", count=5, period=0.02)
    ears.spin(0.3)
    assert ears.heard["hands"] == []
    assert ears.hands_of(camera.send()[0]).hands
    assert node.log().count("encoding 'rgb48' is unknown") == 1


def test_a_failing_image_is_reported_and_survived(camera, node, ears):
    camera.send("13")
    assert ears.hands_of(camera.send()[0]).hands
    assert "RuntimeError: unlucky image" in node.log()


@pytest.mark.parametrize(
    ("broken", "words"),
    [
        ("step", "step 320 is too small for 320 pixels of rgb8"),
        ("data", "230390 bytes of data are too few"),
        ("empty", "the image is empty"),
    ],
)
def test_a_broken_image_is_reported_and_survived(camera, node, ears, broken, words):
    camera.send(broken=broken)
    assert ears.until(lambda: words in ears.status())
    assert ears.level() == ERROR
    assert ears.hands_of(camera.send()[0]).hands
    assert ears.until(lambda: words not in ears.status())


@pytest.mark.parametrize("size", [(1, 1), (641, 3), (1920, 1080)])
def test_a_camera_that_changes_its_resolution_is_followed(camera, ears, size):
    stamp = camera.send(size=size)[0]
    assert not ears.hands_of(stamp).hands[0].intrinsics_known, (
        "camera_info is still for the other size"
    )
    assert ears.until(lambda: ears.of("mask", stamp))
    mask = ears.of("mask", stamp)[0]
    assert (mask.width, mask.height) == size
    expected = f"camera_info is for 320x240 pixels, the image has {size[0]}x{size[1]}"
    assert ears.until(lambda: expected in ears.status())
    assert ears.hands_of(camera.send()[0]).hands[0].intrinsics_known


def test_a_depth_image_tells_the_distance_and_comes_without_hands(camera, ears):
    for _ in range(20):  # until the depth is there before its image
        stamp = camera.send(depth_m=0.5)[0]
        hand = ears.hands_of(stamp).hands[0]
        if hand.scale == hand.SCALE_DEPTH:
            break
    assert ears.until(lambda: ears.of("grasped_object", stamp))
    assert ears.of("grasped_object", stamp)[0].header.frame_id == "camera"
    assert ears.until(lambda: ears.of("depth_without_hands", stamp) and ears.of("mask", stamp))
    message = ears.of("depth_without_hands", stamp)[0]
    assert (message.encoding, message.header.frame_id) == ("32FC1", "camera")
    depth_m = np.frombuffer(bytes(message.data), np.float32).reshape(SIZE)
    mask = np.reshape(ears.of("mask", stamp)[0].data, SIZE) > 0
    assert np.isnan(depth_m[mask]).all()
    assert set(depth_m[np.isfinite(depth_m)]) == {0.5}


def test_a_depth_image_of_another_size_is_reported_and_not_used(camera, ears):
    for _ in range(20):
        hand = ears.hands_of(camera.send(depth_m=0.5, depth_size=(64, 48))[0]).hands[0]
        assert hand.scale == hand.SCALE_ESTIMATED
        if ears.until(lambda: "has 64x48 pixels, the image 320x240" in ears.status(), 2.0):
            break
    else:
        raise AssertionError(ears.status())


def test_images_of_an_earlier_time_are_reported_and_processed(camera, ears):
    camera.send()
    assert ears.hands_of(camera.send(age=100.0)[0]).hands
    assert ears.until(lambda: "the images' time went back by" in ears.status())
    assert ears.hands_of(camera.send()[0]).hands


def test_simulated_time_without_a_clock_is_reported_and_images_are_processed(camera, ears):
    assert ears.set(max_age=1.0, use_sim_time=True).successful
    try:
        assert ears.hands_of(camera.send()[0]).hands
        assert ears.until(lambda: "with use_sim_time, is there a /clock?" in ears.status())
    finally:
        assert ears.set(max_age=0.0, use_sim_time=False).successful


def test_a_camera_that_stops_and_starts_again_is_followed(ears, camera):
    other = CameraProcess()
    try:
        connect(other, ears)
    finally:
        other.close()
    assert ears.until(lambda: "no image on" in ears.status())
    ears.forget()
    assert ears.hands_of(camera.send(count=15)[-1]).hands

    def said():
        return [d.status[0].message for d in ears.heard["diagnostics"]]

    assert ears.until(lambda: any("no image on" not in message for message in said()))


def test_newer_images_replace_waiting_ones(camera, ears):
    stamps = camera.send("14", count=8, period=0.05, info=False)
    assert ears.hands_of(stamps[-1]).hands, "the newest is processed"
    assert len(ears.heard["hands"]) < 5, "those between are dropped"


def test_a_region_of_interest_counts_for_the_next_image(camera, ears):
    roi = {"x_offset": 31, "y_offset": 17, "width": 64, "height": 48}
    first = ears.hands_of(camera.send(roi=roi)[0]).hands[0]
    second = ears.hands_of(camera.send()[0]).hands[0]
    assert list(first.box_px) == [31, 17, 64, 48]
    assert list(second.box_px) != [31, 17, 64, 48]


def test_an_impossible_region_is_reported_and_survived(camera, node, ears):
    camera.send(roi={"x_offset": 31, "y_offset": 17, "width": 0, "height": 48})
    assert ears.hands_of(camera.send()[0]).hands
    assert "~/roi is not used: box must have a positive width" in node.log()


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"refinement__steps": -1}, "out of range"),
        ({"refinement__steps": 2.5}, "type"),
        ({"refinement__optimizer": "magic"}, "one of levenberg_marquardt, adam, gradient_descent"),
        ({"tracking__box": "1,2,3"}, "x,y,width,height"),
        ({"tracking__min_score": float("nan")}, "out of range"),
        ({"model__profile": "full"}, "read-only"),
        ({"refinement__speed": 1}, "undeclared"),
    ],
)
def test_a_bad_parameter_is_refused_with_the_reason(ears, change, reason):
    result = ears.set(**change)
    assert not result.successful
    assert reason in result.reason


def test_a_refused_change_changes_nothing_and_a_good_one_does(camera, ears):
    assert not ears.set(tracking__min_score=0.99, tracking__box="nowhere").successful
    assert ears.hands_of(camera.send()[0]).hands
    assert ears.set(tracking__min_score=0.99, frame_id="elsewhere").successful
    lost = ears.hands_of(camera.send()[0])
    assert (lost.hands, lost.header.frame_id) == ([], "elsewhere")
    assert ears.set(tracking__min_score=0.35, frame_id="").successful
    assert ears.hands_of(camera.send()[0]).hands


def test_a_place_to_look_that_is_no_part_of_the_images_is_reported(camera, ears):
    assert ears.set(tracking__box="5000,5000,80,80").successful
    try:
        ears.hands_of(camera.send()[0])
        assert ears.until(lambda: "tracking.box 5000,5000,80,80 lies outside" in ears.status())
    finally:
        assert ears.set(tracking__box="full").successful
    ears.hands_of(camera.send()[0])
    ears.forget()
    assert ears.until(lambda: ears.heard["diagnostics"] and "tracking.box" not in ears.status())


def test_a_new_place_to_look_forgets_the_tracks(camera, ears):
    before = ears.hands_of(camera.send()[0]).hands[0].track_id
    assert ears.set(tracking__min_score=0.3).successful
    assert ears.hands_of(camera.send()[0]).hands[0].track_id == before
    assert ears.set(tracking__min_score=0.35, tracking__box="1,2,30,40").successful
    moved = ears.hands_of(camera.send()[0]).hands[0].track_id
    assert moved != before
    assert ears.set(tracking__side="left", tracking__box="1,2,30,40").successful
    other = ears.hands_of(camera.send()[0]).hands[0].track_id
    assert other != moved
    assert ears.set(tracking__side="auto", tracking__box="full").successful


def test_disabled_it_still_knows_that_images_arrive(camera, ears):
    ears.spin(2.0)
    assert ears.call(SetBool, "enable", SetBool.Request(data=False)).success
    try:
        assert ears.until(lambda: "no image on" in ears.status())
        camera.send()
        assert ears.until(lambda: "no image on" not in ears.status())
    finally:
        assert ears.call(SetBool, "enable", SetBool.Request(data=True)).success


def test_disabled_it_is_silent_and_deletes_its_markers(camera, ears):
    ears.hands_of(camera.send()[0])
    ears.until(lambda: ears.heard["markers"])
    ears.forget()
    assert ears.call(SetBool, "enable", SetBool.Request(data=False)).success
    assert ears.until(lambda: ears.heard["markers"])
    markers = ears.heard["markers"][0].markers
    assert {m.action for m in markers} == {Marker.DELETE}
    assert {m.header.frame_id for m in markers} == {"camera"}
    camera.send(count=3, period=0.02)
    ears.spin(0.3)
    assert ears.heard["hands"] == []
    assert ears.call(SetBool, "enable", SetBool.Request(data=True)).success
    assert ears.hands_of(camera.send()[0]).hands


def test_reset_forgets_the_tracks(camera, ears):
    before = ears.hands_of(camera.send()[0]).hands[0].track_id
    assert ears.call(Trigger, "reset", Trigger.Request()).success
    assert ears.hands_of(camera.send()[0]).hands[0].track_id != before


def test_a_zero_k_is_reported_once_and_the_result_is_not_metric(camera, node, ears):
    for _ in range(3):
        stamp = camera.send(focal=0.0)[0]
        assert not ears.hands_of(stamp).hands[0].intrinsics_known
    assert ears.until(lambda: ears.of("camera_info", stamp))
    assert not ears.of("camera_info", stamp)[0].k.any()
    assert node.log().count("zero K") == 1
    assert ears.hands_of(camera.send()[0]).hands[0].intrinsics_known
    assert "camera_info fits the images" in node.log()


def test_implausible_intrinsics_are_reported_and_not_used(camera, ears):
    assert not ears.hands_of(camera.send(focal=1e-3)[0]).hands[0].intrinsics_known
    assert ears.until(lambda: "fx=0.001 means a field of view of 180 degrees" in ears.status())


def test_how_images_with_distortion_are_taken_is_said_once(camera, node, ears):
    for _ in range(2):
        stamp = camera.send(distortion=(-0.3, 0.1, 0.0, 0.0, 0.0))[0]
        assert ears.hands_of(stamp).hands[0].intrinsics_known
    assert ears.until(lambda: ears.of("camera_info", stamp))
    assert list(ears.of("camera_info", stamp)[0].d) == [-0.3, 0.1, 0.0, 0.0, 0.0]
    assert node.log().count("/image are read as raw, with the plumb_bob distortion") == 1


def test_an_old_stamp_is_reported_with_the_remedy_and_not_processed(camera, node, ears):
    assert ears.set(max_age=1.0).successful
    try:
        camera.send(age=3600.0, count=3, period=0.02)
        ears.spin(0.3)
        assert ears.heard["hands"] == []
        assert "play it with --clock" in node.log()
    finally:
        assert ears.set(max_age=0.0).successful
    assert ears.hands_of(camera.send(age=3600.0)[0]).hands


def test_an_image_without_a_stamp_is_processed(camera, ears):
    assert ears.hands_of(camera.send(stamped=False)[0]).hands


def test_silence_is_reported_and_its_end_too(camera, node, ears):
    said, ended = node.log().count("no image on /image"), node.log().count("images arrive")
    # The log repeats the same trouble only after a while; diagnostics tell at once.
    assert ears.until(lambda: node.log().count("no image on /image") > said)
    assert "no image on /image" in ears.status()
    assert "publisher(s), but nothing arrives" in ears.status()
    assert ears.level() == ERROR
    assert ears.hands_of(camera.send()[0]).hands
    assert node.log().count("images arrive") == ended + 1


def test_rates_below_the_expected_are_a_warning(camera, ears):
    assert ears.set(expected_rate=900.0).successful
    try:
        camera.send(count=25)
        assert ears.until(lambda: "results come at" in ears.status())
        assert "images come at" in ears.status()
    finally:
        assert ears.set(expected_rate=0.0).successful


def test_diagnostics_tell_backend_rates_and_latency(camera, ears):
    camera.send(count=12)
    ears.forget()
    assert ears.until(ears.status)
    values = ears.values()
    assert values["backend"] == "fake"
    assert float(values["image rate (Hz)"]) > 1
    assert 0 < float(values["latency from stamp p50 (ms)"]) < 60_000
    assert int(values["images processed"]) > 0


@pytest.fixture(scope="module")
def real(tmp_path_factory, camera):
    """The node as users start it, with the weights that ship; and ears."""
    if not WEIGHTS.is_file():
        pytest.skip(f"needs {WEIGHTS.name}, which the training makes")
    node = NodeProcess(tmp_path_factory.mktemp("real"), REAL, "-r", "__node:=real", *ANY_AGE)
    try:
        node.wait_for("ready")
        ears = Ears("real")
        assert ears.set(refinement__steps=2).successful
        connect(camera, ears, topics=("hands", "mask", "camera_info"))
        yield node, ears
        ears.node.destroy_node()
    finally:
        node.close()


def test_the_real_tracker_finds_nothing_in_a_black_image(camera, real):
    _, ears = real
    stamp = camera.send("black", frame="optical")[0]
    answer = ears.hands_of(stamp)
    assert (answer.hands, answer.header.frame_id) == ([], "optical")


def test_the_real_tracker_s_hands_keep_the_contract(camera, real):
    """With no score asked for, anything is a hand: what counts here are shapes, not positions."""
    _, ears = real
    assert ears.set(tracking__min_score=0.0, tracking__box="1,2,30,40").successful
    try:
        stamp = camera.send(frame="optical")[0]
        hands = ears.hands_of(stamp).hands
        topics = ("meshes", "mask", "markers", "overlay")
        assert ears.until(lambda: all(ears.of(topic, stamp) for topic in topics))
    finally:
        assert ears.set(tracking__min_score=0.35, tracking__box="full").successful
    assert hands
    for hand in hands:
        numbers = (hand.joints_m, hand.joints_px, hand.joint_confidences, hand.parameters)
        assert [len(values) for values in numbers] == [63, 42, 21, 63]
        assert all(np.isfinite(values).all() for values in numbers)
        assert hand.refinement_steps == 2
        q = hand.wrist_pose.orientation
        np.testing.assert_allclose(q.x**2 + q.y**2 + q.z**2 + q.w**2, 1, atol=1e-5)
    mesh = ears.of("meshes", stamp)[0].meshes[0]
    assert (len(mesh.vertices), len(mesh.triangles), max(mesh.triangles)) == (2334, 4614, 777)
    normals = np.reshape(mesh.normals, (-1, 3))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-3)


def test_the_real_node_ends_cleanly(real):
    node, _ = real
    assert node.interrupt() == 0, node.log()
    assert "Traceback" not in node.log()


def test_ctrl_c_in_the_middle_of_an_image_ends_it_cleanly(tmp_path, camera):
    patient = ("-p", "image_timeout:=60.0")  # a late first image is no error here
    node = NodeProcess(tmp_path, FAKE, "-r", "__node:=second", *patient, *ANY_AGE)
    ears = Ears("second")
    try:
        node.wait_for("ready")
        connect(camera, ears)
        camera.send("14")
        time.sleep(0.1)
        assert node.interrupt() == 0, node.log()
        assert "Traceback" not in node.log()
        assert "ERROR" not in node.log()
    finally:
        ears.node.destroy_node()
        node.close()


def test_ctrl_c_does_not_wait_for_an_image_that_does_not_end(tmp_path, camera):
    node = NodeProcess(tmp_path, FAKE, "-r", "__node:=third", "-p", "image_timeout:=0.1", *ANY_AGE)
    ears = Ears("third")
    try:
        node.wait_for("ready")
        connect(camera, ears)
        stamp = camera.send("15")[0]
        assert ears.until(lambda: "one image has taken" in ears.status())
        assert ears.level() == ERROR
        assert 2 * hand_node._STOP_S < 4, "launch kills what has not ended after five seconds"
        assert node.interrupt() == 0, node.log()
        assert "did not finish in time: it is abandoned" in node.log()
        assert not ears.of("hands", stamp)
    finally:
        ears.node.destroy_node()
        node.close()


def test_an_engine_that_fails_under_strict_backend_ends_it_in_order(tmp_path, camera):
    strict = ("-p", "model.strict_backend:=true", *ANY_AGE)
    node = NodeProcess(tmp_path, FAKE, "-r", "__node:=strict", *strict)
    ears = Ears("strict")
    try:
        node.wait_for("ready")
        connect(camera, ears)
        camera.send("13", count=3, period=0.0)
        assert ears.until(lambda: "cannot go on: unlucky image" in ears.status())
        assert ears.level() == ERROR
        assert node.exit_code() == 1
        assert "Traceback" not in node.log()
        (line,) = [line for line in node.log().splitlines() if "FATAL" in line]
        assert "cannot go on: unlucky image" in line
    finally:
        ears.node.destroy_node()
        node.close()


@pytest.mark.parametrize("content", [None, b"these are no weights"])
def test_missing_and_corrupt_weights_are_one_line_and_a_failure(tmp_path, content):
    weights = tmp_path / "mine.safetensors"
    if content:
        weights.write_bytes(content)
    node = NodeProcess(tmp_path, REAL, "-p", f"model.weights:={weights}")
    try:
        assert node.exit_code() == 1
        assert "Traceback" not in node.log()
        (line,) = [line for line in node.log().splitlines() if "FATAL" in line]
        assert str(weights) in line
    finally:
        node.close()


@pytest.mark.parametrize(
    ("policy", "value"), [("depth", "many"), ("reliability", "quite"), ("reliability", "3")]
)
def test_a_qos_override_that_means_nothing_is_one_line_and_a_failure(tmp_path, policy, value):
    name = f"qos_overrides./image.subscription.{policy}"
    node = NodeProcess(tmp_path, FAKE, "-p", f"{name}:={value}")
    try:
        assert node.exit_code() == 1
        assert "Traceback" not in node.log()
        (line,) = [line for line in node.log().splitlines() if "FATAL" in line]
        assert policy in line
    finally:
        node.close()


def test_a_misspelt_parameter_and_a_qos_that_does_not_match_are_pointed_out(tmp_path, camera):
    strict = "qos_overrides./image.subscription.reliability:=reliable"
    node = NodeProcess(tmp_path, FAKE, "-p", "refinment.steps:=3", "-p", strict)
    ears = Ears()  # without subscribers the node takes no images
    try:
        node.wait_for("publisher of /image offers an incompatible QoS (best effort publisher")
        assert "refinment.steps is unknown" in node.log()
        assert "did you mean refinement.steps?" in node.log()
        assert node.interrupt(signal.SIGTERM) == 0
        assert "Traceback" not in node.log()
    finally:
        ears.node.destroy_node()
        node.close()
