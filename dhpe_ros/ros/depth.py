"""``depth``: registered depth images, each given to the image of the same time."""

from __future__ import annotations

import threading
import time
from collections import deque

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import Image
from std_msgs.msg import Header

from dhpe_ros.media.depth_messages import depth_to_metres
from dhpe_ros.ros.qos import Input
from dhpe_ros.ros.troubles import ONE_MESSAGE_S, Troubles

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
        Input(node, TOPIC, {Image: self._on_depth}, troubles)

    def at(self, header: Header, width: int, height: int, tolerance_s: float) -> np.ndarray | None:
        """``(H, W)`` metres for the image with that header, NaN where unknown, if there are any.

        Waits a moment for them where depth images come at all. What does not fit is reported.
        """
        message = self._nearest(header.stamp, tolerance_s)
        if message is None:
            return None
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

    def _on_depth(self, message: Image) -> None:
        with self._arrived:
            self._messages.append(message)
            self._last_s = time.monotonic()
            self._arrived.notify()

    def _nearest(self, stamp: Time, tolerance_s: float) -> Image | None:
        """The message of that time, if one comes."""
        wanted = _nanoseconds(stamp)
        deadline_s = time.monotonic() + _WAIT_S
        with self._arrived:
            while True:
                now_s = time.monotonic()
                if now_s - self._last_s >= _FLOWS_S:
                    return None
                later = [_nanoseconds(m.header.stamp) - wanted for m in self._messages]
                away = np.abs(later)
                if away.min() <= tolerance_s * 1e9:
                    return self._messages[away.argmin()]
                if now_s >= deadline_s or later[-1] > 0:  # after a later one it comes no more
                    break
                self._arrived.wait(deadline_s - now_s)
        self._report(
            f"no image of {self._topic} is of the same time as the image: the nearest is "
            f"{away.min() * 1e-9:.3f} s away, depth_tolerance is {tolerance_s:g} s"
        )
        return None

    def _report(self, message: str) -> None:
        self._troubles.report("depth", message, lasts_s=ONE_MESSAGE_S)


def _nanoseconds(stamp: Time) -> int:
    return stamp.sec * 10**9 + stamp.nanosec
