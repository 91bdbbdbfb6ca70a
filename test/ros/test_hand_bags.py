"""Hands as a recording; the same messages as the node's."""

import numpy as np
import pytest
from fake_tracker import make_hand

pytest.importorskip("rosbags.rosbag2", reason="the optional rosbags package is missing")
from rosbags.highlevel import AnyReader

from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media.frames import Frame
from dhpe_ros.media.hand_bags import TOPICS, HandBag
from dhpe_ros.types import Box, Side

CAMERA = Camera(300, 310, 159.5, 119.5, 320, 240)
HANDS = [make_hand(track_id=4), make_hand(Box(3, 2, 90, 90), Side.LEFT, 5, metric=False)]
STAMP_NS = 12 * 10**9 + 34


def frame(index=0, time_ns=STAMP_NS):
    image = np.zeros((240, 320, 3), np.uint8)
    return Frame(image, "frame", index, stamp_s=0.5, time_ns=time_ns, frame_id="optical")


@pytest.fixture(scope="module", params=["mcap", "sqlite3"])
def recorded(request, tmp_path_factory):
    """Topic -> the raw messages of a recording: two hands, then none."""
    folder = tmp_path_factory.mktemp("bags") / "bag"
    with HandBag(folder, request.param) as bag:
        bag.write(frame(), CAMERA, HANDS)
        bag.write(frame(1, time_ns=None), Camera.from_field_of_view(320, 240, 60), [])
    messages = {name: [] for name in TOPICS}
    with AnyReader([folder]) as reader:
        for connection, stamp_ns, data in reader.messages():
            name = connection.topic.removeprefix("/hand/")
            assert connection.msgtype == TOPICS[name]
            messages[name].append((stamp_ns, data))
    return messages


def test_every_frame_is_there_with_its_stamp(recorded):
    stamps = {name: [stamp for stamp, _ in found] for name, found in recorded.items()}
    half = 5 * 10**8
    assert stamps.pop("meshes") == [STAMP_NS] * 2
    assert all(found == [half, STAMP_NS] for found in stamps.values())


def test_they_are_the_messages_of_the_node(recorded):
    pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
    pytest.importorskip("dhpe_ros.msg", reason="needs the messages built")
    from rclpy.serialization import deserialize_message
    from std_msgs.msg import Header

    from dhpe_ros.rendering.overlay import hand_mask
    from dhpe_ros.ros import conversion as ros

    header = Header(frame_id="optical")
    header.stamp.sec, header.stamp.nanosec = divmod(STAMP_NS, 10**9)
    expected = {
        "hands": ros.hand_array_message(HANDS, header),
        "meshes": ros.mesh_message(HANDS[1], header),
        "mask": ros.image_message(hand_mask(HANDS, 240, 320), "mono8", header),
        "camera_info": ros.info_of_camera(CAMERA, header),
        "points": ros.points_message(HANDS, header),
    }
    for name, message in expected.items():
        data = [data for stamp_ns, data in recorded[name] if stamp_ns == STAMP_NS][-1]
        assert deserialize_message(bytes(data), type(message)) == message, name


def test_what_a_killed_recording_left_behind_is_no_hindrance(tmp_path):
    (tmp_path / ".bag.unfinished" / "bag").mkdir(parents=True)
    with HandBag(tmp_path / "bag") as bag:
        bag.write(frame(), CAMERA, HANDS)
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]


def test_a_folder_that_is_no_recording_is_not_replaced(tmp_path):
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "notes.txt").touch()
    with pytest.raises(FileExistsError, match="no recording; move it away"):
        HandBag(tmp_path / "bag").__enter__()
    assert (tmp_path / "bag" / "notes.txt").is_file()


def test_what_was_written_before_an_error_is_kept_and_replaces_what_was_there(tmp_path):
    (tmp_path / "bag").mkdir()
    (tmp_path / "bag" / "metadata.yaml").touch()
    with pytest.raises(KeyboardInterrupt), HandBag(tmp_path / "bag") as bag:
        bag.write(frame(), CAMERA, HANDS)
        raise KeyboardInterrupt
    with AnyReader([tmp_path / "bag"]) as reader:
        assert reader.message_count == 6
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]
    assert not (tmp_path / "bag" / "old").exists()
