"""The messages survive the wire: every field, with its type and its length."""

import importlib

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS is not there: no messages to test")
pytest.importorskip("dhpe_ros.msg", reason="the messages are not built: run make setup")

from geometry_msgs.msg import Point, Pose, Quaternion
from rclpy.serialization import deserialize_message, serialize_message

from dhpe_ros.msg import Hand, HandArray, HandMesh, HandMeshArray

FIXED_ARRAYS = {
    "box_px": 4,
    "joints_m": 63,
    "joint_stds_m": 21,
    "joints_px": 42,
    "joint_confidences": 21,
    "parameters": 63,
    "contact_distances": 5,
}


def through_the_wire(message):
    return deserialize_message(serialize_message(message), type(message))


def filled_hand(seed: int) -> Hand:
    """A hand in which no two fields, and no two numbers of an array, are alike."""
    random = np.random.default_rng(seed)
    arrays = {name: random.normal(0, 100, n).astype(np.float32) for name, n in FIXED_ARRAYS.items()}
    return Hand(
        track_id=4_000_000_000 + seed,
        side=Hand.RIGHT,
        score=0.875,
        wrist_pose=Pose(
            position=Point(x=0.1, y=-0.2, z=0.7),
            orientation=Quaternion(x=0.5, y=-0.5, z=0.5, w=0.5),
        ),
        joint_names=[f"joint {k}" for k in range(21)],
        joint_orientations=[Quaternion(x=float(k)) for k in range(21)],
        occluded=[k % 3 == 0 for k in range(21)],
        intrinsics_known=True,
        scale=Hand.SCALE_DEPTH,
        scale_std=0.0625,
        refinement_steps=50,
        residual_before_px=7.5,
        residual_after_px=2.25,
        **arrays,
    )


def test_every_field_of_a_hand_survives():
    sent = filled_hand(1)
    received = through_the_wire(sent)
    for name in Hand.get_fields_and_field_types():
        np.testing.assert_array_equal(getattr(received, name), getattr(sent, name), err_msg=name)
        assert np.any(getattr(sent, name) != getattr(Hand(), name)), f"{name} was not tried"


def test_hand_arrays_are_float32_arrays_of_fixed_length():
    received = through_the_wire(filled_hand(2))
    for name, length in FIXED_ARRAYS.items():
        array = getattr(received, name)
        assert isinstance(array, np.ndarray), name
        assert (array.dtype, array.shape) == (np.float32, (length,)), name


def test_hand_array_keeps_header_order_and_count():
    sent = HandArray(hands=[filled_hand(3), filled_hand(4)])
    sent.header.stamp.sec, sent.header.stamp.nanosec = 1_700_000_000, 999_999_999
    sent.header.frame_id = "camera_color_optical_frame"
    assert through_the_wire(sent) == sent
    assert through_the_wire(HandArray()).hands == []


def test_mesh_arrays_keep_their_numbers_and_types():
    random = np.random.default_rng(5)
    vertices = random.normal(0, 0.1, (778, 3)).astype(np.float32)
    normals = random.normal(0, 1, (778, 3)).astype(np.float32)
    triangles = random.integers(0, 778, (1538, 3), dtype=np.uint32)

    sent = HandMesh(track_id=7, side=HandMesh.LEFT)
    sent.vertices.frombytes(vertices.tobytes())
    sent.normals.frombytes(normals.tobytes())
    sent.triangles.frombytes(triangles.tobytes())
    array = HandMeshArray(meshes=[sent, HandMesh(track_id=8)])
    array.header.frame_id = "camera"
    arrived = through_the_wire(array)

    received, _ = arrived.meshes
    assert (arrived.header, received.track_id, received.side) == (array.header, 7, HandMesh.LEFT)
    for name, expected in (("vertices", vertices), ("normals", normals), ("triangles", triangles)):
        array = getattr(received, name)
        assert array.typecode == {"f": "f", "u": "I"}[expected.dtype.kind], name
        np.testing.assert_array_equal(np.array(array).reshape(-1, 3), expected, err_msg=name)


def test_both_messages_number_the_sides_alike():
    assert (Hand.LEFT, Hand.RIGHT) == (HandMesh.LEFT, HandMesh.RIGHT) == (0, 1)


def test_messages_number_the_sides_as_the_pipeline_does():
    side = importlib.import_module("dhpe_ros.types").Side
    assert (Hand.LEFT, Hand.RIGHT) == (side.LEFT, side.RIGHT)
