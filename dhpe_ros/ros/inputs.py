"""The node's inputs beside the images, each message given to the image that it belongs to.

Boxes of another detector come on ``~/roi``, of either type: ``sensor_msgs/RegionOfInterest``, or
``vision_msgs/Detection2DArray`` where that package is installed. A message counts once; afterwards
the boxes follow the meshes again. A ``RegionOfInterest`` has no stamp: it is for the next image, as
is a stamp of zero. A region that is all zero changes nothing; a ``Detection2DArray`` without boxes
says that there is no hand.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, Image, RegionOfInterest
from std_msgs.msg import Header

from dhpe_ros.config import CameraConfig
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.scale import HAND_LENGTHS_M, depth_ratio, hand_length_m
from dhpe_ros.media.camera_messages import (
    camera_from_info,
    describe_reading,
    has_distortion,
    is_rectified,
)
from dhpe_ros.media.image_messages import depth_to_metres, stamp_ns
from dhpe_ros.ros.conversion import (
    Detection2DArray,
    targets_from_detections,
    targets_from_roi,
)
from dhpe_ros.ros.health import ONE_MESSAGE_S, HealthMonitor
from dhpe_ros.ros.qos import Input
from dhpe_ros.tracking.tracker import BACK_S
from dhpe_ros.types import MIDDLE_MCP, Hand, Scale, Target

_KEPT = 10  # messages
_FLOWS_S = 1.0  # depth is not waited for when its last message is older
_WAIT_S = 0.1  # maximum delay of a depth image behind its image


class CameraInput:
    """The newest ``camera_info`` as the camera of the images of ``image_topic``."""

    def __init__(self, node: Node, image_topic: str, health: HealthMonitor) -> None:
        self._health = health
        self._logger = node.get_logger()
        self._image_topic = image_topic
        self._logged = ""  # how images are read, raw or rectified
        self.newest: CameraInfo | None = None
        self.in_use = "assumed"  # for diagnostics
        self.input = Input(node, "camera_info", {CameraInfo: self._on_info}, health)

    def camera(
        self, frame_id: str, width: int, height: int, config: CameraConfig
    ) -> tuple[Camera | None, CameraInfo | None]:
        """The camera of an image, and its message.

        Both are None, with the reason reported, where the camera must be assumed.
        """
        info, self.in_use = self.newest, "assumed"
        if info is None:
            return None, None
        rectified = is_rectified(info, self._image_topic, config.images)
        try:
            camera = camera_from_info(info, width, height, rectified=rectified)
        except ValueError as error:
            assumed = f"{config.field_of_view_deg:g} degrees are assumed, not metric"
            self._health.report("camera_info", f"{error}; until then {assumed}", once=True)
            return None, None
        self.in_use = "rectified" if rectified else f"raw, {camera.lens.model}"
        reading = describe_reading(info, self._image_topic, rectified)
        if has_distortion(info) and reading != self._logged:
            self._logger.info(reading)
            self._logged = reading
        own = info.header.frame_id
        fault = (
            f"camera_info has frame {own!r}, the image {frame_id!r}: is it of another camera? The "
            "image's frame is used"
        )
        note = "camera_info fits the images"
        self._health.update("camera_info", fault if own != frame_id else "", note, once=True)
        return camera, info

    def _on_info(self, message: CameraInfo) -> None:
        self.newest = message


class RoiInput:
    """The subscription of ``~/roi`` with the boxes that wait for their image."""

    def __init__(self, node: Node, health: HealthMonitor) -> None:
        self._health = health
        self._lock = threading.Lock()
        self._waiting: deque[tuple[int | None, list[Target]]] = deque(maxlen=_KEPT)
        callbacks = {RegionOfInterest: partial(self._on_message, targets_from_roi)}
        remedy = "for Detection2DArray, install vision_msgs where this node runs"
        if Detection2DArray is not None:
            callbacks[Detection2DArray] = partial(self._on_message, targets_from_detections)
            remedy = ""
        self.input = Input(node, "~/roi", callbacks, health, remedy)
        self._topic = self.input.topic

    def take(
        self, header: Header, width: int, height: int, max_age_s: float
    ) -> list[Target] | None:
        """Take the newest boxes for the image with that header; None where there are none.

        They carry its stamp, or came late for an image at most ``max_age_s`` before it. Boxes of a
        later image keep waiting. Boxes that do not fit are reported.
        """
        with self._lock:
            ages_s = [-_later_ns(stamp, header.stamp) * 1e-9 for stamp, _ in self._waiting]
            newest = max((k for k, age_s in enumerate(ages_s) if age_s >= 0), default=None)
            if newest is not None:
                _, targets = self._waiting[newest]
                for _ in range(newest + 1):
                    self._waiting.popleft()
        if newest is None:
            if len(ages_s) == _KEPT:
                self._report_time(
                    f"their stamps are {-ages_s[-1]:.1f} s ahead of the images'; give them that of "
                    "the image they were found in"
                )
            return None
        if ages_s[newest] > max_age_s:
            self._report_time(
                f"they came {ages_s[newest]:.2f} s after their image, and roi_max_age is "
                f"{max_age_s:g} s; raise it"
            )
            return None
        if not all(target.box.touches(width, height) for target in targets):
            self._health.report(
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
            self._health.report("roi", f"~/roi is not used: {error}", lasts_s=ONE_MESSAGE_S)
            return
        header = getattr(message, "header", None)  # a RegionOfInterest has none
        if header is None and not targets:
            return
        with self._lock:
            self._waiting.append((None if header is None else stamp_ns(header.stamp), targets))

    def _report_time(self, reason: str) -> None:
        self._health.report(
            "roi time",
            f"boxes of {self._topic} are not used: {reason}, or leave their stamp zero: then they "
            "are for the next image",
            lasts_s=ONE_MESSAGE_S,
        )


class DepthInput:
    """The subscription of ``depth`` with its latest messages."""

    def __init__(self, node: Node, health: HealthMonitor) -> None:
        self._health = health
        self._arrived = threading.Condition()
        self._messages: deque[Image] = deque(maxlen=_KEPT)
        self._last_s = -_FLOWS_S
        self._previous_ns = 0  # stamp of the image before
        self.input = Input(node, "depth", {Image: self._on_depth}, health)
        self._topic = self.input.topic

    def at(self, header: Header, width: int, height: int, tolerance_s: float) -> np.ndarray | None:
        """``(H, W)`` metres for the image with that header, NaN where unknown; None without depth.

        Waits a moment for the message where depth images arrive at all. Of those equally near in
        time the newest counts; without stamps, the newest of all. What does not fit is reported.
        """
        message = self._nearest(header.stamp, tolerance_s)
        if message is None:
            return None
        stamped = stamp_ns(header.stamp) and stamp_ns(message.header.stamp)
        fault = (
            f"the images or those of {self._topic} have no stamp: the newest depth image is used, "
            "whenever it was taken; set the stamps in the camera's driver"
        )
        self._health.update("depth stamp", "" if stamped else fault, once=True)
        try:
            depth_m = depth_to_metres(message)
            if depth_m.shape != (height, width):
                raise ValueError(
                    f"it has {message.width}x{message.height} pixels, the image {width}x{height}; "
                    "take the camera's aligned depth topic, or register it with depth_image_proc"
                )
        except ValueError as error:
            self._report(f"{self._topic} is not used: {error}")
            return None
        if message.header.frame_id == header.frame_id:
            self._health.clear("depth", "depth images fit the images")
        else:
            self._report(
                f"{self._topic} has frame {message.header.frame_id!r}, the image "
                f"{header.frame_id!r}: is it registered to the image? It is used as if it were"
            )
        return depth_m

    def check(self, hands: Sequence[Hand], depth_m: np.ndarray | None) -> None:
        """Report depth at which a hand would be longer or shorter than people's hands are."""
        if depth_m is None:
            return
        for hand in hands:
            ratio = None if hand.scale is Scale.DEPTH else depth_ratio(hand, depth_m)
            if ratio is not None:
                shortest, longest = (100 * length_m for length_m in HAND_LENGTHS_M)
                self._health.report(
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
        """The message within the tolerance, waited for up to ``_WAIT_S``; None if none comes."""
        wanted_ns = stamp_ns(stamp) or 0
        went_back = wanted_ns < self._previous_ns - BACK_S * 1e9  # the messages are of before
        self._previous_ns = wanted_ns
        deadline_s = time.monotonic() + _WAIT_S
        with self._arrived:
            while True:
                now_s = time.monotonic()
                if now_s - self._last_s >= _FLOWS_S:
                    return None
                later_ns = [_later_ns(stamp_ns(m.header.stamp), stamp) for m in self._messages]
                away_ns = np.abs(later_ns)[::-1]  # the newest first
                if away_ns.min() <= tolerance_s * 1e9:
                    return self._messages[-1 - int(away_ns.argmin())]
                if now_s >= deadline_s or later_ns[-1] > 0:  # no earlier one follows a later one
                    break
                self._arrived.wait(deadline_s - now_s)
        if not went_back:
            self._report(
                f"no image of {self._topic} is of the same time as the image: the nearest is "
                f"{away_ns.min() * 1e-9:.3f} s away, depth_tolerance is {tolerance_s:g} s"
            )
        return None

    def _report(self, message: str) -> None:
        self._health.report("depth", message, lasts_s=ONE_MESSAGE_S)


def _later_ns(own_ns: int | None, image_stamp: Time) -> int:
    """Nanoseconds by which a message is later than the image; 0 where either has no stamp."""
    image_ns = stamp_ns(image_stamp)
    return own_ns - image_ns if own_ns and image_ns else 0
