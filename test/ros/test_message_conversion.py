"""Hands as messages and back, markers, camera_info, regions of interest."""

from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

pytest.importorskip("rclpy", reason="needs ROS 2 (rclpy)")
pytest.importorskip("dhpe_ros.msg", reason="needs the messages built")

from fake_tracker import make_hand
from grasp_scenes import CAMERA, scene
from rclpy.serialization import deserialize_message, serialize_message
from sensor_msgs.msg import CameraInfo, PointField, RegionOfInterest
from shape_msgs.msg import SolidPrimitive
from std_msgs.msg import Header
from visualization_msgs.msg import Marker

from dhpe_ros.config import NodeConfig
from dhpe_ros.geometry.grasp import find_grasps
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.ros.collision import capsules
from dhpe_ros.ros.conversion import (
    HandArray,
    HandMesh,
    camera_info_message,
    detections_2d_message,
    detections_3d_message,
    hand_array_message,
    image_message,
    joint_state_message,
    mesh_array_message,
    points_message,
    pose_messages,
    targets_from_detections,
    targets_from_roi,
    transform_message,
)
from dhpe_ros.ros.markers import NAMESPACES, markers_message
from dhpe_ros.ros.outputs import RESULTS, Result
from dhpe_ros.types import ANGLE_NAMES, JOINT_NAMES, Box, Scale, Side


@pytest.fixture
def header():
    header = Header(frame_id="camera_optical")
    header.stamp.sec, header.stamp.nanosec = 12, 34
    return header


def over_the_wire(message):
    return deserialize_message(serialize_message(message), type(message))


def quaternion_matrix(q):
    x, y, z, w = q.x, q.y, q.z, q.w
    return np.array(
        (
            (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
            (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
            (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
        )
    )


def test_hands_survive_the_wire(header):
    hands = [
        make_hand(track_id=7),
        make_hand(Box(-5, 3, 40, 40), Side.LEFT, 8, intrinsics_known=False),
    ]
    received = over_the_wire(hand_array_message(hands, header))
    assert isinstance(received, HandArray)
    assert received.header == header
    for message, hand in zip(received.hands, hands, strict=True):
        assert (message.track_id, message.side) == (hand.track_id, hand.side)
        assert message.intrinsics_known == hand.intrinsics_known
        assert message.score == hand.score
        np.testing.assert_array_equal(message.box_px, hand.box.as_array())
        np.testing.assert_array_equal(message.joints_m.reshape(21, 3), hand.joints_m)
        np.testing.assert_array_equal(message.joints_px.reshape(21, 2), hand.joints_px)
        np.testing.assert_array_equal(message.joint_confidences, hand.joint_confidences)
        np.testing.assert_array_equal(message.parameters, hand.parameters)
        assert tuple(message.joint_names) == JOINT_NAMES
        np.testing.assert_array_equal(message.joint_stds_m, hand.joint_stds_m.astype(np.float32))
        np.testing.assert_array_equal(message.occluded, hand.occluded)
        np.testing.assert_array_equal(message.contact_distances, hand.contact_distances)
        assert message.scale_std == pytest.approx(hand.scale.std)
        assert message.wrist_pose.orientation == message.joint_orientations[0]
        position = message.wrist_pose.position
        np.testing.assert_allclose((position.x, position.y, position.z), hand.joints_m[0])
        assert message.refinement_steps == 50
        assert (message.residual_before_px, message.residual_after_px) == (4.0, 1.5)


def test_the_constants_of_the_messages_are_those_of_side():
    hand = type(hand_array_message([make_hand()], Header()).hands[0])
    for kind in (hand, HandMesh):
        assert (kind.LEFT, kind.RIGHT) == (Side.LEFT, Side.RIGHT)
    assert {f"SCALE_{scale.name}": int(scale) for scale in Scale} == {
        name: getattr(hand, name) for name in dir(hand) if name.startswith("SCALE_")
    }


@pytest.mark.parametrize("angle", [0.0, 1e-7, 0.5, 3.0, np.pi])
def test_orientations_are_the_joints_rotations(angle, header):
    axis = np.array((0.6, -0.8, 0.0)) if angle < 3.1 else np.array((0.0, 0.0, 1.0))
    rotation = cv2.Rodrigues(axis * angle)[0]
    hand = make_hand()
    hand.joint_rotations[4] = rotation
    found = hand_array_message([hand], header).hands[0].joint_orientations
    for orientation, expected in zip(found, hand.joint_rotations, strict=True):
        np.testing.assert_allclose(quaternion_matrix(orientation), expected, atol=1e-6)


def test_the_mesh_survives_the_wire(header):
    hand = make_hand()
    array = over_the_wire(mesh_array_message([hand, make_hand(track_id=2)], header))
    assert array.header == header
    assert [mesh.track_id for mesh in array.meshes] == [1, 2]
    received = array.meshes[0]
    np.testing.assert_array_equal(np.reshape(received.vertices, (-1, 3)), hand.vertices_m)
    np.testing.assert_array_equal(np.reshape(received.normals, (-1, 3)), hand.normals)
    np.testing.assert_array_equal(np.reshape(received.triangles, (-1, 3)), hand.triangles)


def test_no_hand_is_an_empty_array_with_the_header(header):
    received = over_the_wire(hand_array_message([], header))
    assert received.header == header
    assert received.hands == []


def test_a_mask_has_the_image_s_size_and_header(header):
    mask = np.zeros((48, 65), np.uint8)
    mask[3, 4] = 255
    received = over_the_wire(image_message(mask, "mono8", header))
    assert (received.height, received.width, received.step) == (48, 65, 65)
    assert received.encoding == "mono8"
    np.testing.assert_array_equal(np.reshape(received.data, (48, 65)), mask)


def test_markers_have_the_ids_of_their_tracks_and_those_of_lost_ones_are_deleted(header):
    hands = [make_hand(track_id=3), make_hand(track_id=4)]
    markers = over_the_wire(markers_message(hands, {1, 2}, header, 1.5)).markers
    for action, tracks in ((Marker.ADD, (3, 4)), (Marker.DELETE, (1, 2))):
        found = {(m.ns, m.id) for m in markers if m.action == action}
        assert found == {(ns, t) for ns in NAMESPACES for t in tracks}
    assert len(markers) == 16
    assert all(m.header == header for m in markers)


def test_markers_are_what_rviz_accepts(header):
    hand = make_hand()
    markers = {m.ns: m for m in markers_message([hand], (), header, 1.5).markers}
    mesh = markers["mesh"]
    assert mesh.type == Marker.TRIANGLE_LIST
    assert len(mesh.points) == 1538 * 3
    corner = mesh.points[4]
    vertex = hand.vertices_m[hand.triangles[1, 1]]
    np.testing.assert_allclose((corner.x, corner.y, corner.z), vertex)
    assert len(markers["skeleton"].points) == 2 * 20
    assert len(markers["joints"].points) == 21
    assert "right" in markers["label"].text
    for marker in markers.values():
        assert marker.pose.orientation.w == 1.0
        assert min(marker.scale.x, marker.scale.y, marker.scale.z) > 0
        assert marker.color.a > 0
        assert (marker.lifetime.sec, marker.lifetime.nanosec) == (1, 500_000_000)


def test_the_mask_s_camera_info_is_the_camera_s_with_the_image_s_header(header):
    k = [500.0, 0.0, 320.0, 0.0, 500.0, 240.0, 0.0, 0.0, 1.0]
    original = CameraInfo(width=640, height=480, k=k, binning_x=2)
    original.distortion_model, original.d = "plumb_bob", [0.1, 0.2, 0.0, 0.0, 0.0]
    copy = camera_info_message(original, header, 640, 480)
    assert copy.header == header
    copy.header = original.header
    assert copy == original


def test_without_intrinsics_the_camera_info_says_uncalibrated(header):
    made = camera_info_message(None, header, 32, 24)
    assert (made.width, made.height) == (32, 24)
    assert not made.k.any()


def test_joint_states_name_the_angles_of_both_sides(header):
    hands = [make_hand(side=Side.LEFT), make_hand(side=Side.RIGHT)]
    state = over_the_wire(joint_state_message(hands, header))
    assert state.header == header
    assert state.name[0] == "left_thumb_cmc_flexion"
    assert len(set(state.name)) == 40
    angle = dict(zip(state.name, state.position, strict=True))["right_index_pip_flexion"]
    assert angle == hands[1].joint_angles[ANGLE_NAMES.index("index_pip_flexion")]


def test_detections_are_boxes_about_the_mesh_and_are_read_as_boxes(header):
    pytest.importorskip("vision_msgs.msg", reason="needs vision_msgs, of a ROS installation")
    hand = make_hand(side=Side.LEFT, track_id=7)
    (flat,) = over_the_wire(detections_2d_message([hand], header)).detections
    (target,) = targets_from_detections(SimpleNamespace(detections=[flat]))
    low = np.array((target.box.x, target.box.y)) - 0.5
    np.testing.assert_allclose(low, hand.vertices_px[:, :2].min(0), atol=1e-4)
    assert target.side is Side.LEFT
    (solid,) = over_the_wire(detections_3d_message([hand], header)).detections
    assert (solid.header, solid.id) == (header, "7")
    assert solid.results[0].hypothesis.score == hand.score
    axes = quaternion_matrix(solid.bbox.center.orientation)
    middle, size = (
        np.array([getattr(v, axis) for axis in "xyz"])
        for v in (solid.bbox.center.position, solid.bbox.size)
    )
    within = np.abs((hand.vertices_m - middle) @ axes)
    np.testing.assert_allclose(within.max(0), size / 2, atol=1e-6)
    np.testing.assert_allclose(axes, hand.joint_rotations[0], atol=1e-6)


def test_a_region_of_interest_is_one_box_and_zero_is_the_whole_image():
    roi = RegionOfInterest(x_offset=5, y_offset=6, width=70, height=80)
    assert [target.box for target in targets_from_roi(roi)] == [Box(5, 6, 70, 80)]
    assert targets_from_roi(RegionOfInterest()) == []
    with pytest.raises(ValueError, match="positive width"):
        targets_from_roi(RegionOfInterest(x_offset=5))


def detection(x, y, width, height, class_id="hand"):
    center = SimpleNamespace(position=SimpleNamespace(x=x, y=y))
    return SimpleNamespace(
        bbox=SimpleNamespace(center=center, size_x=width, size_y=height),
        results=[SimpleNamespace(hypothesis=SimpleNamespace(class_id=class_id))],
    )


def test_detections_are_boxes_and_their_class_may_name_the_side():
    boxes = [
        detection(50, 60, 20, 40),
        detection(10, 10, 8, 8, "left_hand"),
        detection(10, 10, 8, 8, "Right"),
    ]
    targets = targets_from_detections(SimpleNamespace(detections=boxes))
    assert targets[0].box == Box(40, 40, 20, 40)
    assert [target.side for target in targets] == [None, Side.LEFT, Side.RIGHT]


def test_a_detection_without_a_size_is_refused():
    with pytest.raises(ValueError, match="box must"):
        targets_from_detections(SimpleNamespace(detections=[detection(1, 1, float("nan"), 4)]))


def test_the_point_cloud_has_every_vertex_with_its_normal(header):
    hands = [make_hand(track_id=1), make_hand(side=Side.LEFT, track_id=2)]
    cloud = over_the_wire(points_message(hands, header))
    assert cloud.header == header
    assert [(f.name, f.offset, f.datatype) for f in cloud.fields] == [
        (name, 4 * k, PointField.FLOAT32)
        for k, name in enumerate(("x", "y", "z", "normal_x", "normal_y", "normal_z"))
    ]
    points = np.frombuffer(bytes(cloud.data), np.float32).reshape(cloud.width, 6)
    assert (cloud.point_step, cloud.row_step) == (24, 24 * cloud.width)
    np.testing.assert_array_equal(points[778:, :3], hands[1].vertices_m)
    np.testing.assert_array_equal(points[:778, 3:], hands[0].normals)
    assert points_message([], header).width == 0


def test_a_held_object_is_published_with_its_distances(header):
    seen = scene("box", turn_deg=(-45, 0, 0))
    depth_m, config = seen.noisy_m(), NodeConfig(grasp_distance=0.03)

    def published(**image):
        result = Result([seen.hand], config, frozenset(), header, **image)
        return {o.topic: o.messages(result) for o in RESULTS}

    (grasp,) = find_grasps([seen.hand], depth_m, CAMERA, 0.03)
    messages = published(depth_m=depth_m, camera=CAMERA)
    cloud = over_the_wire(messages["~/grasped_object"][0])
    assert cloud.header == header
    assert [field.name for field in cloud.fields] == ["x", "y", "z"]
    points_m = np.frombuffer(bytes(cloud.data), np.float32).reshape(cloud.width, 3)
    np.testing.assert_array_equal(points_m, grasp.points_m)
    told = over_the_wire(messages["~/hands"][0]).hands[0].contact_distances
    np.testing.assert_array_equal(told, grasp.distances_m)
    for unknown in ({}, {"depth_m": depth_m}, {"camera": CAMERA}):
        messages = published(**unknown)
        assert messages["~/grasped_object"] == []
        assert np.isnan(messages["~/hands"][0].hands[0].contact_distances).all()


def test_the_wrist_s_frame_is_the_wrist_s_pose(header):
    hand = make_hand(track_id=5)
    transform = over_the_wire(transform_message(pose_messages(hand)[0], header, "robot/hand_5"))
    pose = hand_array_message([hand], header).hands[0].wrist_pose
    assert (transform.header, transform.child_frame_id) == (header, "robot/hand_5")
    assert transform.transform.rotation == pose.orientation
    shift = transform.transform.translation
    assert (shift.x, shift.y, shift.z) == (pose.position.x, pose.position.y, pose.position.z)


def test_capsules_hold_the_hand(header):
    model = HandModel(hand_model_path())
    rng = np.random.default_rng(0)
    theta = torch.from_numpy(rng.normal(0, 0.7, (6, 45))).float()
    shape = torch.from_numpy(rng.normal(0, 1, (6, 10))).float()
    vertices = model(model.pose_from_theta(theta), shape)
    for joints, skin in zip(model.skeleton(vertices).numpy(), vertices.numpy(), strict=True):
        shapes, poses = capsules(joints, padding_m=0.01)
        outside_m = np.min([_outside_m(*pair, skin) for pair in zip(shapes, poses, strict=True)], 0)
        assert (outside_m <= 0).mean() > 0.99
        assert outside_m.max() < 0.01
        bare, _ = capsules(joints, padding_m=0.0)
        assert max(s.dimensions[-1] for s in bare) < 0.038


def _outside_m(shape, pose, points):
    """Distance of ``(N, 3)`` points outside of a sphere or a cylinder."""
    center = np.array((pose.position.x, pose.position.y, pose.position.z))
    local = (points - center) @ quaternion_matrix(pose.orientation)
    if shape.type == SolidPrimitive.SPHERE:
        return np.linalg.norm(local, axis=1) - shape.dimensions[0]
    height, radius = shape.dimensions
    beyond = np.abs(local[:, 2]) - height / 2
    return np.maximum(np.hypot(local[:, 0], local[:, 1]) - radius, beyond)
