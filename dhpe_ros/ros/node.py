"""The node ``hand``: publishes the hands in the images that it gets.

Callbacks store the newest message. One worker thread estimates the hands; a second one draws the
output images while the first continues with the next image. Started by
``ros2 run dhpe_ros hand_node``, ``python -m dhpe_ros.ros.node`` or ``launch/hand.launch.py``.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial

from diagnostic_msgs.msg import DiagnosticArray
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import CameraInfo, CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from dhpe_ros.config import Config
from dhpe_ros.engines.store import EngineError
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media.camera_messages import (
    camera_from_info,
    describe_reading,
    has_distortion,
    is_rectified,
)
from dhpe_ros.media.image_messages import compressed_to_rgb, image_to_rgb
from dhpe_ros.media.white_level import WhiteLevel
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.ros.health import HealthMonitor, Level, Statistics, diagnostic_message
from dhpe_ros.ros.image_watch import ImageWatch, stamp_s
from dhpe_ros.ros.inputs import DepthInput, RoiInput
from dhpe_ros.ros.outputs import HandOutputs
from dhpe_ros.ros.parameters import declare_parameters, follow_changes
from dhpe_ros.ros.qos import Input
from dhpe_ros.ros.running import forward_logs, run
from dhpe_ros.ros.worker import LatestWorker, OneBehind
from dhpe_ros.tracking.tracker import HandTracker
from dhpe_ros.types import Box

_STUCK = 5.0  # multiple of image_timeout after which one image is reported as stuck
_STUCK_LASTS_S = 2.0  # checked every second
_STOP_S = 1.5  # for each thread: launch kills a process five seconds after Ctrl-C


def make_hand_tracker(config: Config) -> HandTracker:
    """Build the tracker of a configuration: weights loaded, kernels compiled, warmed up."""
    pipeline = HandPipeline(config)
    pipeline.warm_up()
    return HandTracker(pipeline)


class HandNode(Node):
    """Publishes the hands in ``image``; the README lists topics and behaviour.

    ``make_tracker`` builds the tracker. When the constructor returns, weights and engines are
    loaded. Raises ``ValueError`` or ``OSError`` with the remedy when loading fails.
    """

    def __init__(self, make_tracker: Callable[[Config], HandTracker] = make_hand_tracker) -> None:
        super().__init__("hand")
        forward_logs(self.get_logger())
        self._config = declare_parameters(self, Config())
        self._health = HealthMonitor(self.get_logger())
        self._tracker = make_tracker(self._config)
        self._statistics = Statistics()
        self._enabled = True
        self._camera_info: CameraInfo | None = None
        self._camera_in_use = "assumed"  # for diagnostics
        self._logged_reading = ""  # of the images, as raw or rectified
        self._frame_id = ""  # of the last results
        self._white = WhiteLevel()  # of the images
        self._worker = LatestWorker(self._process, self._on_failure)
        self._drawing = OneBehind("hand_drawing", self._on_drawing_failure)
        self._outputs = HandOutputs(self, self._config.node, self._health)
        follow_changes(self, lambda: self._config, self._take_over)
        self._listen()
        self._worker.start()
        self.get_logger().info(
            f"ready ({self._config.model.profile}, {self._tracker.pipeline.networks.name}): "
            f"waiting for images on {self.resolve_topic_name(self._image_topic)}"
        )

    def stop(self) -> bool:
        """End the threads. False where the current image did not finish in time."""
        return self._worker.stop(_STOP_S) and self._drawing.stop(_STOP_S)

    def _listen(self) -> None:
        compressed = self._config.node.image_transport == "compressed"
        self._image_topic = "image/compressed" if compressed else "image"
        self._decode = compressed_to_rgb if compressed else image_to_rgb
        image_type = CompressedImage if compressed else Image
        self._roi = RoiInput(self, self._health)
        self._depth = DepthInput(self, self._health)
        # camera_info first: a peer that sees the image subscription may rely on the other.
        infos = Input(self, "camera_info", {CameraInfo: self._on_camera_info}, self._health)
        images = Input(self, self._image_topic, {image_type: self._on_image}, self._health)
        self._watch = ImageWatch(self, images, infos, self._statistics, self._health)
        self._images = images
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Steady time: with simulated time and no /clock the node must still report.
        self.create_timer(1.0, self._every_second, clock=Clock(clock_type=ClockType.STEADY_TIME))

    # Callbacks of the executor: they only store.

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._statistics.image_received()
        self._watch.image_arrived()
        if self._enabled:
            self._worker.submit(message)

    def _on_camera_info(self, message: CameraInfo) -> None:
        self._camera_info = message

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        if not self._enabled:
            self._worker.discard()
            self._worker.call(self._end_tracks)
        response.success = True
        response.message = "enabled" if self._enabled else "disabled: images are not processed"
        return response

    def _on_reset(self, _: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        self._roi.clear()
        self._worker.call(self._reset)
        response.success = True
        response.message = "all tracks end before the next image"
        return response

    def _take_over(self, config: Config) -> None:
        before, self._config = self._config.tracking, config
        self._worker.call(lambda: self._tracker.pipeline.configure(config))
        if (config.tracking.box, config.tracking.side) != (before.box, before.side):
            self._worker.call(self._end_tracks)  # of another box or side

    def _every_second(self) -> None:
        if self._enabled:
            self._watch.check(self._config.node, self._outputs.hands_wanted())
        self._check_worker()
        self._publish_diagnostics()

    def _check_worker(self) -> None:
        networks, busy_s = self._tracker.pipeline.networks, self._worker.busy_s()
        if networks.trouble:
            self._health.report("networks", networks.trouble, logged=False)
        if busy_s > _STUCK * self._config.node.image_timeout:
            self._health.report(
                "stuck",
                f"one image has taken {busy_s:.0f} s so far: restart the node; if the computer is "
                "only slow, lower refinement.steps or set tracking.second_look to false",
                Level.ERROR,
                lasts_s=_STUCK_LASTS_S,
            )

    def _publish_diagnostics(self) -> None:
        networks = self._tracker.pipeline.networks
        values = {
            "backend": networks.name,
            "profile": self._config.model.profile,
            "camera": self._camera_in_use,
            **self._statistics.values(),
            "images lost on the way": str(self._images.lost),
            "images dropped (newer came)": str(self._worker.dropped),
            "failures": str(self._worker.failures),
        }
        header = Header(stamp=self.get_clock().now().to_msg())
        name = self.get_fully_qualified_name()
        message = diagnostic_message(name, header, values, self._health, self._idle())
        self._diagnostics.publish(message)

    def _idle(self) -> str:
        """The reason why nothing is computed although there is no fault, or an empty string."""
        if not self._enabled:
            return "disabled"
        if self._outputs.hands_wanted():
            return ""
        if self._outputs.wanted():
            return "only ~/camera_info has subscribers"
        return "no output has subscribers"

    # In the worker thread, which alone uses the tracker.

    def _process(self, message: Image | CompressedImage) -> None:
        begin = time.monotonic()
        config = self._config.node
        if not self._outputs.wanted() or not self._watch.fresh(message.header, config):
            return
        try:
            image = self._decode(message, self._config.media.max_megapixels, self._white)
        except ValueError as error:
            self._statistics.counts["images not readable"] += 1
            self._health.report("image", f"image not readable: {error}", Level.ERROR)
            return
        self._health.clear("image", "images are readable again")
        height, width = image.shape[:2]
        info = self._camera_info
        camera = self._camera(info, message.header.frame_id, width, height)
        self._frame_id = config.frame_id or message.header.frame_id
        header = Header(stamp=message.header.stamp, frame_id=self._frame_id)
        self._outputs.publish_camera_info(info if camera else None, header, width, height)
        if not self._outputs.hands_wanted():
            return
        self._check_box(width, height)
        depth_m = self._depth.at(message.header, width, height, config.depth_tolerance)
        boxes = self._roi.take(message.header, width, height, config.roi_max_age)
        time_s = stamp_s(message.header)
        hands = self._tracker.process(image, camera, boxes, depth_m, time_s)
        self._depth.check(hands, depth_m)
        self._outputs.publish_hands(hands, header, config)
        latency_ms = self._watch.age_s(header) * 1e3 if time_s is not None else None
        self._outputs.publish_markers(hands, header, config.marker_lifetime)
        pictures = (hands, header, image, depth_m, config)
        self._drawing.begin(partial(self._draw, partial(self._outputs.publish_images, *pictures)))
        self._statistics.frame_published(len(hands), latency_ms, (time.monotonic() - begin) * 1e3)
        self._health.clear("failure")

    def _draw(self, publish_images: Callable[[], None]) -> None:
        """Publish the images of one result, in the drawing thread."""
        begin = time.monotonic()
        publish_images()
        self._statistics.pictures_published((time.monotonic() - begin) * 1e3)
        self._health.clear("drawing")

    def _camera(
        self, info: CameraInfo | None, frame_id: str, width: int, height: int
    ) -> Camera | None:
        """The camera of an image; None, with the reason reported, where it must be assumed."""
        self._camera_in_use = "assumed"
        if info is None:
            return None
        topic = self.resolve_topic_name(self._image_topic)
        rectified = is_rectified(info, topic, self._config.camera.images)
        try:
            camera = camera_from_info(info, width, height, rectified=rectified)
        except ValueError as error:
            assumed = f"{self._config.camera.field_of_view_deg:g} degrees are assumed, not metric"
            self._health.report("camera_info", f"{error}; until then {assumed}", once=True)
            return None
        self._camera_in_use = "rectified" if rectified else f"raw, {camera.lens.model}"
        reading = describe_reading(info, topic, rectified)
        if has_distortion(info) and reading != self._logged_reading:
            self.get_logger().info(reading)
            self._logged_reading = reading
        if info.header.frame_id != frame_id:
            self._health.report(
                "camera_info",
                f"camera_info has frame {info.header.frame_id!r}, the image {frame_id!r}: is it "
                "of another camera? The image's frame is used",
                once=True,
            )
        else:
            self._health.clear("camera_info", "camera_info fits the images")
        return camera

    def _check_box(self, width: int, height: int) -> None:
        box = self._config.tracking.box
        if box == "full" or Box.parse(box).touches(width, height):
            self._health.clear("box", "tracking.box lies in the images")
            return
        self._health.report(
            "box",
            f"tracking.box {box} lies outside the images of {width} x {height} pixels: no hand can "
            "be found; set it to x,y,width,height within them, or to full",
            Level.ERROR,
            once=True,
        )

    def _reset(self) -> None:
        self._white = WhiteLevel()  # the next images may be another camera's
        self._end_tracks()

    def _end_tracks(self) -> None:
        self._tracker.reset()
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._frame_id)
        self._outputs.publish_markers([], header, 0.0)

    def _on_failure(self, error: BaseException) -> None:
        if isinstance(error, EngineError) and self.executor:  # strict_backend: no fallback
            self.executor.create_task(self._end, error)
            return
        self._report_failure("failure", "processing an image", error, Level.ERROR)

    def _on_drawing_failure(self, error: BaseException) -> None:
        self._statistics.counts["images not drawn"] += 1
        work = "drawing the mask, depth or overlay of an image"
        self._report_failure("drawing", work, error, Level.WARN)

    def _report_failure(self, key: str, work: str, error: BaseException, level: Level) -> None:
        if not self.context.ok():
            return  # a signal ended the context of the publishers: no fault
        message = f"{work} failed ({type(error).__name__}: {error}); going on with the next"
        self._health.report(key, message, level)
        self.get_logger().debug("".join(traceback.format_exception(error)))

    def _end(self, error: EngineError) -> None:
        """Leave ``spin``; called in the executor's thread."""
        message = f"cannot go on: {error}"
        self._health.report("engine", message, Level.ERROR, logged=False)
        self._publish_diagnostics()
        self.get_logger().fatal(message)
        raise SystemExit(1)


def main(
    args: Sequence[str] | None = None,
    make_tracker: Callable[[Config], HandTracker] = make_hand_tracker,
) -> int:
    """Run the node until SIGINT or SIGTERM. Returns 0, or 1 if it cannot start.

    Raises ``SystemExit`` of 1 when an engine fails under strict_backend. Ends the process itself
    where the current image does not finish in time.
    """
    abandoned: list[HandNode] = []

    def stop(node: HandNode) -> None:
        if not node.stop():
            node.get_logger().warning("the current image did not finish in time: it is abandoned")
            abandoned.append(node)

    try:
        return run("hand", lambda: HandNode(make_tracker), args, stop=stop)
    finally:
        for node in abandoned:
            _end_process(node, 0 if sys.exc_info()[0] is None else 1)


def _end_process(node: HandNode, code: int) -> None:
    """End without Python's own shutdown, which may crash while threads are inside torch."""
    node.destroy_node()  # or it stays in the graph until its lease ends, with its shared memory
    logging.shutdown()
    os._exit(code)


if __name__ == "__main__":
    sys.exit(main())
