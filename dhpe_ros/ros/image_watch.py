"""Watch over the incoming images: silence, low rates, implausible stamps."""

from __future__ import annotations

import math

from rclpy.node import Node
from rclpy.time import Time
from std_msgs.msg import Header

from dhpe_ros.config import NodeConfig
from dhpe_ros.ros.health import RATE_WINDOW_S, HealthMonitor, Level, Statistics
from dhpe_ros.ros.qos import Input
from dhpe_ros.tracking.tracker import BACK_S

# Message type -> value of the parameter image_transport, and the topic it subscribes to.
_TRANSPORTS = {
    "sensor_msgs/msg/Image": ("raw", "image"),
    "sensor_msgs/msg/CompressedImage": ("compressed", "image/compressed"),
}
# Faults of images, of which nothing is known when none are taken.
_OF_IMAGES = (
    "silence", "image", "stamp", "frame_id", "camera_info", "no camera_info", "depth stamp", "box",
    "failure", "drawing",
)  # fmt: skip
_BACK_LASTS_S = 10.0
_RATE_LASTS_S = 2.0  # rates are checked every second
_RATE_REMEDIES = {
    "images": "set the rate of the camera (in the dark a long exposure lowers it)",
    "results": "where images come often enough, lower refinement.steps or tracking.max_hands, or "
    "set refinement.mask_weight to 0.0",
}
_SAME_WORLD = (
    ", and see that ROS_DOMAIN_ID, RMW_IMPLEMENTATION and ROS_AUTOMATIC_DISCOVERY_RANGE are the "
    "same for it and for this node"
)
CLOCK_APART_S = 60.0  # an age above this is no lag: another clock, or a recording


class ImageWatch:
    """Reports silence, low rates and implausible stamps with the remedy."""

    def __init__(
        self, node: Node, images: Input, infos: Input, statistics: Statistics, health: HealthMonitor
    ) -> None:
        self._node = node
        self._images = images
        self._infos = infos
        self._statistics = statistics
        self._health = health
        self.restart()

    def restart(self) -> None:
        """Forget the images so far: from now on they are waited for, or not wanted."""
        # The start, the first image, the first subscriber of the results.
        self._since = {"start": self._statistics.clock()}
        self._newest_s = -math.inf
        self._health.forget(_OF_IMAGES)

    def image_arrived(self) -> None:
        self._since.setdefault("images", self._statistics.clock())
        self._health.clear("silence", "images arrive")

    def check(self, config: NodeConfig, wanted: bool) -> None:
        """Report what is wrong now; call it every second. ``wanted``: results have subscribers."""
        now = self._statistics.clock()
        silent_s = min(self._statistics.seconds_since_image(), now - self._since["start"])
        if silent_s > config.image_timeout:
            message = f"no image on {self._images.topic} for {silent_s:.0f} s: {self._no_image()}"
            self._health.report("silence", message, Level.ERROR)
        if self._infos.received:
            self._health.clear("no camera_info", "camera_info arrives")
        elif now - self._since.get("images", now) > config.image_timeout:
            message = (
                f"no camera_info on {self._infos.topic}: a field of view is assumed and distances "
                f"are not metric: {self._no_camera_info()}"
            )
            self._health.report("no camera_info", message, once=True)
        if wanted:
            self._since.setdefault("results", now)
        else:
            self._since.pop("results", None)
        if silent_s > config.image_timeout:
            return
        rates = {
            "images": self._statistics.image_rate_hz(),
            "results": self._statistics.result_rate_hz(),
        }
        for what, rate_hz in rates.items():
            measured_s = now - self._since.get(what, now)
            if rate_hz < config.expected_rate and measured_s > RATE_WINDOW_S:
                self._health.report(
                    f"rate of {what}",
                    f"{what} come at {rate_hz:.1f} Hz, expected_rate is {config.expected_rate:g}: "
                    f"{_RATE_REMEDIES[what]}, or lower expected_rate",
                    lasts_s=_RATE_LASTS_S,
                )

    def age_s(self, header: Header) -> float:
        """Seconds from the stamp to now, by the node's clock."""
        now = self._node.get_clock().now()
        return (now - Time.from_msg(header.stamp, clock_type=now.clock_type)).nanoseconds * 1e-9

    def fresh(self, header: Header, config: NodeConfig) -> bool:
        """True where an image of that stamp is to be processed; an implausible one is reported.

        Images without a stamp or from the future are processed: their age means nothing.
        """
        fault = (
            "images have no frame_id: results have none either, and RViz and TF need one; set it "
            "in the camera driver or by the parameter frame_id"
        )
        framed = header.frame_id or config.frame_id
        self._health.update("frame_id", "" if framed else fault, once=True)
        time_s, age_s = stamp_s(header), self.age_s(header)
        if time_s is not None:
            self._follow_time(time_s)
        fault = _stamp_fault(time_s, age_s, config.max_age)
        too_old = bool(fault) and time_s is not None and age_s > 0
        level = Level.ERROR if too_old else Level.WARN
        note = "the images' stamps are plausible again"
        self._health.update("stamp", fault, note, level, once=time_s is None)
        self._statistics.counts["images too old"] += too_old
        return not too_old

    def _follow_time(self, time_s: float) -> None:
        """Report where the images' time goes back: the tracker then ends all tracks."""
        back_s = self._newest_s - time_s
        if back_s > BACK_S:
            self._health.report(
                "time",
                f"the images' time went back by {back_s:.1f} s, as when a bag is played again: all "
                "tracks end. Otherwise: do two cameras publish on one topic, was a clock set?",
                lasts_s=_BACK_LASTS_S,
            )
        if back_s > BACK_S or back_s < 0:
            self._newest_s = time_s

    def _no_image(self) -> str:
        """Likely cause from the ROS graph, with the remedy."""
        kind, topic = self._images.type, self._images.topic
        if self._images.publishers and self._images.lost_in_a_row:
            return "they are lost on the way"  # reported with the remedy by Input
        if self._images.publishers:
            return (
                f"it has {self._images.publishers} publisher(s), but nothing arrives: is the "
                f"camera running (ros2 topic hz {topic})? If it is on another machine, do "
                "firewalls let UDP through?"
            )
        others = self._topics_of(kind)
        if others:
            return (
                f"nobody publishes it as {kind}; such images are on {', '.join(others)}: remap "
                f"{self._images.name}:=<topic>"
            )
        for other, (transport, name) in _TRANSPORTS.items():
            for found in self._topics_of(other)[:1]:
                return (
                    f"nobody publishes {kind}: to take {found}, set image_transport to {transport} "
                    f"at the start and remap {name}:={found}"
                )
        return f"nobody publishes {kind} at all: start the camera{_SAME_WORLD}"

    def _no_camera_info(self) -> str:
        """Likely cause from the ROS graph, with the remedy."""
        if self._infos.publishers:
            return (
                f"it has {self._infos.publishers} publisher(s), but nothing arrives: let the "
                "camera driver publish it with every image, or latched"
            )
        others = self._topics_of(self._infos.type)
        if others:
            return f"it is on {', '.join(others)}: remap {self._infos.name}:=<topic>"
        return "nobody publishes one: calibrate the camera and let its driver publish the result"

    def _topics_of(self, kind: str) -> list[str]:
        """Topics on which others publish messages of that type."""
        ours = self._node.get_fully_qualified_name() + "/"
        # The types of a topic include those of its subscribers, as this node is one.
        return [
            name
            for name, kinds in self._node.get_topic_names_and_types()
            if kind in kinds and not name.startswith(ours)
            if any(p.topic_type == kind for p in self._node.get_publishers_info_by_topic(name))
        ]


def stamp_s(header: Header) -> float | None:
    """Seconds of an image's stamp; None for zero, which means not set."""
    return header.stamp.sec + header.stamp.nanosec * 1e-9 or None


def _stamp_fault(time_s: float | None, age_s: float, max_age_s: float) -> str:
    if not max_age_s:
        return ""
    if time_s is None:
        return "images have no stamp: their age is unknown; set it in the camera driver"
    if age_s < -max_age_s:
        return (
            f"images come from {-age_s:.1f} s in the future: synchronise the clocks of both "
            "machines; with use_sim_time, is there a /clock?"
        )
    if age_s > CLOCK_APART_S:
        return (
            f"images are {age_s:.0f} s old and not processed (max_age is {max_age_s:g} s). "
            "A bag or a simulator: play it with --clock and set use_sim_time, or set max_age to 0. "
            "A camera of another machine: synchronise the clocks"
        )
    if age_s > max_age_s:
        return (
            f"an image is {age_s:.1f} s old and not processed (max_age is {max_age_s:g} s): "
            "this computer is too slow (lower refinement.steps), camera or network lag, or the "
            "clocks of two machines differ (synchronise them); max_age 0 takes all"
        )
    return ""
