"""Plays frames to the hand node and collects its answers."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile, ReliabilityPolicy, qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from dhpe_ros.media import Frame
from dhpe_ros.media.image_messages import fill_image, image_to_rgb
from dhpe_ros.ros.conversion import HandArray, HandMesh, info_of_camera

IMAGE_TOPIC = "/camera/image_raw"
CAMERA_INFO_TOPIC = "/camera/camera_info"
FRAME_ID = "camera_optical_frame"

# Reliable and deep: the demo is to miss nothing.
_RESULTS = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)


@dataclass
class Answer:
    """What came back for one frame; complete when the last topic of the node is there."""

    index: int
    sent_s: float  # time.perf_counter
    counts: bool = True  # False: only to see that answers arrive
    latency_ms: float | None = None  # until the hands were received
    hands: list[Any] = field(default_factory=list)  # dhpe_ros/Hand
    meshes: list[Any] = field(default_factory=list)  # dhpe_ros/HandMesh
    mask: Image | None = None
    overlay: Any = None  # (H, W, 3) uint8 RGB

    @property
    def complete(self) -> bool:
        return (
            self.latency_ms is not None
            and len(self.meshes) == len(self.hands)
            and self.mask is not None
            and self.overlay is not None
        )


class DemoPlayer:
    """A camera and a listener in one node; use it in ``with``.

    ``on_answer`` is called once per frame that counts, when its answer is complete.
    """

    def __init__(self, on_answer: Callable[[Answer], None]) -> None:
        self._on_answer = on_answer
        self._waiting: dict[tuple[int, int], Answer] = {}
        self.sent = 0
        self.answered = 0
        self._context = Context()
        # The demo itself reacts to Ctrl-C; ROS's handler would end the context under its feet.
        rclpy.init(context=self._context, signal_handler_options=rclpy.SignalHandlerOptions.NO)
        self._node = rclpy.create_node("hand_demo", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        sensor = qos_profile_sensor_data
        self._images = self._node.create_publisher(Image, IMAGE_TOPIC, sensor)
        self._infos = self._node.create_publisher(CameraInfo, CAMERA_INFO_TOPIC, sensor)
        self._topics = {
            "/hand/hands": (HandArray, self._on_hands),
            "/hand/meshes": (HandMesh, self._on_mesh),
            "/hand/mask": (Image, self._on_mask),
            "/hand/overlay": (Image, self._on_overlay),
        }
        self._listeners = [
            self._node.create_subscription(kind, topic, callback, _RESULTS)
            for topic, (kind, callback) in self._topics.items()
        ]

    def __enter__(self) -> DemoPlayer:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def connected(self) -> bool:
        """Whether the node listens to the images and its answers have found their way here."""
        return (
            self._images.get_subscription_count() > 0
            and self._infos.get_subscription_count() > 0
            and all(self._node.count_publishers(topic) for topic in self._topics)
        )

    def spin(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Receive for so long, or until ``until`` holds; whether it does."""
        deadline_s = time.perf_counter() + seconds
        self._executor.spin_once(timeout_sec=0)  # even when the time is up already
        while not until():
            left_s = deadline_s - time.perf_counter()
            if left_s <= 0:
                return False
            self._executor.spin_once(timeout_sec=min(left_s, 0.1))
        return True

    def send(self, frame: Frame, counts: bool = True) -> Answer:
        """Publish one frame, stamped now, with its intrinsics if there are any."""
        header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id=FRAME_ID)
        message = fill_image(Image(header=header), frame.image, "rgb8")
        if frame.camera is not None:
            self._infos.publish(info_of_camera(frame.camera, header))
        answer = Answer(frame.index, sent_s=time.perf_counter(), counts=counts)
        self._waiting[_key(header)] = answer
        self._images.publish(message)
        self.sent += counts
        return answer

    def _on_hands(self, message: HandArray) -> None:
        answer = self._waiting.get(_key(message.header))
        if answer is not None:
            answer.latency_ms = (time.perf_counter() - answer.sent_s) * 1000
            answer.hands = list(message.hands)
            self._finish(_key(message.header))

    def _on_mesh(self, message: HandMesh) -> None:
        answer = self._waiting.get(_key(message.header))
        if answer is not None:
            answer.meshes.append(message)
            self._finish(_key(message.header))

    def _on_mask(self, message: Image) -> None:
        answer = self._waiting.get(_key(message.header))
        if answer is not None:
            answer.mask = message
            self._finish(_key(message.header))

    def _on_overlay(self, message: Image) -> None:
        answer = self._waiting.get(_key(message.header))
        if answer is not None:
            answer.overlay = image_to_rgb(message)
            self._finish(_key(message.header))

    def _finish(self, key: tuple[int, int]) -> None:
        if self._waiting[key].complete:
            answer = self._waiting.pop(key)
            if answer.counts:
                self.answered += 1
                self._on_answer(answer)


def _key(header: Header) -> tuple[int, int]:
    return header.stamp.sec, header.stamp.nanosec
