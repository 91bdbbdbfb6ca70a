"""The node ``camera``: plays a clip in a loop, as a camera would publish it.

Started by ``ros2 run dhpe_ros play_clip`` or ``launch/demo.launch.py``.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import CameraInfo, Image
from std_msgs.msg import Header

from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.geometry.intrinsics import Intrinsics
from dhpe_ros.media import Frame, open_media
from dhpe_ros.media.image_messages import fill_image
from dhpe_ros.ros.conversion import info_of_camera
from dhpe_ros.ros.demo.report import Truth
from dhpe_ros.ros.node_configs import PlayerConfig
from dhpe_ros.ros.parameters import declare_parameters
from dhpe_ros.ros.running import forward_logs, run

_RATE_HZ = 15.0  # of inputs without a rate


class ClipPlayer(Node):
    """Publishes ``image_raw``, and ``camera_info`` where the camera is known, stamped now.

    Raises ``ValueError`` or ``OSError`` where the input cannot be read.
    """

    def __init__(self) -> None:
        super().__init__("camera")
        forward_logs(self.get_logger())
        self._config = declare_parameters(self, PlayerConfig()).clip
        self._media = open_media(self._config.input or DEMO_CLIP)
        truth, given = Truth.beside(Path(self._media.name)), self._config.intrinsics
        self._camera = truth.camera if truth else None
        self._intrinsics = Intrinsics.parse(given) if given else None
        self._frames = self._repeated()
        self._images = self.create_publisher(Image, "image_raw", qos_profile_sensor_data)
        self._infos = self.create_publisher(CameraInfo, "camera_info", qos_profile_sensor_data)
        rate_hz = self._config.rate or self._media.rate_hz or _RATE_HZ
        self.create_timer(1 / rate_hz, self._next)
        self.get_logger().info(
            f"playing {self._media.name} at {rate_hz:g} Hz on "
            f"{self.resolve_topic_name('image_raw')}"
        )

    def _repeated(self) -> Iterator[Frame]:
        while True:
            yield from self._media.frames()

    def _next(self) -> None:
        try:
            frame = self._with_camera(next(self._frames))
        except (ValueError, OSError) as error:
            self.get_logger().fatal(f"cannot play on: {error}")
            raise SystemExit(1) from error
        stamp = self.get_clock().now().to_msg()
        header = Header(stamp=stamp, frame_id=self._config.frame_id)
        if frame.camera is not None:
            self._infos.publish(info_of_camera(frame.camera, header))
        self._images.publish(fill_image(Image(header=header), frame.image, "rgb8"))

    def _with_camera(self, frame: Frame) -> Frame:
        if self._intrinsics is not None:
            height, width = frame.image.shape[:2]
            return replace(frame, camera=self._intrinsics.camera(width, height))
        return frame if self._camera is None else replace(frame, camera=self._camera)


def main(args: Sequence[str] | None = None) -> int:
    """Play until SIGINT or SIGTERM. Returns 0, or 1 if it cannot start."""
    return run("camera", ClipPlayer, args)


if __name__ == "__main__":
    sys.exit(main())
