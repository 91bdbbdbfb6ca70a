"""Markers for RViz: mesh, skeleton, joints and label of each hand."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Quaternion, Vector3
from std_msgs.msg import ColorRGBA, Header
from visualization_msgs.msg import Marker, MarkerArray

from dhpe_ros.types import BONES, MIDDLE_MCP, Hand, Side

NAMESPACES = ("mesh", "skeleton", "joints", "label")
LABEL_ABOVE_M = 0.08

_SKIN = {
    Side.LEFT: ColorRGBA(r=0.35, g=0.65, b=0.95, a=0.85),
    Side.RIGHT: ColorRGBA(r=0.95, g=0.65, b=0.45, a=0.85),
}
# Type, size in metres and colour by namespace; the mesh has a colour by side, and no size.
_LOOKS = {
    "mesh": (Marker.TRIANGLE_LIST, 1.0, ColorRGBA()),
    "skeleton": (Marker.LINE_LIST, 0.004, ColorRGBA(r=0.1, g=0.8, b=0.3, a=1.0)),
    "joints": (Marker.SPHERE_LIST, 0.008, ColorRGBA(r=0.9, g=0.1, b=0.2, a=1.0)),
    "label": (Marker.TEXT_VIEW_FACING, 0.025, ColorRGBA(r=1.0, g=1.0, b=1.0, a=1.0)),
}


def markers_message(
    hands: list[Hand], lost: Iterable[int], header: Header, lifetime_s: float
) -> MarkerArray:
    """The markers of these hands, and a DELETE of those of the ``lost`` tracks.

    A track keeps its marker ids (namespace, track id) from image to image: nothing flickers.
    """
    deleted = [
        Marker(header=header, ns=namespace, id=track, action=Marker.DELETE)
        for track in sorted(lost)
        for namespace in NAMESPACES
    ]
    lifetime = Duration(sec=int(lifetime_s), nanosec=int(lifetime_s % 1 * 1e9))
    shown = [marker for hand in hands for marker in _hand_markers(hand, header, lifetime)]
    return MarkerArray(markers=deleted + shown)


def _hand_markers(hand: Hand, header: Header, lifetime: Duration) -> list[Marker]:
    """The four markers of one hand, metres in the optical frame."""
    vertices, joints = _points(hand.vertices_m), _points(hand.joints_m)
    points = {
        # The vertices are shared by the triangles: a Point for each corner is 8 times slower.
        "mesh": [vertices[i] for i in hand.triangles.ravel().tolist()],
        "skeleton": [joints[end] for bone in BONES for end in bone],
        "joints": joints,
        "label": [],
    }
    markers = []
    for namespace, (kind, size, color) in _LOOKS.items():
        marker = Marker(header=header, ns=namespace, id=hand.track_id, type=kind, color=color)
        marker.pose = Pose(orientation=Quaternion(w=1.0))
        marker.scale = Vector3(x=size, y=size, z=size)
        marker.lifetime, marker.points = lifetime, points[namespace]
        markers.append(marker)
    mesh, _, _, label = markers
    mesh.color = _SKIN[hand.side]
    label.text = f"{hand.side.name.lower()} {hand.track_id} ({hand.score:.2f})"
    (label.pose.position,) = _points(hand.joints_m[[MIDDLE_MCP]] - (0, LABEL_ABOVE_M, 0))
    return markers


def _points(points_m: np.ndarray) -> list[Point]:
    return [Point(x=x, y=y, z=z) for x, y, z in points_m.tolist()]
