"""Hands, cameras, boxes as ROS messages, and back."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from typing import Any

import numpy as np
from geometry_msgs.msg import (
    Point,
    Pose,
    PoseArray,
    Quaternion,
    Transform,
    TransformStamped,
    Vector3,
)
from sensor_msgs.msg import CameraInfo, Image, JointState, PointCloud2, PointField
from std_msgs.msg import Header

from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media.camera_messages import info_fields
from dhpe_ros.media.hand_fields import (
    cloud_fields,
    hand_fields,
    joint_poses,
    mesh_fields,
    points_fields,
)
from dhpe_ros.media.image_messages import fill_image
from dhpe_ros.types import ANGLE_NAMES, Box, Hand, Side, Target

try:
    from dhpe_ros.msg import Hand as HandMessage
    from dhpe_ros.msg import HandArray, HandMesh, HandMeshArray
except ImportError as error:
    raise ImportError(
        "the messages of dhpe_ros are not built: run 'make setup' in the source tree, or "
        "'colcon build' in the workspace and source its install/setup.bash"
    ) from error
try:
    from vision_msgs.msg import (
        Detection2D,
        Detection2DArray,
        Detection3D,
        Detection3DArray,
        ObjectHypothesisWithPose,
    )
except ImportError:
    Detection2DArray = Detection3DArray = None


def hand_array_message(hands: list[Hand], header: Header) -> HandArray:
    """All hands of one image; metres in the optical frame, pixels of the input image."""
    return HandArray(header=header, hands=[_hand_message(hand) for hand in hands])


def _hand_message(hand: Hand) -> HandMessage:
    fields = hand_fields(hand)
    fields["joint_orientations"] = [Quaternion(**q) for q in fields["joint_orientations"]]
    fields["wrist_pose"] = _pose(fields["wrist_pose"])
    fields["occluded"] = fields["occluded"].tolist()
    return HandMessage(**fields)


def mesh_array_message(hands: list[Hand], header: Header) -> HandMeshArray:
    """The surfaces of all hands of one image, metres in the optical frame."""
    return HandMeshArray(header=header, meshes=[_mesh_message(hand) for hand in hands])


def _mesh_message(hand: Hand) -> HandMesh:
    fields = mesh_fields(hand)
    for name, code in (("vertices", "f"), ("normals", "f"), ("triangles", "I")):
        fields[name] = _array(code, fields[name])
    return HandMesh(**fields)


def points_message(hands: list[Hand], header: Header) -> PointCloud2:
    """The vertices of all hands with their normals, float32, metres in the optical frame."""
    return _cloud(points_fields(hands), header)


def cloud_message(points_m: np.ndarray, header: Header) -> PointCloud2:
    """Points ``(N, 3)`` float32, metres in the optical frame."""
    return _cloud(cloud_fields(points_m), header)


def _cloud(fields: dict[str, Any], header: Header) -> PointCloud2:
    fields["fields"] = [PointField(**field) for field in fields["fields"]]
    fields["data"] = _array("B", fields["data"])
    return PointCloud2(header=header, **fields)


def transform_message(pose: Pose, header: Header, name: str) -> TransformStamped:
    """The frame of a pose in the optical frame, called ``name``."""
    at = pose.position
    transform = Transform(translation=Vector3(x=at.x, y=at.y, z=at.z), rotation=pose.orientation)
    return TransformStamped(header=header, child_frame_id=name, transform=transform)


def pose_messages(hand: Hand) -> list[Pose]:
    """The frames of the 21 joints, the wrist's first, in the optical frame."""
    return [_pose(fields) for fields in joint_poses(hand)]


def pose_array_message(hand: Hand | None, header: Header) -> PoseArray:
    """The frames of the 21 joints; empty without a hand."""
    return PoseArray(header=header, poses=[] if hand is None else pose_messages(hand))


def joint_state_message(hands: Iterable[Hand], header: Header) -> JointState:
    """The angles of hands of different sides, ``<side>_<angle>``, radians."""
    state = JointState(header=header)
    for hand in hands:
        state.name += [f"{hand.side.name.lower()}_{name}" for name in ANGLE_NAMES]
        state.position.extend(hand.joint_angles.tolist())
    return state


def detections_3d_message(hands: Iterable[Hand], header: Header) -> Detection3DArray:
    """Boxes of the meshes along the wrists' axes, metres; the hypothesis has the wrist's pose."""
    message = Detection3DArray(header=header)
    for hand in hands:
        axes = hand.joint_rotations[0]
        along = hand.vertices_m @ axes
        low, high = along.min(0), along.max(0)
        wrist = pose_messages(hand)[0]
        detection = Detection3D(header=header, id=str(hand.track_id), results=[_hypothesis(hand)])
        detection.results[0].pose.pose = wrist
        x, y, z = (axes @ (low + high) / 2).tolist()
        detection.bbox.center = Pose(position=Point(x=x, y=y, z=z), orientation=wrist.orientation)
        detection.bbox.size = Vector3(**dict(zip("xyz", (high - low).tolist(), strict=True)))
        message.detections.append(detection)
    return message


def detections_2d_message(hands: Iterable[Hand], header: Header) -> Detection2DArray:
    """Tight boxes of the meshes in the image, as ``targets_from_detections`` reads them."""
    message = Detection2DArray(header=header)
    for hand in hands:
        box = Box.around(hand.vertices_px[:, :2].astype(float))
        detection = Detection2D(header=header, id=str(hand.track_id), results=[_hypothesis(hand)])
        detection.bbox.center.position.x, detection.bbox.center.position.y = box.center
        detection.bbox.size_x, detection.bbox.size_y = box.width, box.height
        message.detections.append(detection)
    return message


def _hypothesis(hand: Hand) -> ObjectHypothesisWithPose:
    hypothesis = ObjectHypothesisWithPose()
    hypothesis.hypothesis.class_id = f"{hand.side.name.lower()}_hand"
    hypothesis.hypothesis.score = float(hand.score)
    return hypothesis


def image_message(pixels: np.ndarray, encoding: str, header: Header) -> Image:
    """An image of ``(H, W)`` or ``(H, W, 3)`` pixels, of the type of ``encoding``."""
    return fill_image(Image(header=header), pixels, encoding)


def camera_info_message(
    info: CameraInfo | None, header: Header, width: int, height: int
) -> CameraInfo:
    """A copy of ``info`` with the image's header; without it the size alone, with a zero K."""
    if info is None:
        return CameraInfo(header=header, width=width, height=height)
    names = CameraInfo.get_fields_and_field_types().keys() - {"header"}
    return CameraInfo(header=header, **{name: getattr(info, name) for name in names})


def info_of_camera(camera: Camera, header: Header) -> CameraInfo:
    """The camera_info of a camera."""
    fields = info_fields(camera)
    return CameraInfo(header=header, **{**fields, "d": fields["d"].tolist()})


def targets_from_roi(roi: Any) -> list[Target]:
    """One box of a ``sensor_msgs/RegionOfInterest``; none if all is zero, the whole image.

    Raises ``ValueError`` for any other region without width or height.
    """
    if not any((roi.x_offset, roi.y_offset, roi.width, roi.height)):
        return []
    return [Target(Box(roi.x_offset, roi.y_offset, roi.width, roi.height))]


def targets_from_detections(detections: Any) -> list[Target]:
    """Boxes of a ``vision_msgs/Detection2DArray``; left or right in a class id gives the side.

    Raises ``ValueError`` for a box that is not finite or has no area.
    """
    targets = []
    for detection in detections.detections:
        center, width, height = detection.bbox.center, detection.bbox.size_x, detection.bbox.size_y
        corner = center.position.x - width / 2, center.position.y - height / 2
        names = "".join(r.hypothesis.class_id.lower() for r in detection.results[:1])
        sides = [side for side in Side if side.name.lower() in names]
        targets.append(Target(Box(*corner, width, height), sides[0] if len(sides) == 1 else None))
    return targets


def _pose(fields: dict[str, dict[str, float]]) -> Pose:
    position, orientation = Point(**fields["position"]), Quaternion(**fields["orientation"])
    return Pose(position=position, orientation=orientation)


def _array(code: str, values: np.ndarray) -> array:
    """A flat ``array.array``, which rclpy takes thousands of times faster than a list."""
    flat = array(code)
    flat.frombytes(values.tobytes())
    return flat
