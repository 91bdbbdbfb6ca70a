"""Worker of ``dhpe predict``: from one input to its files, in this process or in one of several."""

from __future__ import annotations

import os
import signal
import threading
from argparse import Namespace
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing
from functools import partial
from itertools import islice
from multiprocessing import parent_process
from multiprocessing.sharedctypes import Synchronized
from multiprocessing.synchronize import Event

import cv2

from dhpe_ros.cli.loading import load_pipeline
from dhpe_ros.cli.output_names import BAG_SUFFIX, remove_results
from dhpe_ros.cli.predict_files import ResultFiles
from dhpe_ros.cli.predict_jobs import Job, Outcome
from dhpe_ros.config import Config
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.grasp import find_grasps, with_contacts
from dhpe_ros.media import Frame, Media, MediaError
from dhpe_ros.media.frames import needs
from dhpe_ros.system.errors import start_log
from dhpe_ros.system.threads import ahead, behind
from dhpe_ros.tracking.tracker import HandTracker
from dhpe_ros.types import Box, Hand

Write = Callable[[Frame, Camera, Sequence[Hand]], None]  # of one frame's results


class Worker:
    """Processes inputs one after the other.

    ``arguments`` are the command's; ``intrinsics`` are for all inputs. ``advance`` is called after
    each frame. Where ``is_stopped`` is true before a frame, its input ends there, unfinished.
    ``shared`` writers of all inputs take an input's name before what ``Write`` takes.
    """

    def __init__(
        self,
        config: Config,
        arguments: Namespace,
        intrinsics: Camera | None,
        advance: Callable[[], object],
        is_stopped: Callable[[], bool] = lambda: False,
        shared: Sequence[Callable[..., None]] = (),
    ) -> None:
        """Raises ``CommandError`` for a bad file or device."""
        self._pipeline = load_pipeline(config)
        self._arguments = arguments
        self._intrinsics = intrinsics
        self._advance, self._is_stopped = advance, is_stopped
        self._shared = shared
        self._warned: set[str] = set()  # about the intrinsics

    def process(self, job: Job, outcome: Outcome) -> None:
        """Process an input, and count in ``outcome``. A full disk raises ``OSError``."""
        outcome.backend = self._pipeline.networks.name
        with outcome.survived(job.media.name):
            remove_results(self._arguments.output, job.stem, is_sequence=job.media.is_sequence)
            outcome.is_finished = self._process(job, outcome)

    def _process(self, job: Job, outcome: Outcome) -> bool:
        """True when the input was processed to its end."""
        media = job.media
        limit = self._arguments.frames if media.is_sequence else None
        tracker = HandTracker(self._pipeline) if media.is_sequence else None
        with ExitStack() as stack:
            writers = list(self._own_writers(job, stack))
            writers += [partial(write, media.name) for write in self._shared]
            frames: Iterator[Frame] = islice(media.frames(), limit)

            def write(frame: Frame, camera: Camera, hands: Sequence[Hand]) -> None:
                for write_one in writers:
                    write_one(frame, camera, hands)

            if media.is_sequence:  # others decode, draw and write beside the tracker
                frames = stack.enter_context(closing(ahead(frames)))
                write = stack.enter_context(behind(write))
            for frame in frames:
                if self._is_stopped():
                    return False
                self._check_box(frame)
                camera = self._camera(frame, outcome)
                if tracker is not None:
                    depth_m, time_s = frame.depth_m, frame.stamp_s
                    hands = tracker.process(frame.image, camera, depth_m=depth_m, time_s=time_s)
                    reach_m = self._pipeline.config.node.grasp_distance
                    grasps = find_grasps(hands, depth_m, camera, reach_m)
                    hands = with_contacts(hands, grasps)
                else:
                    hands = self._pipeline.estimate(frame.image, camera)
                write(frame, camera, hands)
                outcome.images += 1
                outcome.hands += len(hands)
                outcome.without_hand += not hands
                self._advance()
        return True

    def _own_writers(self, job: Job, stack: ExitStack) -> Iterator[Write]:
        """Writers of the files of one input; ``stack`` closes them."""
        given, model = self._arguments, self._pipeline.projection.hand_model
        media: Media = job.media
        meshes = model, given.mesh, given.every_mesh
        files = ResultFiles(media, given.output, job.stem, *meshes, not given.no_overlay)
        yield stack.enter_context(files).write
        if media.is_sequence and given.bag is not None:
            with needs("rosbags", f"--bag {given.bag}"):
                from dhpe_ros.media.hand_bags import HandBag
            bag = HandBag(given.output / f"{job.stem}{BAG_SUFFIX}", given.bag)
            yield stack.enter_context(bag).write

    def _camera(self, frame: Frame, outcome: Outcome) -> Camera:
        """The given camera, else the input's own, else the assumed one."""
        if self._intrinsics is None:
            return frame.camera or self._pipeline.assumed_camera(frame.image)
        height, width = frame.image.shape[:2]
        try:
            return self._intrinsics.for_image(width, height)
        except ValueError as error:
            if str(error) not in self._warned:
                self._warned.add(str(error))
                degrees = self._pipeline.config.camera.field_of_view_deg
                outcome.messages.append(
                    f"warning: {frame.name}: --intrinsics: {error}; {degrees:g} degrees are "
                    "assumed for such pictures, not metric"
                )
            return self._pipeline.assumed_camera(frame.image)

    def _check_box(self, frame: Frame) -> None:
        text, (height, width) = self._pipeline.config.tracking.box, frame.image.shape[:2]
        if text != "full" and not Box.parse(text).touches(width, height):
            raise MediaError(frame.name, f"the box {text} is outside its {width}x{height} pixels")


_given: tuple[Config, Namespace, Camera | None, Callable[[], object], Callable[[], bool]]
_worker: Worker | None = None  # of this process


def start_process(
    config: Config,
    arguments: Namespace,
    intrinsics: Camera | None,
    frames: Synchronized,
    stop: Event,
) -> None:
    """Prepare a process of several.

    ``frames`` counts those that are done; ``stop`` ends the work. Ctrl-C is left to the parent,
    without which the process ends.
    """
    global _given
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    start_log(arguments.log_level)
    cv2.setNumThreads(config.model.threads)

    def advance() -> None:
        with frames.get_lock():
            frames.value += 1

    _given = config, arguments, intrinsics, advance, stop.is_set


def _end_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def process_job(job: Job) -> Outcome:
    """Process an input in a process of several. Raises as ``Worker`` does."""
    global _worker
    if _worker is None:  # not at the start, which could not tell the parent what is wrong
        _worker = Worker(*_given)
    outcome = Outcome()
    _worker.process(job, outcome)
    return outcome
