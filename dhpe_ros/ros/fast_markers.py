"""MarkerArrays as bytes: what changes from frame to frame is written into the last message.

The 4,614 points of a mesh, as objects, would be the dearest thing that the node publishes.
"""

from __future__ import annotations

import struct
import sys

import numpy as np
from rclpy.serialization import serialize_message
from std_msgs.msg import Header
from visualization_msgs.msg import MarkerArray

from dhpe_ros.ros.markers import MarkerBuilder, label_position, label_text
from dhpe_ros.types import BONES, Hand

_STAMP = struct.Struct("=iI")
_ENCAPSULATION = bytes((0, sys.byteorder == "little"))  # of CDR in this machine's byte order
_ENDS = np.array(BONES).ravel()


class FastMarkers:
    """As ``MarkerBuilder``; while the same hands stay, messages come serialised.

    Where a message does not lie in memory as expected it is built of objects, as the others are.
    """

    def __init__(self) -> None:
        self._builder = MarkerBuilder()
        self._key: tuple = ()
        self._message: _SerializedMarkers | None = None

    @property
    def shows_any(self) -> bool:
        return self._builder.shows_any

    def update(self, hands: list[Hand], header: Header, lifetime_s: float) -> MarkerArray | bytes:
        """What to publish for these hands; ``rclpy`` takes either."""
        labels = [(hand.track_id, hand.side, len(label_text(hand))) for hand in hands]
        key = (header.frame_id, lifetime_s, *labels)
        if self._message is not None and key == self._key:
            return self._message.filled(hands, header)
        message = self._builder.update(hands, header, lifetime_s)
        if hands and key == self._key:  # the second of its kind: nothing is deleted any more
            self._message = _SerializedMarkers.find(message, hands, header)
        else:
            self._message = None
        self._key = key
        return message


class _SerializedMarkers:
    """A serialised MarkerArray, and where in it the things are that change."""

    def __init__(self, data: bytearray, stamps: list[int], hands: list[list[int]]) -> None:
        self._data = data
        self._stamps = stamps
        self._hands = hands  # for each hand, where each of its ``_parts`` begins

    @staticmethod
    def find(message: MarkerArray, hands: list[Hand], header: Header) -> _SerializedMarkers | None:
        """The places are found by what stands there; None where that is not unambiguous."""
        data = bytearray(serialize_message(message))
        frame = header.frame_id.encode() + b"\0"
        stamp = _stamp(header) + struct.pack("=I", len(frame)) + frame
        stamps = _all_places(data, stamp)
        places = [[_all_places(data, part) for part in _parts(hand)] for hand in hands]
        alone = all(len(found) == 1 for parts in places for found in parts)
        if data[:2] != _ENCAPSULATION or len(stamps) != len(message.markers) or not alone:
            return None
        return _SerializedMarkers(data, stamps, [[f[0] for f in parts] for parts in places])

    def filled(self, hands: list[Hand], header: Header) -> bytes:
        """The message for the same hands as they are now."""
        stamp = _stamp(header)
        for place in self._stamps:
            self._data[place : place + len(stamp)] = stamp
        for hand, places in zip(hands, self._hands, strict=True):
            for part, place in zip(_parts(hand), places, strict=True):
                self._data[place : place + len(part)] = part
        return bytes(self._data)


def _parts(hand: Hand) -> list[bytes]:
    """What of a hand's markers changes, as CDR has it: points of float64, the label's text."""
    corners = hand.vertices_m[hand.triangles.ravel()]
    points = (corners, hand.joints_m[_ENDS], hand.joints_m, label_position(hand))
    text = label_text(hand).encode() + b"\0"
    return [*(p.astype(np.float64).tobytes() for p in points), text]


def _stamp(header: Header) -> bytes:
    return _STAMP.pack(header.stamp.sec, header.stamp.nanosec)


def _all_places(data: bytearray, part: bytes) -> list[int]:
    places, place = [], data.find(part)
    while place >= 0:
        places.append(place)
        place = data.find(part, place + len(part))
    return places
