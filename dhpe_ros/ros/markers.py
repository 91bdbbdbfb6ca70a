"""Markers for RViz: mesh, skeleton, joints, label of each hand, with little work per frame.

The 4,614 points of a mesh, as objects, would cost more than any other message of the node. So
while the same hands stay, the changed values are written into the last serialised message.
"""

from __future__ import annotations

import struct
import sys

import numpy as np
from builtin_interfaces.msg import Duration
from geometry_msgs.msg import Point, Pose, Vector3
from rclpy.serialization import serialize_message
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
_STAMP = struct.Struct("=iI")
_ENCAPSULATION = bytes((0, sys.byteorder == "little"))  # of CDR in this machine's byte order
_BONE_ENDS = np.array(BONES).ravel()


class MarkerBuilder:
    """Builds MarkerArrays of objects; remembers the tracks on screen, to delete lost ones.

    A track keeps its marker ids (namespace, track id) from frame to frame: nothing flickers.
    """

    def __init__(self) -> None:
        self._shown: set[int] = set()

    @property
    def shows_any(self) -> bool:
        return bool(self._shown)

    def update(self, hands: list[Hand], header: Header, lifetime_s: float) -> MarkerArray:
        """Markers of these hands, and a DELETE for each track that is lost."""
        present = {hand.track_id for hand in hands}
        markers = [
            _marker(namespace, track, header, action=Marker.DELETE)
            for track in sorted(self._shown - present)
            for namespace in NAMESPACES
        ]
        lifetime = Duration(sec=int(lifetime_s), nanosec=int(lifetime_s % 1 * 1e9))
        for hand in hands:
            markers += _hand_markers(hand, header, lifetime)
        self._shown = present
        return MarkerArray(markers=markers)


class FastMarkers:
    """As ``MarkerBuilder``; while the same hands stay, messages come serialised.

    A message whose layout in memory is not as expected is built of objects, as the others are.
    """

    def __init__(self) -> None:
        self._builder = MarkerBuilder()
        self._key: tuple = ()
        self._message: _SerializedMarkers | None = None

    @property
    def shows_any(self) -> bool:
        return self._builder.shows_any

    def update(self, hands: list[Hand], header: Header, lifetime_s: float) -> MarkerArray | bytes:
        """The message for these hands; ``rclpy`` publishes either type."""
        labels = [(hand.track_id, hand.side, len(_label_text(hand))) for hand in hands]
        key = (header.frame_id, lifetime_s, *labels)
        if self._message is not None and key == self._key:
            return self._message.filled(hands, header)
        message = self._builder.update(hands, header, lifetime_s)
        if hands and key == self._key:  # the second of its kind has no DELETE any more
            self._message = _SerializedMarkers.find(message, hands, header)
        else:
            self._message = None
        self._key = key
        return message


class _SerializedMarkers:
    """A serialised MarkerArray with the offsets of the values that change."""

    def __init__(self, data: bytearray, stamps: list[int], hands: list[list[int]]) -> None:
        self._data = data
        self._stamps = stamps
        self._hands = hands  # for each hand the offsets of its ``_parts``

    @staticmethod
    def find(message: MarkerArray, hands: list[Hand], header: Header) -> _SerializedMarkers | None:
        """Find the offsets by the values that stand there; None where that is ambiguous."""
        data = bytearray(serialize_message(message))
        frame = header.frame_id.encode() + b"\0"
        stamp = _stamp(header) + struct.pack("=I", len(frame)) + frame
        stamps = _offsets(data, stamp)
        offsets = [[_offsets(data, part) for part in _parts(hand)] for hand in hands]
        unique = all(len(found) == 1 for parts in offsets for found in parts)
        if data[:2] != _ENCAPSULATION or len(stamps) != len(message.markers) or not unique:
            return None
        return _SerializedMarkers(data, stamps, [[f[0] for f in parts] for parts in offsets])

    def filled(self, hands: list[Hand], header: Header) -> bytes:
        """The message with the values of the same hands now."""
        stamp = _stamp(header)
        for offset in self._stamps:
            self._data[offset : offset + len(stamp)] = stamp
        for hand, offsets in zip(hands, self._hands, strict=True):
            for part, offset in zip(_parts(hand), offsets, strict=True):
                self._data[offset : offset + len(part)] = part
        return bytes(self._data)


def _parts(hand: Hand) -> list[bytes]:
    """The changing values of a hand's markers in CDR: points as float64, the label's text."""
    corners = hand.vertices_m[hand.triangles.ravel()]
    points = (corners, hand.joints_m[_BONE_ENDS], hand.joints_m, _label_position(hand))
    text = _label_text(hand).encode() + b"\0"
    return [*(p.astype(np.float64).tobytes() for p in points), text]


def _stamp(header: Header) -> bytes:
    return _STAMP.pack(header.stamp.sec, header.stamp.nanosec)


def _offsets(data: bytearray, part: bytes) -> list[int]:
    offsets, offset = [], data.find(part)
    while offset >= 0:
        offsets.append(offset)
        offset = data.find(part, offset + len(part))
    return offsets


def _hand_markers(hand: Hand, header: Header, lifetime: Duration) -> list[Marker]:
    """The four markers of one hand, metres in the optical frame."""
    joints = _points(hand.joints_m)
    mesh = _marker("mesh", hand.track_id, header, Marker.TRIANGLE_LIST, 1.0, _SKIN[hand.side])
    vertices = _points(hand.vertices_m)  # shared by the triangles: a Point each is 8 times slower
    mesh.points = [vertices[i] for i in hand.triangles.ravel().tolist()]
    skeleton = _marker("skeleton", hand.track_id, header, Marker.LINE_LIST, BONE_WIDTH_M, _BONE)
    skeleton.points = [joints[end] for end in _BONE_ENDS]
    spheres = _marker("joints", hand.track_id, header, Marker.SPHERE_LIST, JOINT_SIZE_M, _JOINT)
    spheres.points = joints
    label = _marker("label", hand.track_id, header, Marker.TEXT_VIEW_FACING, LABEL_HEIGHT_M, _TEXT)
    label.text = _label_text(hand)
    label.pose.position = _points(_label_position(hand))[0]
    markers = [mesh, skeleton, spheres, label]
    for marker in markers:
        marker.lifetime = lifetime
    return markers


def _label_text(hand: Hand) -> str:
    return f"{hand.side.name.lower()} {hand.track_id} ({hand.score:.2f})"


def _label_position(hand: Hand) -> np.ndarray:
    """``(1, 3)`` metres, above the knuckles."""
    return hand.joints_m[MIDDLE_MCP : MIDDLE_MCP + 1] - np.array((0, LABEL_ABOVE_M, 0), np.float32)


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
