"""The clip that stands in for a camera."""

import time

import cv2
import numpy as np
import pytest

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dhpe_ros.msg", reason="needs the messages built")

import rclpy
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image

from dhpe_ros.media import open_media
from dhpe_ros.ros.demo import players


@pytest.fixture
def ros():
    rclpy.init(args=["--ros-args", "-p", "rate:=100.0", "-p", "frame_id:=optical"])
    yield
    rclpy.shutdown()


def test_it_publishes_the_clip_that_ships_with_its_camera(ros):
    player, images, infos = players.ClipPlayer(), [], []
    player.create_subscription(Image, "image_raw", images.append, qos_profile_sensor_data)
    player.create_subscription(CameraInfo, "camera_info", infos.append, qos_profile_sensor_data)
    end = time.monotonic() + 20
    while not (images and infos) and time.monotonic() < end:
        rclpy.spin_once(player, timeout_sec=0.1)
    image, info = images[0], infos[0]
    assert (image.width, image.height, image.encoding) == (640, 480, "rgb8")
    assert (info.width, info.height, info.header.frame_id) == (640, 480, "optical")
    assert info.k[0] > 100
    assert image.header.stamp.sec > 0


def test_it_begins_again_at_the_end(ros, tmp_path):
    for k in range(3):
        (tmp_path / f"{k}.png").write_bytes(cv2.imencode(".png", np.full((8, 8), 60 * k))[1])
    player = players.ClipPlayer()
    player._media = open_media(tmp_path)
    levels = [int(next(player._frames).image[0, 0, 0]) for _ in range(4)]
    assert levels == [0, 60, 120, 0]


def test_nothing_to_play_is_one_line_and_a_failure(tmp_path, capfd):
    arguments = ["--ros-args", "-p", f"input:={tmp_path / 'none.mp4'}"]
    assert players.main(arguments) == 1
    assert "none.mp4" in capfd.readouterr().err


def test_a_clip_that_ends_in_rubbish_is_one_line_and_a_failure(tmp_path, capfd):
    (tmp_path / "0.png").write_bytes(b"no picture")
    arguments = ["--ros-args", "-p", f"input:={tmp_path}", "-p", "rate:=100.0"]
    with pytest.raises(SystemExit) as ended:
        players.main(arguments)
    assert ended.value.code == 1
    said = capfd.readouterr().err
    assert "cannot play on" in said
    assert "0.png" in said
