"""Recordings as inputs; written and read with the optional rosbags package."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest

from dhpe_lab.evaluation.labelled import open_labelled
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media import MediaError, open_media

rosbag2 = pytest.importorskip("rosbags.rosbag2", reason="the optional rosbags package is missing")
from rosbags.highlevel import AnyReader  # noqa: E402
from rosbags.typesys import Stores, get_typestore  # noqa: E402

from dhpe_ros.media.hand_bags import HandBag  # noqa: E402

TYPES = get_typestore(Stores.ROS2_HUMBLE)


def header(stamp_ns: int):
    time = TYPES.types["builtin_interfaces/msg/Time"](stamp_ns // 10**9, stamp_ns % 10**9)
    return TYPES.types["std_msgs/msg/Header"](time, "camera")


def image(value: int, stamp_ns: int):
    bgr = np.zeros((24, 32, 3), np.uint8)
    bgr[..., 0] = value
    kind = TYPES.types["sensor_msgs/msg/Image"]
    return kind(header(stamp_ns), 24, 32, "bgr8", 0, 96, bgr.ravel())


def compressed(value: int, stamp_ns: int):
    png = cv2.imencode(".png", np.full((24, 32, 3), value, np.uint8))[1].ravel()
    return TYPES.types["sensor_msgs/msg/CompressedImage"](header(stamp_ns), "png", png)


def camera_info(stamp_ns: int, binning: int = 0):
    scale = max(binning, 1)
    corner = np.array([0, 0, 0.5, 0, 0, 0.5, 0, 0, 0])
    matrix = np.array([30.0, 0, 15.5, 0, 31.0, 11.5, 0, 0, 1]) + corner
    matrix[:6] *= scale
    matrix -= corner
    roi = TYPES.types["sensor_msgs/msg/RegionOfInterest"](0, 0, 0, 0, False)
    kind = TYPES.types["sensor_msgs/msg/CameraInfo"]
    zeros, eye = np.zeros(5), np.eye(3).ravel()
    projection = np.zeros(12)
    height, width = 24 * scale, 32 * scale
    return kind(
        header(stamp_ns), height, width, "plumb_bob", zeros, matrix, eye, projection,
        binning, binning, roi,
    )  # fmt: skip


def record(path: Path, topics: dict, storage=rosbag2.StoragePlugin.SQLITE3) -> Path:
    """Write ``topic -> (make message, count)`` at 10 Hz."""
    with rosbag2.Writer(path, version=9, storage_plugin=storage) as writer:
        for topic, (make, count) in topics.items():
            stamps = [10**18 + index * 10**8 for index in range(count)]
            kind = (make(0, 0) if make in (image, compressed) else make(0)).__msgtype__
            connection = writer.add_connection(topic, kind, typestore=TYPES)
            for index, stamp_ns in enumerate(stamps):
                message = (
                    make(index * 10, stamp_ns) if make in (image, compressed) else make(stamp_ns)
                )
                writer.write(connection, stamp_ns, TYPES.serialize_cdr(message, kind))
    return path


@pytest.mark.parametrize("storage", list(rosbag2.StoragePlugin))
@pytest.mark.parametrize("whole_folder", [True, False])
def test_frames_with_stamps_and_intrinsics(tmp_path, storage, whole_folder):
    topics = {"/camera/image_raw": (image, 5), "/camera/camera_info": (camera_info, 5)}
    bag = record(tmp_path / "bag", topics, storage)
    if not whole_folder:
        (bag,) = (p for p in bag.iterdir() if p.suffix in (".mcap", ".db3"))
    media = open_media(bag)
    frames = list(media.frames())
    assert media.count == len(frames) == 5
    assert media.rate_hz == pytest.approx(10)
    assert [f.image[0, 0].tolist() for f in frames] == [[0, 0, 10 * k] for k in range(5)]
    assert [f.stamp_s for f in frames] == pytest.approx([0.1 * k for k in range(5)])
    assert (frames[0].camera.fx, frames[0].camera.fy) == (30.0, 31.0)
    assert (frames[0].camera.cx, frames[0].camera.cy) == (15.5, 11.5)


def test_images_without_a_stamp_have_the_time_of_their_recording_also_in_the_hands_bag(tmp_path):
    def unstamped(stamp_ns):
        return image(0, 0)

    bag = record(tmp_path / "bag", {"/camera/image_raw": (unstamped, 3)})
    expected = [10**18 + index * 10**8 for index in range(3)]
    with HandBag(tmp_path / "hands") as hands:
        for frame in open_media(bag).frames():
            hands.write(frame, Camera.from_field_of_view(32, 24, 60), [])
    with AnyReader([tmp_path / "hands"]) as reader:
        masks = [c for c in reader.connections if c.topic == "/hand/mask"]
        read = [(at, reader.deserialize(data, c.msgtype)) for c, at, data in reader.messages(masks)]
    stamps = [message.header.stamp for _, message in read]
    assert [at for at, _ in read] == expected
    assert [stamp.sec * 10**9 + stamp.nanosec for stamp in stamps] == expected


def depth(stamp_ns: int):
    value = stamp_ns // 10**8 % 10**10 + 1  # number of the message, from one
    pixels = np.full((24, 32), value * 100, "<u2")
    kind = TYPES.types["sensor_msgs/msg/Image"]
    stamp_ns += 15 * 10**6 if value != 4 else 50 * 10**6  # the last is of another time
    return kind(header(stamp_ns), 24, 32, "16UC1", 0, 64, pixels.ravel().view(np.uint8))


def test_depth_of_the_same_time_comes_with_the_images(tmp_path, caplog):
    topics = {"/camera/image_raw": (image, 5), "/camera/depth": (depth, 4)}
    bag = record(tmp_path / "bag", topics)
    frames = list(open_media(bag, "/camera/image_raw", depth="/camera/depth").frames())
    found = [None if f.depth_m is None else float(np.unique(f.depth_m)[0]) for f in frames]
    assert found == [pytest.approx(0.1 * k) for k in (1, 2, 3)] + [None, None]
    said = [r.getMessage() for r in caplog.records if "depth of" in r.getMessage()]
    assert len(said) == 1
    assert "depth of /camera/depth is not used: none is within 0.02 s of the image" in said[0]
    assert all(frame.depth_m is None for frame in open_media(bag).frames())
    with pytest.raises(MediaError, match="has no images on /depth; it has /camera/depth, "):
        open_media(bag, depth="/depth")


def test_the_rate_is_the_images_own_however_long_other_topics_last(tmp_path):
    topics = {"/camera/image_raw": (image, 5), "/other/camera_info": (camera_info, 50)}
    assert open_media(record(tmp_path / "bag", topics)).rate_hz == pytest.approx(10)
    alone = record(tmp_path / "alone", {"/camera/image_raw": (image, 1)})
    assert open_media(alone).rate_hz is None


def test_a_camera_info_counts_with_its_binning_and_only_if_it_has_the_image_s_size(tmp_path):
    def binned(stamp_ns):
        return camera_info(stamp_ns, binning=2)

    def other_size(stamp_ns):
        info = camera_info(stamp_ns)
        info.width = 99
        return info

    bag = record(
        tmp_path / "binned", {"/camera/image": (image, 1), "/camera/camera_info": (binned, 1)}
    )
    (frame,) = open_media(bag).frames()
    assert (frame.camera.fx, frame.camera.cx) == (30.0, 15.5)
    bag = record(
        tmp_path / "other", {"/camera/image": (image, 1), "/camera/camera_info": (other_size, 1)}
    )
    (frame,) = open_media(bag).frames()
    assert frame.camera is None


def test_raw_and_rectified_images_share_a_camera_info(tmp_path, caplog):
    def distorted(stamp_ns):
        info = camera_info(stamp_ns)
        info.d, info.p = np.array((-0.3, 0.1, 0, 0, 0)), info.k.reshape(3, 3) * 2
        info.p = np.pad(info.p, ((0, 0), (0, 1))).ravel()
        info.p[[2, 6]] = 15.0, 11.0
        return info

    topics = {"/cam/image_rect": (image, 2), "/cam/image_raw": (image, 3)}
    bag = record(tmp_path / "bag", topics | {"/cam/camera_info": (distorted, 2)})
    cameras = [frame.camera for frame in open_media(bag).frames()]
    assert [(c.fx, c.lens.distorts) for c in cameras] == [(30, True)] * 3
    assert caplog.text.count("/cam/image_raw are read as raw, with the plumb_bob") == 1
    (rectified, _) = [frame.camera for frame in open_media(bag, "/cam/image_rect").frames()]
    assert (rectified.fx, rectified.lens.distorts) == (60, False)
    frames = open_media(bag, "/cam/image_rect", "raw").frames()
    assert next(frames).camera == cameras[0]


def test_a_camera_info_that_is_implausible_is_not_used_and_said_once(tmp_path, caplog):
    def elsewhere(stamp_ns):
        info = camera_info(stamp_ns)
        info.k[2] = 400
        return info

    topics = {"/cam/image": (image, 2), "/cam/camera_info": (elsewhere, 1)}
    frames = list(open_media(record(tmp_path / "bag", topics)).frames())
    assert [frame.camera for frame in frames] == [None, None]
    assert caplog.text.count("cx=400, lies outside the picture of 32x24") == 1


def test_compressed_images(tmp_path):
    bag = record(tmp_path / "bag", {"/cam/image_raw/compressed": (compressed, 3)})
    assert [f.image[0, 0, 0] for f in open_media(bag).frames()] == [0, 10, 20]


def test_the_colour_topic_is_taken_unless_another_is_named(tmp_path, caplog):
    bag = record(tmp_path / "bag", {"/front/image": (image, 2), "/depth/image": (image, 9)})
    assert open_media(bag).count == 2
    assert "taking the images of /front/image" in caplog.text
    assert open_media(bag, "/depth/image").count == 9
    with pytest.raises(MediaError, match=r"no images on /x; it has /depth/image, /front/image"):
        open_media(bag, "/x")


def test_recording_without_images_and_damaged_recording(tmp_path):
    bag = record(tmp_path / "bag", {"/camera/camera_info": (camera_info, 1)})
    with pytest.raises(MediaError, match="the recording has no images"):
        open_media(bag)
    damaged = tmp_path / "damaged.mcap"
    damaged.write_bytes(b"\x89MCAP0\r\n" + b"\x00" * 30)
    with pytest.raises(MediaError, match=r"damaged.mcap: is not a recording that can be read"):
        open_media(damaged)


def test_a_recording_is_a_set_to_evaluate_with_its_camera(tmp_path):
    topics = {"/camera/image_raw": (image, 3), "/camera/camera_info": (camera_info, 3)}
    bag = record(tmp_path / "bag", topics)
    unlabelled = open_labelled(bag)
    assert unlabelled.is_clip
    assert not unlabelled.gives_boxes
    pairs = list(unlabelled.pictures())
    assert [hand.frame for hand, _ in pairs] == [0, 1, 2]
    assert all(hand.camera_px == (30, 31, 15.5, 11.5) for hand, _ in pairs)
    hand = {"side": "left", "joints_px": np.arange(42.0).reshape(21, 2).tolist()}
    (tmp_path / "labels.json").write_text(json.dumps({"bag": [[], [hand], []]}))
    ((label, picture),) = open_labelled(bag).pictures()
    assert label.frame == 1
    assert label.camera_px == (30, 31, 15.5, 11.5)
    assert picture[0, 0].tolist() == [0, 0, 10]
