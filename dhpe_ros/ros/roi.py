"""``~/roi``: boxes from someone else's detector, each message for the image of its stamp.

The topic takes either type, whichever its publisher has: ``sensor_msgs/RegionOfInterest`` always,
``vision_msgs/Detection2DArray`` where that package is installed. A message counts once; afterwards
the boxes follow the meshes again until another message comes. A ``RegionOfInterest``, which has no
stamp, and a stamp of zero are for the next image. A region that is all zero changes nothing, while
a ``Detection2DArray`` without boxes says that there is no hand.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import RegionOfInterest
from std_msgs.msg import Header

from dhpe_ros.media.stamps import stamp_ns
from dhpe_ros.ros.message_conversion import targets_from_detections, targets_from_roi
from dhpe_ros.ros.qos import Input
from dhpe_ros.ros.troubles import ONE_MESSAGE_S, Troubles
from dhpe_ros.types import Target

try:
    from vision_msgs.msg import Detection2DArray
except ImportError:
    Detection2DArray = None

TOPIC = "~/roi"
_KEPT = 10  # messages


class RoiInput:
    """The subscription of ``~/roi`` and the boxes that wait for their image."""

    def __init__(self, node: Node, troubles: Troubles) -> None:
        self._troubles = troubles
        self._topic = node.resolve_topic_name(TOPIC)
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int | None, list[Target]]] = deque(maxlen=_KEPT)
        callbacks = {RegionOfInterest: partial(self._on_message, targets_from_roi)}
        if Detection2DArray is not None:
            callbacks[Detection2DArray] = partial(self._on_message, targets_from_detections)
        remedy = "for Detection2DArray, install vision_msgs where this node runs"
        Input(node, TOPIC, callbacks, troubles, "" if Detection2DArray is not None else remedy)

    def take(
        self, header: Header, width: int, height: int, max_age_s: float
    ) -> list[Target] | None:
        """The newest boxes for the image with that header, once; None where nobody says anything.

        They are of its stamp, or came too late for an image at most ``max_age_s`` before it. Those
        of a later image go on waiting. What does not fit is reported.
        """
        with self._lock:
            ages_s = [_age_s(stamp, header) for stamp, _ in self._waiting]
            due = [k for k, age_s in enumerate(ages_s) if age_s >= 0]
            if not due:
                if len(ages_s) == _KEPT:
                    self._report(
                        f"their stamps are {-ages_s[-1]:.1f} s ahead of the images'; give them "
                        "that of the image they were found in"
                    )
                return None
            newest = due[-1]
            _, targets = self._waiting[newest]
            for _ in range(newest + 1):
                self._waiting.popleft()
        if ages_s[newest] > max_age_s:
            self._report(
                f"they came {ages_s[newest]:.2f} s after their image, and roi_max_age is "
                f"{max_age_s:g} s; raise it"
            )
            return None
        if not all(target.box.touches(width, height) for target in targets):
            self._troubles.report(
                "roi",
                f"boxes of {self._topic} lie outside the image of {width}x{height} pixels: give "
                "them in pixels of the image that this node gets",
                lasts_s=ONE_MESSAGE_S,
            )
        return targets

    def clear(self) -> None:
        with self._lock:
            self._waiting.clear()

    def _on_message(self, targets_from: Callable[[Any], list[Target]], message: Any) -> None:
        try:
            targets = targets_from(message)
        except ValueError as error:
            self._troubles.report("roi", f"~/roi is not used: {error}", lasts_s=ONE_MESSAGE_S)
            return
        header = getattr(message, "header", None)  # a RegionOfInterest has none
        if header is None and not targets:
            return
        with self._lock:
            self._waiting.append((None if header is None else stamp_ns(header.stamp), targets))

    def _report(self, why: str) -> None:
        self._troubles.report(
            "roi time",
            f"boxes of {self._topic} are not used: {why}, or leave their stamp zero: then they are "
            "for the next image",
            lasts_s=ONE_MESSAGE_S,
        )


def _age_s(boxes_ns: int | None, image: Header) -> float:
    """How much earlier the boxes are than the image; 0 where nobody knows, for want of a stamp."""
    image_ns = stamp_ns(image.stamp)
    return (image_ns - boxes_ns) * 1e-9 if boxes_ns and image_ns else 0.0
