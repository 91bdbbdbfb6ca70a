"""The node as a process, and compressed images that would end it or take the machine."""

import time
from pathlib import Path

import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dhpe_ros.msg", reason="needs the messages built")

import rclpy
from hostile_pictures import (
    WHOLE,
    animated,
    encoded,
    jpeg_that_claims,
    png_that_claims,
    webp_that_claims,
)
from ros_processes import FAKE, Ears, NodeProcess
from sensor_msgs.msg import CompressedImage

CASES = Path(__file__).resolve().parents[3] / "shared" / "cases" / "messages"  # where they are
HOSTILE = (
    encoded("JPEG2000"),
    jpeg_that_claims(30_000, 30_000),
    png_that_claims(30_000, 30_000),
    webp_that_claims(16_000, 16_000),
    animated("WEBP"),
    WHOLE["jpeg"][:-300],
    b"",
    *(path.read_bytes() for path in sorted(CASES.glob("*"))),
)


@pytest.fixture
def ears():
    rclpy.init()
    ears = Ears("compressed")
    yield ears
    ears.node.destroy_node()
    rclpy.shutdown()


def test_hostile_pictures_are_refused_and_the_node_goes_on(tmp_path, ears):
    qos = "qos_overrides./image/compressed.subscription"  # none is lost
    settings = ("image_transport:=compressed", "max_age:=0.0", f"{qos}.reliability:=reliable")
    parameters = [word for setting in (*settings, f"{qos}.depth:=50") for word in ("-p", setting)]
    node = NodeProcess(tmp_path, FAKE, "-r", "__node:=compressed", *parameters)
    publisher = ears.node.create_publisher(CompressedImage, "image/compressed", 10)

    def send(data):
        message = CompressedImage(format="jpeg", data=data)
        message.header.stamp = ears.node.get_clock().now().to_msg()
        publisher.publish(message)
        return message.header.stamp.sec, message.header.stamp.nanosec

    def is_answered(stamp):
        return ears.until(lambda: ears.of("hands", stamp), 0.2)

    def refused():
        keys = ("images not readable", "images dropped (newer came)")
        return sum(int(ears.value(key) or 0) for key in keys)

    try:
        node.wait_for("ready")
        assert any(is_answered(send(WHOLE["png"])) for _ in range(100))
        before_kib = node.peak_memory_kib()
        for data in HOSTILE:
            send(data)
            time.sleep(0.05)  # or it takes the place of the one that waits
        assert ears.hands_of(send(WHOLE["jpeg"])).hands
        assert node.peak_memory_kib() - before_kib < 200_000
        assert ears.until(lambda: refused() >= len(HOSTILE)), (
            node.log()
        )  # PNGs may wait in vain too
        assert "is refused: not a JPEG, PNG or WebP picture" in node.log()
        assert node.interrupt() == 0
        assert "Traceback" not in node.log()
    finally:
        node.close()
