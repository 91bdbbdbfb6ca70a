"""Markers for RViz: mesh, skeleton, joints and a label for each hand."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from dhpe_ros.types import BONES, MIDDLE_MCP, Hand, Side

NAMESPACES = ("mesh", "skeleton", "joints", "label")
BONE_WIDTH_M = 0.004
JOINT_SIZE_M = 0.008
LABEL_HEIGHT_M = 0.025
LABEL_ABOVE_M = 0.08

_SKIN = {
    Side.LEFT: ColorRGBA(r=0.35, g=0.65, b=0.95, a=0.85),
    Side.RIGHT: ColorRGBA(r=0.95, g=0.65, b=0.45, a=0.85),
}
_BONE = ColorRGBA(r=0.1, g=0.8, b=0.3, a=1.0)
_JOINT = ColorRGBA(r=0.9, g=0.1, b=0.2, a=1.0)
_TEXT = ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)


class MarkerBuilder:
    """Keeps which tracks are on screen, so that those that are gone get deleted.

    A track keeps its marker ids (namespace, track id) from frame to frame: nothing flickers.
    """

    def __init__(self) -> None:
        self._shown: set[int] = set()

    @property
    def shows_any(self) -> bool:
        return bool(self._shown)

    def update(self, hands: list[Hand], header: Header, lifetime_s: float) -> MarkerArray:
        """Markers of these hands, and DELETE for each track that was there and is not any more."""
        present = {hand.track_id for hand in hands}
        markers = [
            _marker(namespace, track, header, action=Marker.DELETE)
            for track in sorted(self._shown - present)
            for namespace in NAMESPACES
        ]
        lifetime = Duration(sec=int(lifetime_s), nanosec=int(lifetime_s % 1 * 1e9))
        for hand in hands:
            markers += hand_markers(hand, header, lifetime)
        self._shown = present
        return MarkerArray(markers=markers)


def hand_markers(hand: Hand, header: Header, lifetime: Duration) -> list[Marker]:
    """The four markers of one hand, metres in the optical frame."""
    joints = _points(hand.joints_m)
    mesh = _marker("mesh", hand.track_id, header, Marker.TRIANGLE_LIST, 1.0, _SKIN[hand.side])
    vertices = _points(hand.vertices_m)  # shared by the triangles: a Point each is 8 times slower
    mesh.points = [vertices[i] for i in hand.triangles.ravel().tolist()]
    skeleton = _marker("skeleton", hand.track_id, header, Marker.LINE_LIST, BONE_WIDTH_M, _BONE)
    skeleton.points = [joints[end] for bone in BONES for end in bone]
    spheres = _marker("joints", hand.track_id, header, Marker.SPHERE_LIST, JOINT_SIZE_M, _JOINT)
    spheres.points = joints
    label = _marker("label", hand.track_id, header, Marker.TEXT_VIEW_FACING, LABEL_HEIGHT_M, _TEXT)
    label.text = label_text(hand)
    label.pose.position = _points(label_position(hand))[0]
    markers = [mesh, skeleton, spheres, label]
    for marker in markers:
        marker.lifetime = lifetime
    return markers


def label_text(hand: Hand) -> str:
    return f"{hand.side.name.lower()} {hand.track_id} ({hand.score:.2f})"


def label_position(hand: Hand) -> np.ndarray:
    """``(1, 3)`` metres, above the knuckles."""
    return hand.joints_m[MIDDLE_MCP : MIDDLE_MCP + 1] - np.float32((0, LABEL_ABOVE_M, 0))


def _marker(
    namespace: str,
    track: int,
    header: Header,
    kind: int = Marker.CUBE,
    size: float = 1.0,
    color: ColorRGBA = _TEXT,
    action: int = Marker.ADD,
) -> Marker:
    pose = Pose()
    pose.orientation.w = 1.0
    return Marker(
        header=header,
        ns=namespace,
        id=track,
        type=kind,
        action=action,
        pose=pose,
        scale=Vector3(x=size, y=size, z=size),
        color=color,
    )


def _points(points_m: np.ndarray) -> list[Point]:
    return [Point(x=x, y=y, z=z) for x, y, z in points_m.tolist()]
