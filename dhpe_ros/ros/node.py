"""The node ``hand``: publishes the hands in the images that it gets.

It is a managed node, which starts by itself. Callbacks store the newest message. One worker thread
estimates the hands; a second one draws the output images while the first continues with the next
image. Started by ``ros2 run dhpe_ros hand_node``, ``python -m dhpe_ros.ros.node`` or
``launch/hand.launch.py``.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header
from std_srvs.srv import SetBool, Trigger

from dhpe_ros.config import Config
from dhpe_ros.engines.store import EngineError
from dhpe_ros.media.image_messages import compressed_to_rgb, image_to_rgb
from dhpe_ros.media.white_level import WhiteLevel
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.ros.health import HealthMonitor, Level, Statistics, diagnostic_message
from dhpe_ros.ros.image_watch import ImageWatch, stamp_s
from dhpe_ros.ros.inputs import CameraInput, DepthInput, RoiInput
from dhpe_ros.ros.lifecycle import ManagedNode
from dhpe_ros.ros.outputs import MARKERS, PICTURES, HandOutputs, Result
from dhpe_ros.ros.parameters import declare_parameters, follow_changes
from dhpe_ros.ros.qos import Input, steady_timer
from dhpe_ros.ros.running import forward_logs, run, shut_down
from dhpe_ros.ros.worker import Worker
from dhpe_ros.system.devices import free_memory, return_freed_memory
from dhpe_ros.tracking.tracker import HandTracker
from dhpe_ros.types import Box, Hand

_STUCK = 5.0  # multiple of image_timeout after which one image is reported as stuck
_STUCK_LASTS_S = 2.0  # checked every second
_FOLLOW_S = 0.1  # between two looks for subscribers; Humble has no event of them
_STOP_S = 1.5  # for each thread: launch kills a process five seconds after Ctrl-C


def make_hand_tracker(config: Config) -> HandTracker:
    """Build the tracker of a configuration: weights loaded, kernels compiled, warmed up."""
    pipeline = HandPipeline(config)
    pipeline.warm_up()
    return_freed_memory()  # of loading and compiling
    return HandTracker(pipeline)


class HandNode(ManagedNode):
    """Publishes the hands in ``image``; the README lists topics and behaviour.

    ``make_tracker`` builds the tracker, as ``configure`` needs it. With ``autostart`` the
    constructor configures and activates the node: then weights and engines are loaded when it
    returns, and it raises ``ValueError`` or ``OSError`` with the remedy when loading fails.
    """

    def __init__(self, make_tracker: Callable[[Config], HandTracker] = make_hand_tracker) -> None:
        super().__init__("hand")
        forward_logs(self.get_logger())
        self._config = declare_parameters(self, Config())
        self._health = HealthMonitor(self.get_logger())
        self._make_tracker = make_tracker
        self._tracker: HandTracker | None = None  # while the node is configured
        self._statistics = Statistics()
        self._enabled = True
        self._frame_id = ""  # of the last results
        self._white = WhiteLevel()  # of the images
        self._tracks: frozenset[int] = frozenset()  # of the last results
        self._worker = Worker("hand_worker", self._process, self._on_failure)
        on_error = partial(self._report_failure, "drawing", Level.WARN, "drawing an image")
        self._drawing = Worker("hand_drawing", self._draw, on_error)
        self._outputs = HandOutputs(self, self._config.node, self._health)
        follow_changes(self, lambda: self._config, self._take_over)
        self._make_inputs()
        self.create_service(SetBool, "~/enable", self._on_enable)
        self.create_service(Trigger, "~/reset", self._on_reset)
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", 10)
        self._worker.start()
        self._drawing.start()
        if self._config.node.autostart:
            self.start()
        else:
            self.get_logger().info("waiting to be configured and activated (autostart is false)")
        steady_timer(self, _FOLLOW_S, self._follow_subscribers)
        steady_timer(self, 1.0, self._every_second)

    # What a transition does.

    def configure(self) -> None:
        """Load weights and engines."""
        self._tracker = self._make_tracker(self._config)

    def activate(self) -> None:
        """Subscribe to the inputs."""
        # Also where nobody listens yet: so QoS overrides without meaning are refused now.
        self._listen(True, *self._inputs)
        self.get_logger().info(
            f"ready ({self._config.model.profile}, {self._backend()}): waiting for images on "
            f"{self._images.topic}, which are taken while an output has subscribers"
        )

    def deactivate(self) -> None:
        """Drop the subscriptions of the inputs and end all tracks."""
        self._listen(False, *self._inputs)

    def cleanup(self) -> None:
        """Free the memory of weights and engines."""
        if not (self._worker.wait_idle(_STOP_S) and self._drawing.wait_idle(_STOP_S)):
            raise TimeoutError(
                "the current image did not finish in time: try again, or restart the node"
            )
        self._tracker = None
        free_memory()

    def stop(self) -> bool:
        """End the threads. False where the current image did not finish in time."""
        return self._worker.stop(_STOP_S) and self._drawing.stop(_STOP_S)

    def _make_inputs(self) -> None:
        compressed = self._config.node.image_transport == "compressed"
        topic = "image/compressed" if compressed else "image"
        self._decode = compressed_to_rgb if compressed else image_to_rgb
        image_type = CompressedImage if compressed else Image
        self._roi = RoiInput(self, self._health)
        self._depth = DepthInput(self, self._health)
        self._camera = CameraInput(self, self.resolve_topic_name(topic), self._health)
        self._images = Input(self, topic, {image_type: self._on_image}, self._health)
        # Images last: a peer that sees their subscription may rely on the others.
        self._inputs = (self._roi.input, self._depth.input, self._camera.input, self._images)
        inputs = (self._images, self._camera.input)
        self._watch = ImageWatch(self, *inputs, self._statistics, self._health)

    def _listen(self, wanted: bool, *inputs: Input) -> None:
        """Subscribe to inputs, or drop them and end all tracks."""
        for each in inputs:
            each.listen(wanted)
        self._watch.restart()
        if not wanted:
            self._pause()

    def _follow_subscribers(self) -> None:
        """Take images, and depth with them, only while an output has subscribers."""
        wanted = self._outputs.wanted()
        if self.state == "active" and wanted != self._images.listening:
            self._listen(wanted, self._depth.input, self._images)

    def _pause(self) -> None:
        """Drop the waiting image and end all tracks."""
        self._worker.discard()
        self._worker.call(self._end_tracks)

    def _backend(self) -> str:
        return self._tracker.pipeline.networks.name if self._tracker else "not loaded"

    # Callbacks of the executor: they only store.

    def _on_image(self, message: Image | CompressedImage) -> None:
        self._statistics.image_received()
        self._watch.image_arrived()
        if self._enabled:
            self._worker.submit(message)

    def _on_enable(self, request: SetBool.Request, response: SetBool.Response) -> SetBool.Response:
        self._enabled = request.data
        if not self._enabled:
            self._pause()
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
        self._worker.call(self._apply_settings)
        if (config.tracking.box, config.tracking.side) != (before.box, before.side):
            self._worker.call(self._end_tracks)  # of another box or side

    def _every_second(self) -> None:
        if self._enabled and self._images.listening:
            self._watch.check(self._config.node, self._outputs.hands_wanted())
        self._check_worker()
        self._publish_diagnostics()

    def _check_worker(self) -> None:
        fault = self._tracker.pipeline.networks.fault if self._tracker else ""
        if fault:
            self._health.report("networks", fault, logged=False)
        else:
            self._health.clear("networks")
        busy_s = self._worker.busy_s()
        if busy_s > _STUCK * self._config.node.image_timeout:
            self._health.report(
                "stuck",
                f"one image has taken {busy_s:.0f} s so far: restart the node; if the computer is "
                "only slow, lower refinement.steps or tracking.max_hands",
                Level.ERROR,
                lasts_s=_STUCK_LASTS_S,
            )

    def _publish_diagnostics(self) -> None:
        values = {
            "state": self.state,
            "backend": self._backend(),
            "profile": self._config.model.profile,
            "camera": self._camera.in_use,
            **self._statistics.values(),
            "images lost on the way": str(self._images.lost),
            "images dropped (newer came)": str(self._worker.dropped),
            "failures": str(self._worker.failures),
            "images not drawn": str(self._drawing.failures),
        }
        header = Header(stamp=self.get_clock().now().to_msg())
        name = self.get_fully_qualified_name()
        message = diagnostic_message(name, header, values, self._health, self._idle())
        self._diagnostics.publish(message)

    def _idle(self) -> str:
        """The reason why nothing is computed although there is no fault, or an empty string."""
        if self.state != "active":
            return f"{self.state}: images are not taken"
        if not self._enabled:
            return "disabled"
        if self._outputs.hands_wanted():
            return ""
        if self._outputs.wanted():
            return "only ~/camera_info has subscribers"
        return "no output has subscribers: images are not taken"

    # In the worker thread, which alone uses the tracker.

    def _process(self, message: Image | CompressedImage) -> None:
        begin = time.monotonic()
        tracker, config = self._tracker, self._config.node
        if not (tracker and self._outputs.wanted() and self._watch.fresh(message.header, config)):
            return
        try:
            image = self._decode(message, self._config.media.max_megapixels, self._white)
        except ValueError as error:
            self._statistics.counts["images not readable"] += 1
            self._health.report("image", f"image not readable: {error}", Level.ERROR)
            return
        self._health.clear("image", "images are readable again")
        height, width = image.shape[:2]
        frame_id, camera_config = message.header.frame_id, self._config.camera
        camera, info = self._camera.camera(frame_id, width, height, camera_config)
        self._frame_id = config.frame_id or frame_id
        header = Header(stamp=message.header.stamp, frame_id=self._frame_id)
        self._outputs.publish_camera_info(info, header, width, height)
        if not self._outputs.hands_wanted():
            return
        self._check_box(width, height)
        depth_m = self._depth.at(message.header, width, height, config.depth_tolerance)
        boxes = self._roi.take(message.header, width, height, config.roi_max_age)
        time_s = stamp_s(message.header)
        hands = tracker.process(image, camera, boxes, depth_m, time_s)
        self._depth.check(hands, depth_m)
        result = self._result(hands, header, image=image, depth_m=depth_m, camera=camera)
        self._outputs.publish(self._outputs.results, result)
        latency_ms = self._watch.age_s(header) * 1e3 if time_s is not None else None
        self._drawing.wait_idle()
        self._drawing.submit(result)
        self._statistics.frame_published(len(hands), latency_ms, (time.monotonic() - begin) * 1e3)
        self._health.clear("failure")

    def _result(self, hands: list[Hand], header: Header, **image: Any) -> Result:
        before, self._tracks = self._tracks, frozenset(hand.track_id for hand in hands)
        return Result(hands, self._config.node, before - self._tracks, header, **image)

    def _draw(self, result: Result) -> None:
        """Publish what is drawn of one result, in the drawing thread."""
        begin = time.monotonic()
        self._outputs.publish(PICTURES, result)
        self._statistics.took("pictures", (time.monotonic() - begin) * 1e3)
        self._health.clear("drawing")

    def _check_box(self, width: int, height: int) -> None:
        box = self._config.tracking.box
        inside = box == "full" or Box.parse(box).touches(width, height)
        fault = (
            f"tracking.box {box} lies outside the images of {width} x {height} pixels: no hand can "
            "be found; set it to x,y,width,height within them, or to full"
        )
        note = "tracking.box lies in the images"
        self._health.update("box", "" if inside else fault, note, Level.ERROR, once=True)

    def _reset(self) -> None:
        self._white = WhiteLevel()  # the next images may be another camera's
        self._end_tracks()

    def _apply_settings(self) -> None:
        if self._tracker is not None:
            self._tracker.pipeline.configure(self._config)

    def _end_tracks(self) -> None:
        if self._tracker is None:
            return
        self._tracker.reset()
        header = Header(stamp=self.get_clock().now().to_msg(), frame_id=self._frame_id)
        ended = self._result([], header)
        self._drawing.call(lambda: self._outputs.publish([MARKERS], ended))

    # In either thread, where an image or a picture failed.

    def _on_failure(self, error: BaseException) -> None:
        if isinstance(error, EngineError) and self.executor:  # strict_backend: no fallback
            self.executor.create_task(self._end, error)
        else:
            self._report_failure("failure", Level.ERROR, "processing an image", error)

    def _report_failure(self, key: str, level: Level, work: str, error: BaseException) -> None:
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
    return run("hand", lambda: HandNode(make_tracker), args, stop=_stop)


def _stop(node: HandNode) -> None:
    if node.stop():
        return
    node.get_logger().warning("the current image did not finish in time: it is abandoned")
    node.destroy_node()  # or it stays in the graph until its lease ends, with its shared memory
    shut_down()
    logging.shutdown()
    # Without Python's own shutdown, which may crash while threads are inside torch.
    os._exit(0 if sys.exc_info()[0] is None else 1)


if __name__ == "__main__":
    sys.exit(main())
