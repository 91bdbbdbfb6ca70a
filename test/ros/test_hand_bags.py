"""Hands as a recording; the same messages as the node's."""

import numpy as np
import pytest
from fake_tracker import make_hand

pytest.importorskip("rosbags.rosbag2", reason="the optional rosbags package is missing")
from rosbags.highlevel import AnyReader
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media.frames import Frame
from dhpe_ros.media.hand_bags import TOPICS, HandBag, read_hands
from dhpe_ros.types import Box, Scale, Side

CAMERA = Camera(300, 310, 159.5, 119.5, 320, 240)
HANDS = [make_hand(track_id=4), make_hand(Box(3, 2, 90, 90), Side.LEFT, 5, intrinsics_known=False)]
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
    half = 5 * 10**8
    for name, found in recorded.items():
        assert [stamp for stamp, _ in found] == [half, STAMP_NS], name


def test_they_are_the_messages_of_the_node(recorded):
    pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
    pytest.importorskip("dhpe_ros.msg", reason="needs the messages built")
    from rclpy.serialization import deserialize_message, serialize_message
    from std_msgs.msg import Header

    from dhpe_ros.rendering.overlay import hand_mask
    from dhpe_ros.ros import conversion as ros

    header = Header(frame_id="optical")
    header.stamp.sec, header.stamp.nanosec = divmod(STAMP_NS, 10**9)
    expected = {
        "hands": ros.hand_array_message(HANDS, header),
        "meshes": ros.mesh_array_message(HANDS, header),
        "mask": ros.image_message(hand_mask(HANDS, 240, 320), "mono8", header),
        "camera_info": ros.info_of_camera(CAMERA, header),
        "points": ros.points_message(HANDS, header),
    }
    for name, message in expected.items():
        data = [data for stamp_ns, data in recorded[name] if stamp_ns == STAMP_NS][-1]
        both = (bytes(data), serialize_message(message))
        read, sent = (repr(deserialize_message(one, type(message))) for one in both)
        assert read == sent, name  # NaN equals NaN as text


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
        assert reader.message_count == 5
    assert [path.name for path in tmp_path.iterdir()] == ["bag"]
    assert not (tmp_path / "bag" / "old").exists()


def test_hands_and_meshes_are_read_back(tmp_path):
    with HandBag(tmp_path / "bag") as bag:
        bag.write(frame(), CAMERA, HANDS)
        bag.write(frame(1, time_ns=STAMP_NS + 1), CAMERA, [])
    (stamp_ns, hands), (_, none) = read_hands(tmp_path / "bag")
    (_, meshes), _ = read_hands(tmp_path / "bag", "/hand/meshes")
    assert (stamp_ns, none) == (STAMP_NS, [])
    for hand, mesh, written in zip(hands, meshes, HANDS, strict=True):
        assert mesh.track_id == hand.track_id == written.track_id
        assert hand.intrinsics_known == written.intrinsics_known
        np.testing.assert_array_equal(hand.joints_m.reshape(21, 3), written.joints_m)
        np.testing.assert_array_equal(mesh.vertices.reshape(778, 3), written.vertices_m)
        np.testing.assert_array_equal(hand.occluded, written.occluded)
    with pytest.raises(ValueError, match="no topic /hands; it has /hand/camera_info, /hand/hands"):
        next(read_hands(tmp_path / "bag", "/hands"))


# As they were before HandMeshArray; constants and comments left out.
OLD = {
    "Hand": """
        uint32 track_id
        uint8 side
        float32 score
        float32[4] box_px
        float32[63] joints_m
        float32[42] joints_px
        float32[21] joint_confidences
        float32[63] parameters
        geometry_msgs/Pose wrist_pose
        bool metric
        uint8 scale
        uint32 refinement_steps
        float32 residual_before_px
        float32 residual_after_px""",
    "HandArray": "std_msgs/Header header\nHand[] hands",
    "HandMesh": """
        std_msgs/Header header
        uint32 track_id
        uint8 side
        float32[] vertices
        float32[] normals
        uint32[] triangles""",
}


@pytest.mark.parametrize("storage", list(StoragePlugin))
def test_recordings_with_the_old_messages_are_read(tmp_path, storage):
    store = get_typestore(Stores.LATEST)
    for name, text in OLD.items():
        store.register(get_types_from_msg(text, f"dhpe_ros/msg/{name}"))
    kinds = {name.rpartition("/")[2]: kind for name, kind in store.types.items()}
    header = kinds["Header"](kinds["Time"](12, 34), "optical")
    pose = kinds["Pose"](kinds["Point"](0.0, 0.1, 0.2), kinds["Quaternion"](0.0, 0.0, 0.0, 1.0))
    sized = [np.arange(n, dtype=np.float32) for n in (4, 63, 42, 21, 63)]
    hand = kinds["Hand"](7, 1, 0.5, *sized, pose, True, 3, 5, 2.0, 1.0)
    floats = np.arange(6, dtype=np.float32)
    mesh = kinds["HandMesh"](header, 7, 1, floats, floats, np.arange(3, dtype=np.uint32))
    with Writer(tmp_path / "old", version=9, storage_plugin=storage) as bag:
        for topic, message in (("hands", kinds["HandArray"](header, [hand])), ("meshes", mesh)):
            kind = message.__msgtype__
            connection = bag.add_connection(f"/hand/{topic}", kind, typestore=store)
            bag.write(connection, STAMP_NS, store.serialize_cdr(message, kind))
    ((stamp_ns, (read,)),) = read_hands(tmp_path / "old")
    assert (stamp_ns, read.track_id, read.intrinsics_known) == (STAMP_NS, 7, True)
    np.testing.assert_array_equal(read.joints_m, sized[1])
    assert read.scale_std == Scale.DEPTH.std
    assert np.isnan(read.joint_stds_m).all()
    assert np.isnan(read.contact_distances).all()
    ((_, (read,)),) = read_hands(tmp_path / "old", "/hand/meshes")
    np.testing.assert_array_equal(read.vertices, mesh.vertices)
