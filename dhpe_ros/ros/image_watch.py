"""Looks after the incoming images: that they come, and that their stamps make sense."""

from __future__ import annotations

import time

from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

from dhpe_ros.config import NodeConfig
from dhpe_ros.ros.diagnostics import Statistics
from dhpe_ros.ros.qos import type_name
from dhpe_ros.ros.troubles import Troubles
from dhpe_ros.tracking import BACK_S

# What the parameter image_transport makes the node listen to.
_TRANSPORTS = {
    "sensor_msgs/msg/Image": ("raw", "image"),
    "sensor_msgs/msg/CompressedImage": ("compressed", "image/compressed"),
}
_BACK_LASTS_S = 10.0
CLOCK_APART_S = 60.0  # older than this is no lag: another clock, or a recording


class ImageWatch:
    """Reports silence and odd stamps with the remedy."""

    def __init__(
        self, node: Node, kind: type, topic: str, statistics: Statistics, troubles: Troubles
    ) -> None:
        """``topic`` as it is subscribed to, with messages of class ``kind``."""
        self._node = node
        self._kind = type_name(kind)
        self._name = topic
        self._topic = node.resolve_topic_name(topic)
        self._statistics = statistics
        self._troubles = troubles
        self._ready_at = time.monotonic()
        self._first_at: float | None = None
        self._newest_s: float | None = None

    def image_arrived(self) -> None:
        if self._first_at is None:
            self._first_at = time.monotonic()
        self._troubles.clear("silence", "images arrive")

    def check(self, timeout_s: float, has_camera_info: bool) -> None:
        """To be called regularly: no image, or no camera_info, for ``timeout_s`` seconds."""
        silent_s = self._statistics.seconds_since_image()
        if silent_s is None:
            silent_s = time.monotonic() - self._ready_at
        if silent_s > timeout_s:
            self._troubles.report("silence", self._silence(silent_s))
        if has_camera_info:
            self._troubles.clear("no camera_info", "camera_info arrives")
        elif self._first_at is not None and time.monotonic() - self._first_at > timeout_s:
            self._troubles.report(
                "no camera_info",
                f"no camera_info on {self._node.resolve_topic_name('camera_info')}: a field of "
                "view is assumed and distances are not metric; remap it with camera_info:=<topic>",
                once=True,
            )

    def age_s(self, header: Header) -> float:
        """Seconds from the stamp to now, by the node's clock."""
        now = self._node.get_clock().now()
        return (now - Time.from_msg(header.stamp, clock_type=now.clock_type)).nanoseconds * 1e-9

    def fresh(self, header: Header, config: NodeConfig) -> bool:
        """Whether to process an image of that stamp. What is odd is reported.

        Images without a stamp and from the future are processed: their age means nothing.
        """
        if not header.frame_id and not config.frame_id:
            self._troubles.report(
                "frame_id",
                "images have no frame_id: results have none either, and RViz and TF need one; set "
                "it in the camera driver or by the parameter frame_id",
                once=True,
            )
        else:
            self._troubles.clear("frame_id")
        self._follow_time(stamp_s(header))
        age_s = self.age_s(header)
        message = _oddity(header, age_s, config.max_age)
        if message is None:
            self._troubles.clear("stamp", "the images' stamps are fine again")
            return True
        unknown = stamp_s(header) is None
        self._troubles.report("stamp", message, once=unknown)
        too_old = not unknown and age_s > 0
        self._statistics.counts["images too old"] += too_old
        return not too_old

    def _follow_time(self, time_s: float | None) -> None:
        """Tell when the images' time goes back: the tracker then begins anew."""
        if time_s is None:
            return
        newest_s = time_s if self._newest_s is None else self._newest_s
        back_s = newest_s - time_s
        if back_s > BACK_S:
            self._troubles.report(
                "time",
                f"the images' time went back by {back_s:.1f} s, as when a bag begins again: hands "
                "are forgotten. If not: do two cameras publish on one topic, was a clock set?",
                lasts_s=_BACK_LASTS_S,
            )
            newest_s = time_s
        self._newest_s = max(newest_s, time_s)

    def _silence(self, silent_s: float) -> str:
        said = f"no image on {self._topic} for {silent_s:.0f} s: "
        kinds = [p.topic_type for p in self._node.get_publishers_info_by_topic(self._topic)]
        if self._kind in kinds:
            return said + (
                f"{kinds.count(self._kind)} publisher(s) there, but nothing arrives. Is the camera "
                "running, is the QoS compatible (ros2 topic info -v), do large messages get "
                "through (config/fastdds.xml on both sides)?"
            )
        if kinds:
            return said + (
                f"it is published as {', '.join(sorted(set(kinds)))}, not as {self._kind}. "
                + _transport_remedy(kinds, self._topic)
                + f"Remap with {self._name}:=<topic>"
            )
        others = self._topics_of(self._kind)
        if others:
            seen = f"images are on {', '.join(others)}. "
        else:
            seen = f"there is no topic with {self._kind} at all. "
            for kind in _TRANSPORTS:
                for topic in self._topics_of(kind)[:1]:
                    seen += _transport_remedy([kind], topic)
        return said + f"nobody publishes it; {seen}Remap with {self._name}:=<topic>"

    def _topics_of(self, kind: str) -> list[str]:
        """Topics on which others publish messages of that type."""
        ours = self._node.get_fully_qualified_name() + "/"
        return [
            name
            for name, kinds in self._node.get_topic_names_and_types()
            if kind in kinds and not name.startswith(ours) and self._node.count_publishers(name)
        ]


def _transport_remedy(kinds: list[str], topic: str) -> str:
    """How to listen to ``topic``, if it has images in the other transport; ends with a space."""
    for kind in kinds:
        if kind in _TRANSPORTS:
            transport, name = _TRANSPORTS[kind]
            return (
                f"To take {topic}, set image_transport to {transport} and remap {name}:={topic}. "
            )
    return ""


def stamp_s(header: Header) -> float | None:
    """When the image was taken, in seconds; None where the camera did not say: a zero stamp."""
    return header.stamp.sec + header.stamp.nanosec * 1e-9 or None


def _oddity(header: Header, age_s: float, max_age_s: float) -> str | None:
    if not max_age_s:
        return None
    if stamp_s(header) is None:
        return "images have no stamp: old ones cannot be told; set it in the camera driver"
    if age_s < -max_age_s:
        return (
            f"images come from {-age_s:.1f} s in the future: synchronise the clocks of both "
            "machines; with use_sim_time, is there a /clock?"
        )
    if age_s > CLOCK_APART_S:
        return (
            f"images are {age_s:.0f} s old and not processed (max_age is {max_age_s:g} s). "
            "A bag: play it with --clock and set use_sim_time, or set max_age to 0. "
            "A camera of another machine: synchronise the clocks"
        )
    if age_s > max_age_s:
        return (
            f"an image is {age_s:.1f} s old and not processed (max_age is {max_age_s:g} s): "
            "this computer is too slow for it, camera or network lag, or the clocks of two "
            "machines differ; max_age 0 takes all"
        )
    return None
