"""``depth``: registered depth images, each given to the image of the same time."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dhpe_ros.geometry.scale import HAND_LENGTHS_M, depth_ratio, hand_length_m
from dhpe_ros.media.depth_messages import depth_to_metres
from dhpe_ros.media.stamps import stamp_ns
from dhpe_ros.ros.qos import Input
from dhpe_ros.ros.troubles import ONE_MESSAGE_S, Troubles
from dhpe_ros.tracking.tracker import BACK_S
from dhpe_ros.types import MIDDLE_MCP, Hand, Scale

TOPIC = "depth"
_KEPT = 10  # messages
_FLOWS_S = 1.0  # without a message for so long, there is no depth to wait for
_WAIT_S = 0.1  # that a depth image may come after its image


class DepthInput:
    """The subscription of ``depth`` and the last messages of it."""

    def __init__(self, node: Node, troubles: Troubles) -> None:
        self._troubles = troubles
        self._topic = node.resolve_topic_name(TOPIC)
        self._arrived = threading.Condition()
        self._messages: deque[Image] = deque(maxlen=_KEPT)
        self._last_s = -_FLOWS_S
        self._wanted_ns = 0  # by the image before
        Input(node, TOPIC, {Image: self._on_depth}, troubles)

    def at(self, header: Header, width: int, height: int, tolerance_s: float) -> np.ndarray | None:
        """``(H, W)`` metres for the image with that header, NaN where unknown, if there are any.

        Waits a moment for them where depth images come at all. Of those equally near in time the
        newest counts, and where images or depth images have no stamp it is the newest of all. What
        does not fit is reported.
        """
        message = self._nearest(header.stamp, tolerance_s)
        if message is None:
            return None
        if stamp_ns(header.stamp) and stamp_ns(message.header.stamp):
            self._troubles.clear("depth stamp")
        else:
            self._troubles.report(
                "depth stamp",
                f"the images or those of {self._topic} have no stamp: the newest depth image is "
                "used, whenever it was taken; set the stamps in the camera's driver",
                once=True,
            )
        try:
            depth_m = depth_to_metres(message)
        except ValueError as error:
            self._report(f"{self._topic} is not used: {error}")
            return None
        if depth_m.shape != (height, width):
            self._report(
                f"{self._topic} has {message.width}x{message.height} pixels, the image "
                f"{width}x{height}: it must be registered to the image; take the camera's aligned "
                "depth topic, or register it with depth_image_proc"
            )
            return None
        if message.header.frame_id != header.frame_id:
            self._report(
                f"{self._topic} has frame {message.header.frame_id!r}, the image "
                f"{header.frame_id!r}: is it registered to the image? It is used as if it were"
            )
        else:
            self._troubles.clear("depth", "depth images fit the images")
        return depth_m

    def check(self, hands: Sequence[Hand], depth_m: np.ndarray | None) -> None:
        """Report a depth image that makes a hand longer or shorter than people's are."""
        if depth_m is None:
            return
        for hand in hands:
            ratio = None if hand.scale is Scale.DEPTH else depth_ratio(hand, depth_m)
            if ratio is not None:
                shortest, longest = (100 * length_m for length_m in HAND_LENGTHS_M)
                self._troubles.report(
                    "depth of a hand",
                    f"{self._topic} is not used for hand {hand.track_id}: at "
                    f"{ratio * hand.joints_m[MIDDLE_MCP, 2]:.2f} m the hand would be "
                    f"{100 * ratio * hand_length_m(hand.joints_m):.1f} cm long, and people's are "
                    f"{shortest:.0f} to {longest:.0f}. Is it in millimetres (16UC1; set the "
                    "driver's depth unit to 0.001 m) or metres (32FC1), registered to the image, "
                    "and camera_info that of the image?",
                    lasts_s=ONE_MESSAGE_S,
                )

    def _on_depth(self, message: Image) -> None:
        with self._arrived:
            self._messages.append(message)
            self._last_s = time.monotonic()
            self._arrived.notify()

    def _nearest(self, stamp: Time, tolerance_s: float) -> Image | None:
        """The message of that time, if one comes."""
        wanted_ns = stamp_ns(stamp) or 0
        anew = wanted_ns < self._wanted_ns - BACK_S * 1e9  # what is there is of the time before
        self._wanted_ns = wanted_ns
        deadline_s = time.monotonic() + _WAIT_S
        with self._arrived:
            while True:
                now_s = time.monotonic()
                if now_s - self._last_s >= _FLOWS_S:
                    return None
                later_ns = [_later_ns(message, wanted_ns) for message in self._messages]
                away_ns = np.abs(later_ns)[::-1]  # the newest first
                if away_ns.min() <= tolerance_s * 1e9:
                    return self._messages[-1 - int(away_ns.argmin())]
                if now_s >= deadline_s or later_ns[-1] > 0:  # after a later one it comes no more
                    break
                self._arrived.wait(deadline_s - now_s)
        if anew:
            return None
        self._report(
            f"no image of {self._topic} is of the same time as the image: the nearest is "
            f"{away_ns.min() * 1e-9:.3f} s away, depth_tolerance is {tolerance_s:g} s"
        )
        return None

    def _report(self, message: str) -> None:
        self._troubles.report("depth", message, lasts_s=ONE_MESSAGE_S)


def _later_ns(message: Image, wanted_ns: int) -> int:
    """By how much it is later; 0 where nobody knows, for want of a stamp."""
    own_ns = stamp_ns(message.header.stamp)
    return own_ns - wanted_ns if own_ns and wanted_ns else 0
