"""The node: what it costs around the networks, when nothing happens, and how late its hands are.

Run as a program it is the node with a tracker that has found its hand already: what remains is
decoding, cropping, building messages and publishing; and the pictures, which another thread draws
and publishes while the networks look at the next image.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from itertools import islice
from pathlib import Path

import numpy as np
from timing import Metric

from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.media import open_media
from dhpe_ros.ros.environment import own_domain

METRICS = (
    Metric("node.overhead_ms", "ms", "lower"),
    Metric("node.pictures_ms", "ms", "lower"),
    Metric("node.latency_p50_ms", "ms", "lower"),
    Metric("node.latency_p95_ms", "ms", "lower"),
    Metric("node.idle_cpu_pct", "%", "lower", per_device=False),
    Metric("node.memory_growth_mb", "MB", "lower", per_device=False),
    Metric("node.working_mb", "MB", "lower", per_device=False),
)
OWN_DOMAIN = {
    "ROS_DOMAIN_ID": str(own_domain()),
    "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST",
}
FRAMES = 200  # what the node's percentiles look back on
IDLE_S = 10.0
MEMORY_FRAMES = 20_000
SETTLED_FRAMES = 1_000  # before which memory is still being taken
SMALL = (120, 160)  # of images for the memory: their number counts, not their size
ANSWER_S = 60.0
STILL = (str(Path(__file__).resolve()),)
REAL = ("-m", "dhpe_ros.ros.node")


def measure(device: str) -> dict[str, float]:
    """Metric name -> value, over the real transport with every output subscribed to."""
    if not (find_spec("rclpy") and find_spec("dhpe_ros.msg")):
        return {}
    os.environ.update(OWN_DOMAIN)
    images = [frame.image for frame in islice(open_media(DEMO_CLIP).frames(), 60)]
    with tempfile.TemporaryDirectory() as folder:
        values = _around_the_networks(Path(folder), images[40], device)
        if device == "cpu":
            values["node.memory_growth_mb"] = _memory_growth_mb(Path(folder))
        return values | _whole(Path(folder), images, device)


def _around_the_networks(folder: Path, image: np.ndarray, device: str) -> dict[str, float]:
    with _Node(folder, STILL, device) as node:
        for _ in range(FRAMES + 50):
            node.answer(image)
        return {
            "node.overhead_ms": node.diagnostic("processing p50 (ms)"),
            "node.pictures_ms": node.diagnostic("pictures p50 (ms)"),
        }


def _whole(folder: Path, images: list[np.ndarray], device: str) -> dict[str, float]:
    """The node as it is, its hand followed through the clip back and forth."""
    with _Node(folder, REAL, device) as node:
        there_and_back = images + images[::-1]
        for k in range(FRAMES + 20):
            node.answer(there_and_back[k % len(there_and_back)])
        values = {
            f"node.latency_{part}_ms": node.diagnostic(f"latency from stamp {part} (ms)")
            for part in ("p50", "p95")
        }
        values["node.working_mb"] = memory_mb(node.pid)
        begin_s, begin = time.monotonic(), cpu_s(node.pid)
        node.wait(lambda: time.monotonic() - begin_s > IDLE_S, 2 * IDLE_S)
        passed_s = time.monotonic() - begin_s
        return values | {"node.idle_cpu_pct": 100 * (cpu_s(node.pid) - begin) / passed_s}


def _memory_growth_mb(folder: Path) -> float:
    image = np.full((*SMALL, 3), 90, np.uint8)
    with _Node(folder, STILL, "cpu") as node:
        for _ in range(SETTLED_FRAMES):
            node.answer(image)
        before = memory_mb(node.pid)
        for _ in range(MEMORY_FRAMES):
            node.answer(image)
        return memory_mb(node.pid) - before


class _Node:
    """A node process, with a camera and listeners to all of its topics in this one."""

    def __init__(self, folder: Path, program: tuple[str, ...], device: str) -> None:
        import rclpy
        from diagnostic_msgs.msg import DiagnosticArray
        from rclpy.executors import SingleThreadedExecutor
        from sensor_msgs.msg import CameraInfo, Image

        from dhpe_ros.ros.demo.node_process import node_process
        from dhpe_ros.ros.environment import use_shipped_dds_profile
        from dhpe_ros.ros.outputs import PICTURES, RESULTS

        use_shipped_dds_profile()
        parameters = ["max_age:=0.0", f"model.device:={device}"]
        self._process = node_process(folder / "node.log", (), parameters, program)
        self._context = rclpy.Context()
        rclpy.init(context=self._context)
        self._node = node = rclpy.create_node("bench", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(node)
        self._images = node.create_publisher(Image, "image", 5)
        self._infos = node.create_publisher(CameraInfo, "camera_info", 5)
        self._depths = node.create_publisher(Image, "depth", 5)
        self._stamps: dict[str, object] = {}
        node.create_subscription(CameraInfo, "hand/camera_info", self._noting("camera_info"), 5)
        for output in (*RESULTS, *PICTURES):
            name = output.topic.removeprefix("~/")
            node.create_subscription(output.type, f"hand/{name}", self._noting(name), 5)
        self._diagnostics: dict[str, str] = {}
        node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, 5)

    def __enter__(self) -> _Node:
        self.pid = self._process.__enter__().pid
        self.wait(lambda: self._images.get_subscription_count() > 0, 10 * ANSWER_S)
        return self

    def __exit__(self, *error: object) -> None:
        self._process.__exit__(None, None, None)
        self._node.destroy_node()
        self._context.shutdown()

    def answer(self, image: np.ndarray) -> None:
        """Send an image with its depth and wait for its hands; it is sent again if it got lost."""
        from sensor_msgs.msg import CameraInfo, Image
        from std_msgs.msg import Header

        from dhpe_ros.media.image_messages import fill_image

        height, width = image.shape[:2]
        depth_m = np.full((height, width), 0.6, np.float32)
        while True:
            header = Header(stamp=self._node.get_clock().now().to_msg(), frame_id="camera")
            k = [600.0, 0.0, width / 2, 0.0, 600.0, height / 2, 0.0, 0.0, 1.0]
            self._infos.publish(CameraInfo(header=header, width=width, height=height, k=k))
            self._depths.publish(fill_image(Image(header=header), depth_m, "32FC1"))
            self._images.publish(fill_image(Image(header=header), image, "rgb8"))
            if self.wait(lambda s=header.stamp: self._stamps.get("hands") == s, 2.0):
                return

    def diagnostic(self, key: str) -> float:
        """A value of the next diagnostic."""
        self._diagnostics.clear()
        self.wait(lambda: key in self._diagnostics, ANSWER_S)
        return float(self._diagnostics[key])

    def wait(self, happened: Callable[[], bool], seconds: float) -> bool:
        """Receive until it happened, for so long at most; whether it did."""
        end_s = time.monotonic() + seconds
        while not happened() and time.monotonic() < end_s:
            self._executor.spin_once(timeout_sec=0.05)
        return happened()

    def _noting(self, name: str) -> Callable[[object], None]:
        def note(message: object) -> None:
            if hasattr(message, "header"):
                self._stamps[name] = message.header.stamp

        return note

    def _on_diagnostics(self, message: object) -> None:
        self._diagnostics.update({pair.key: pair.value for pair in message.status[0].values})


def cpu_s(pid: int) -> float:
    """Processor time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


class StillTracker:
    """Finds the hand in the first image, and from then on the same one again and again."""

    def __init__(self, config) -> None:
        from dhpe_ros.ros.node import make_hand_tracker

        self._tracker = make_hand_tracker(config)
        image = next(islice(open_media(DEMO_CLIP).frames(), 40, None)).image
        self._hands = self._tracker.process(image)
        self.pipeline = self._tracker.pipeline

    def reset(self) -> None:
        pass

    def process(self, image, camera=None, boxes=None, depth_m=None, time_s=None) -> list:
        from dhpe_ros.geometry.crop import crop_image

        for hand in self._hands:
            crop_image(image, hand.box)
        return self._hands


if __name__ == "__main__":
    from dhpe_ros.ros.node import main

    sys.exit(main(make_tracker=StillTracker))
