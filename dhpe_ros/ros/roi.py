"""``~/roi``: boxes from someone else's detector.

The topic takes either type, whichever its publisher has: ``sensor_msgs/RegionOfInterest`` always,
``vision_msgs/Detection2DArray`` where that package is installed. A message counts once, for the
next image; afterwards the boxes follow the meshes again until another message comes. One without a
box, as a region that is all zero, changes nothing.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import RegionOfInterest

from dhpe_ros.ros.message_conversion import targets_from_detections, targets_from_roi
from dhpe_ros.ros.qos import Input
from dhpe_ros.ros.troubles import ONE_MESSAGE_S, Troubles
from dhpe_ros.types import Target

try:
    from vision_msgs.msg import Detection2DArray
except ImportError:
    Detection2DArray = None

TOPIC = "~/roi"


class RoiInput:
    """The subscription of ``~/roi`` and the boxes that wait for the next image."""

    def __init__(self, node: Node, troubles: Troubles) -> None:
        self._troubles = troubles
        self._waiting: deque[list[Target]] = deque(maxlen=1)
        callbacks = {RegionOfInterest: partial(self._on_message, targets_from_roi)}
        if Detection2DArray is not None:
            callbacks[Detection2DArray] = partial(self._on_message, targets_from_detections)
        remedy = "for Detection2DArray, install vision_msgs where this node runs"
        Input(node, TOPIC, callbacks, troubles, "" if Detection2DArray is not None else remedy)

    def take(self) -> list[Target] | None:
        """The boxes that wait, once; None without."""
        try:
            return self._waiting.pop()
        except IndexError:
            return None

    def clear(self) -> None:
        self._waiting.clear()

    def _on_message(self, targets_from: Callable[[Any], list[Target]], message: Any) -> None:
        try:
            targets = targets_from(message)
        except ValueError as error:
            self._troubles.report("roi", f"~/roi is not used: {error}", lasts_s=ONE_MESSAGE_S)
            return
        self._troubles.clear("roi")
        if targets:
            self._waiting.append(targets)
