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
from dhpe_ros.ros.qos import subscribe, type_name
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
        self._node = node
        self._troubles = troubles
        self._waiting: deque[list[Target]] = deque(maxlen=1)
        kinds = {RegionOfInterest: targets_from_roi, Detection2DArray: targets_from_detections}
        self._kinds: dict[str, tuple[type, Callable[[Any], list[Target]]]] = {
            type_name(kind): (kind, targets_from)
            for kind, targets_from in kinds.items()
            if kind is not None
        }
        self._type = next(iter(self._kinds))
        self._subscription = self._subscribe()

    def take(self) -> list[Target] | None:
        """The boxes that wait, once; None without."""
        try:
            return self._waiting.pop()
        except IndexError:
            return None

    def clear(self) -> None:
        self._waiting.clear()

    def follow_publisher(self) -> None:
        """Take over the type that publishers of the topic have, if it is another one."""
        topic = self._node.resolve_topic_name(TOPIC)
        offered = {info.topic_type for info in self._node.get_publishers_info_by_topic(topic)}
        if not offered or self._type in offered:
            self._troubles.clear("roi type")
            return
        known = [kind for kind in self._kinds if kind in offered]
        if not known:
            self._troubles.report(
                "roi type",
                f"{topic} is published as {', '.join(sorted(offered))}; it must be "
                f"{' or '.join(self._kinds)} (Detection2DArray needs vision_msgs installed here)",
            )
            return
        self._node.destroy_subscription(self._subscription)
        self._type = known[0]
        self._subscription = self._subscribe()

    def _subscribe(self) -> Any:
        kind, targets_from = self._kinds[self._type]
        callback = partial(self._on_message, targets_from)
        return subscribe(self._node, kind, TOPIC, callback, self._troubles)

    def _on_message(self, targets_from: Callable[[Any], list[Target]], message: Any) -> None:
        try:
            targets = targets_from(message)
        except ValueError as error:
            self._troubles.report("roi", f"~/roi is not used: {error}", lasts_s=ONE_MESSAGE_S)
            return
        self._troubles.clear("roi")
        if targets:
            self._waiting.append(targets)
