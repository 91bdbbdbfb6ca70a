"""A camera as anybody has it, without our DDS profile: its images arrive, or the loss is named."""

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dhpe_ros.msg", reason="needs the messages built")

from rclpy.qos import ReliabilityPolicy
from ros_processes import FAKE, CameraProcess, Ears, NodeProcess

SENT = 45
SIZE = (1280, 720)


pytestmark = pytest.mark.usefixtures("ros")


@pytest.fixture(scope="module")
def best_effort():
    camera = CameraProcess("latched", profile=False, namespace="plain")
    yield camera
    camera.close()


@pytest.fixture(scope="module")
def ears(tmp_path_factory, best_effort):
    """Those of ``~/camera_info`` alone, of a node that starts after the camera."""
    inputs = [word for t in ("image", "camera_info") for word in ("-r", f"{t}:=/plain/{t}")]
    # A machine that is busy does not give the node its turn between two images: room for five.
    settings = ["max_age:=0.0", "qos_overrides./plain/image.subscription.depth:=5"]
    parameters = [word for setting in settings for word in ("-p", setting)]
    folder = tmp_path_factory.mktemp("plain")
    node = NodeProcess(folder, FAKE, "-r", "__node:=hand_of_plain", *inputs, *parameters)
    node.wait_for("ready")
    ears = Ears("hand_of_plain", topics=("camera_info",))
    yield ears
    ears.node.destroy_node()
    node.close()


def counts(ears):
    """Numbers of images received and lost, once no more come."""

    def read():
        ears.forget()
        assert ears.until(ears.status)
        values = ears.values()
        return int(values.get("images received", 0)), int(values["images lost on the way"])

    before, now = None, read()
    while before != now:
        before, now = now, read()
    return now


def sends(camera, ears):
    """Received and lost of ``SENT`` images, once camera and node are connected."""
    before = first = counts(ears)
    while before == first:
        camera.send("black", size=SIZE, info=False, count=5)
        before = counts(ears)
    camera.send("black", size=SIZE, info=False, count=SENT, period=1 / 15)
    return [after - earlier for after, earlier in zip(counts(ears), before, strict=True)]


def test_a_latched_camera_info_goes_on_without_hands_where_nobody_wants_them(best_effort, ears):
    def known():
        return any(info.k[0] == 300.0 for info in ears.heard["camera_info"])

    for _ in range(100):
        best_effort.send(info=False)
        if ears.until(known, 0.2):
            break
    assert known()
    ears.forget()
    assert ears.until(ears.status)
    assert "images processed" not in ears.values()


def test_images_of_a_best_effort_camera_arrive_or_are_missed(best_effort, ears):
    received, lost = sends(best_effort, ears)
    assert received + lost > SENT - 5, "each is one or the other, but for the last ones"
    if received < SENT * 14 / 15:
        assert "messages of /plain/image were lost on the way" in ears.status()
        assert "publish it reliably: the subscription follows" in ears.status()
        assert ears.level() >= 1


def test_images_of_a_reliable_camera_arrive_or_are_missed(best_effort, ears):
    best_effort.close()
    camera = CameraProcess("reliable", profile=False, namespace="plain")

    def asked():
        found = ears.node.get_subscriptions_info_by_topic("/plain/image")
        return [subscription.qos_profile.reliability for subscription in found]

    try:
        assert ears.until(lambda: asked() == [ReliabilityPolicy.RELIABLE])
        received, _ = sends(camera, ears)
        if received < SENT * 14 / 15:
            assert "messages of /plain/image were lost on the way" in ears.status()
        else:
            assert "were lost" not in ears.status()
    finally:
        camera.close()
