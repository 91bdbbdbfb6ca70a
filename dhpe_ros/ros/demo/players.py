"""Players of clips: the node ``camera`` in a loop, the demo's with the hand node's answers.

The node is started by ``ros2 run dhpe_ros play_clip`` or ``launch/demo.launch.py``.
"""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import Any

import rclpy
from rclpy.node import Node
from rclpy.publisher import Publisher
from rclpy.qos import QoSProfile, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media import Frame, Media, open_media
from dhpe_ros.media.image_messages import fill_image
from dhpe_ros.ros.conversion import HandArray, HandMeshArray, info_of_camera
from dhpe_ros.ros.demo.report import Answer, Truth
from dhpe_ros.ros.node_configs import PlayerConfig
from dhpe_ros.ros.parameters import declare_parameters
from dhpe_ros.ros.running import forward_logs, run

_RATE_HZ = 15.0  # of inputs without a rate
IMAGE_TOPIC = "/camera/image_raw"
CAMERA_INFO_TOPIC = "/camera/camera_info"
FRAME_ID = "camera_optical_frame"
TOPICS = {"hands": HandArray, "meshes": HandMeshArray, "mask": Image, "overlay": Image}


class ClipPlayer(Node):
    """Publishes ``image_raw``, and ``camera_info`` where the camera is known, stamped now.

    Raises ``ValueError`` or ``OSError`` where the input cannot be read.
    """

    def __init__(self) -> None:
        super().__init__("camera")
        forward_logs(self.get_logger())
        self._config = declare_parameters(self, PlayerConfig()).clip
        self._media = open_media(self._config.input or DEMO_CLIP)
        given = Camera.parse(self._config.intrinsics) if self._config.intrinsics else None
        self._frames = chain.from_iterable(camera_frames(self._media, given) for _ in count())
        self._images = self.create_publisher(Image, "image_raw", qos_profile_sensor_data)
        self._infos = self.create_publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
        rate_hz = self._config.rate or self._media.rate_hz or _RATE_HZ
        self.create_timer(1 / rate_hz, self._next)
        topic = self.resolve_topic_name("image_raw")
        self.get_logger().info(f"playing {self._media.name} at {rate_hz:g} Hz on {topic}")

    def _next(self) -> None:
        try:
            frame = next(self._frames)
        except (ValueError, OSError) as error:
            self.get_logger().fatal(f"cannot play on: {error}")
            raise SystemExit(1) from error
        stamp = self.get_clock().now().to_msg()
        header = Header(stamp=stamp, frame_id=self._config.frame_id)
        publish_frame(frame, header, self._images, self._infos)


def camera_frames(media: Media, intrinsics: Camera | None) -> Iterator[Frame]:
    """Frames of ``media`` with the camera given, else that of the ground truth, else their own."""
    truth = Truth.beside(Path(media.name))
    for frame in media.frames():
        height, width = frame.image.shape[:2]
        own = truth.camera if truth else frame.camera
        yield replace(frame, camera=intrinsics.for_image(width, height) if intrinsics else own)


def publish_frame(frame: Frame, header: Header, images: Publisher, infos: Publisher) -> None:
    """Publish a frame as an image, and its camera, if known, as a camera_info."""
    if frame.camera is not None:
        infos.publish(info_of_camera(frame.camera, header))
    images.publish(fill_image(Image(header=header), frame.image, "rgb8"))


class NodeError(ValueError):
    """The hand node ended, or does not answer."""


class DemoPlayer:
    """Sends frames and receives the results, as one ROS node; use it in ``with``.

    ``check`` is called all the time that is waited; what it raises ends the waiting.
    """

    def __init__(self, check: Callable[[], None] = lambda: None) -> None:
        self._check = check
        self._waiting: dict[tuple[int, int], Answer] = {}
        self._complete: deque[Answer] = deque()
        # The demo itself handles Ctrl-C; ROS's handler would end the context before the demo ends.
        rclpy.init(signal_handler_options=rclpy.SignalHandlerOptions.NO)
        self._node = node = rclpy.create_node("hand_demo")
        self._images = node.create_publisher(Image, IMAGE_TOPIC, qos_profile_sensor_data)
        self._infos = node.create_publisher(CameraInfo, CAMERA_INFO_TOPIC, qos_profile_sensor_data)
        for name, kind in TOPICS.items():
            callback = partial(self._on_message, name)  # reliable and deep: it misses no message
            node.create_subscription(kind, f"/hand/{name}", callback, QoSProfile(depth=50))

    def __enter__(self) -> DemoPlayer:
        return self

    def __exit__(self, *_: object) -> None:
        self._node.destroy_node()
        rclpy.try_shutdown()

    def ask(self, frame: Frame, patience_s: float, again_s: float = 5.0) -> Answer:
        """Send a frame to the node that takes images, each ``again_s`` again, until it is answered.

        Raises ``NodeError`` where it is not answered in time.
        """
        deadline_s = time.perf_counter() + patience_s
        self._waiting.clear()
        self._complete.clear()
        while time.perf_counter() < deadline_s:
            self.spin(again_s, lambda: self._images.get_subscription_count() > 0)
            self.send(frame)
            if self.spin(again_s, lambda: bool(self._complete)):
                self._waiting.clear()  # answers to the other sendings count nowhere
                return self._complete.popleft()
        raise NodeError(f"the node did not answer {frame.name} within {patience_s:g} s")

    def answers(self) -> Iterator[Answer]:
        """The complete answers that have arrived since the last call."""
        while self._complete:
            yield self._complete.popleft()

    def spin(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Receive for that time, or until ``until`` holds; returns whether it holds."""
        deadline_s = time.perf_counter() + seconds
        rclpy.spin_once(self._node, timeout_sec=0)  # also where the time is up already
        while not until():
            self._check()
            left_s = deadline_s - time.perf_counter()
            if left_s <= 0:
                return False
            rclpy.spin_once(self._node, timeout_sec=min(left_s, 0.1))
        return True

    def send(self, frame: Frame) -> Answer:
        """Publish one frame, stamped now, with its camera_info if the camera is known."""
        header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id=FRAME_ID)
        answer = self._waiting[_key(header)] = Answer(frame.index, time.perf_counter())
        publish_frame(frame, header, self._images, self._infos)
        return answer

    def _on_message(self, name: str, message: Any) -> None:
        answer = self._waiting.get(_key(message.header))
        if answer is None:
            return
        answer.messages[name].append(message)
        if name == "hands":
            answer.latency_ms = (time.perf_counter() - answer.sent_s) * 1000
        if answer.complete:
            self._complete.append(self._waiting.pop(_key(message.header)))


def _key(header: Header) -> tuple[int, int]:
    return header.stamp.sec, header.stamp.nanosec


def main(args: Sequence[str] | None = None) -> int:
    """Play until SIGINT or SIGTERM. Returns 0, or 1 if it cannot start."""
    return run("camera", ClipPlayer, args)


if __name__ == "__main__":
    sys.exit(main())
