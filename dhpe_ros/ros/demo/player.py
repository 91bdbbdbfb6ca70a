"""Exchange with the hand node: frames out, answers in."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
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

# Reliable and deep: the demo must not miss a message.
_RESULTS = QoSProfile(depth=50, reliability=ReliabilityPolicy.RELIABLE)


@dataclass
class Answer:
    """The node's messages for one frame; complete when every topic has arrived."""

    index: int
    sent_s: float  # time.perf_counter
    counts: bool = True  # False: sent only to see that answers arrive
    latency_ms: float = math.nan  # until the hands arrived
    hands: list[Any] = field(default_factory=list)  # dhpe_ros/Hand
    meshes: list[Any] = field(default_factory=list)  # dhpe_ros/HandMesh
    mask: Any = None  # sensor_msgs/Image
    overlay: Any = None  # (H, W, 3) uint8 RGB

    @property
    def complete(self) -> bool:
        return (
            not math.isnan(self.latency_ms)
            and len(self.meshes) == len(self.hands)
            and self.mask is not None
            and self.overlay is not None
        )

    def take_hands(self, message: HandArray) -> None:
        self.latency_ms = (time.perf_counter() - self.sent_s) * 1000
        self.hands = list(message.hands)

    def take_mesh(self, message: HandMesh) -> None:
        self.meshes.append(message)

    def take_mask(self, message: Image) -> None:
        self.mask = message

    def take_overlay(self, message: Image) -> None:
        self.overlay = image_to_rgb(message)


class DemoPlayer:
    """Publishes frames and receives the results, as one node; use it in ``with``.

    ``on_answer`` is called with each complete answer whose frame counts.
    """

    def __init__(self, on_answer: Callable[[Answer], None]) -> None:
        self._on_answer = on_answer
        self._waiting: dict[tuple[int, int], Answer] = {}
        self.sent = 0
        self.answered = 0
        self._context = Context()
        # The demo itself handles Ctrl-C; ROS's handler would end the context before the demo ends.
        rclpy.init(context=self._context, signal_handler_options=rclpy.SignalHandlerOptions.NO)
        self._node = rclpy.create_node("hand_demo", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        sensor = qos_profile_sensor_data
        self._images = self._node.create_publisher(Image, IMAGE_TOPIC, sensor)
        self._infos = self._node.create_publisher(CameraInfo, CAMERA_INFO_TOPIC, sensor)
        self._topics = {
            "/hand/hands": (HandArray, Answer.take_hands),
            "/hand/meshes": (HandMesh, Answer.take_mesh),
            "/hand/mask": (Image, Answer.take_mask),
            "/hand/overlay": (Image, Answer.take_overlay),
        }
        for topic, (message_type, take) in self._topics.items():
            callback = partial(self._on_message, take)
            self._node.create_subscription(message_type, topic, callback, _RESULTS)

    def __enter__(self) -> DemoPlayer:
        return self

    def __exit__(self, *_: object) -> None:
        self._executor.shutdown()
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    def connected(self) -> bool:
        """True where the node subscribes to the images and its outputs are discovered."""
        return (
            self._images.get_subscription_count() > 0
            and self._infos.get_subscription_count() > 0
            and all(self._node.count_publishers(topic) for topic in self._topics)
        )

    def spin(self, seconds: float, until: Callable[[], bool] = lambda: False) -> bool:
        """Receive for that time, or until ``until`` holds; returns whether it holds."""
        deadline_s = time.perf_counter() + seconds
        self._executor.spin_once(timeout_sec=0)  # also where the time is up already
        while not until():
            left_s = deadline_s - time.perf_counter()
            if left_s <= 0:
                return False
            self._executor.spin_once(timeout_sec=min(left_s, 0.1))
        return True

    def send(self, frame: Frame, counts: bool = True) -> Answer:
        """Publish one frame, stamped now, with its camera_info if the camera is known."""
        header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id=FRAME_ID)
        message = fill_image(Image(header=header), frame.image, "rgb8")
        if frame.camera is not None:
            self._infos.publish(info_of_camera(frame.camera, header))
        answer = Answer(frame.index, sent_s=time.perf_counter(), counts=counts)
        self._waiting[_key(header)] = answer
        self._images.publish(message)
        self.sent += counts
        return answer

    def _on_message(self, take: Callable[[Answer, Any], None], message: Any) -> None:
        key = _key(message.header)
        answer = self._waiting.get(key)
        if answer is None:
            return
        take(answer, message)
        if answer.complete:
            del self._waiting[key]
            if answer.counts:
                self.answered += 1
                self._on_answer(answer)


def _key(header: Header) -> tuple[int, int]:
    return header.stamp.sec, header.stamp.nanosec
