"""The work of ``dhpe predict``: from inputs to files."""

from __future__ import annotations

import argparse
import errno
import logging
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import islice
from pathlib import Path

from tqdm import tqdm

from dhpe_ros.cli.predict_files import (
    BAG_SUFFIX,
    OutputNames,
    ResultFiles,
    is_own_output,
    remove_results,
)
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.grasp import find_grasps, with_contacts
from dhpe_ros.media import Frame, Media, MediaError, is_bag, list_folder, open_media
from dhpe_ros.media.frames import needs
from dhpe_ros.media.hand_table import HandTable
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.system.errors import one_line
from dhpe_ros.tracking.tracker import HandTracker
from dhpe_ros.types import Box, Hand

Write = Callable[[Frame, Camera, Sequence[Hand]], None]  # of one frame's results

_NO_MORE_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

_log = logging.getLogger(__name__)


class Prediction:
    """One run of ``dhpe predict`` over all inputs; ``failed`` counts those that could not be done.

    ``arguments`` are the command's; ``intrinsics`` are for all inputs.
    """

    def __init__(
        self, pipeline: HandPipeline, arguments: argparse.Namespace, intrinsics: Camera | None
    ) -> None:
        self.failed = 0
        self._frames = self._hands = self._without_hand = 0
        self._started = time.perf_counter()
        self._pipeline = pipeline
        self._arguments = arguments
        self._output: Path = arguments.output
        self._intrinsics = intrinsics
        self._bar = tqdm(disable=True)
        self._warned: set[str] = set()  # about the intrinsics

    def run(self) -> None:
        """Process all inputs; failures are reported and counted.

        Raises ``OSError`` of writing, and ``MediaError`` for a missing package of ``--rerun``.
        """
        media = list(self._open_inputs(self._arguments.inputs))
        names = OutputNames(self._output, (Path(one.name) for one in media))
        counts = [self._expected(one) for one in media]
        total = None if None in counts else sum(filter(None, counts))
        with (
            ExitStack() as stack,
            tqdm(total=total, unit="image", disable=total in (0, 1)) as self._bar,
        ):
            shared = list(self._shared_writers(stack))
            for one in media:
                path = Path(one.name)
                stem = names.claim(path, is_sequence=one.is_sequence)
                if stem != path.stem:
                    self._tell(f"{path}: written as {stem}: its own name is taken or too long")
                with self._survived(path):
                    remove_results(self._output, stem, is_sequence=one.is_sequence)
                    self._process(one, stem, shared)

    def summary(self) -> str:
        """The counts in one line."""
        seconds = time.perf_counter() - self._started
        counts = [(self._frames, "image"), (self._hands, "hand")]
        parts = [f"{number} {noun}{'s' * (number != 1)}" for number, noun in counts]
        if self._without_hand:
            parts.append(f"{self._without_hand} without a hand")
        if self.failed:
            parts.append(f"{self.failed} failed")
        each = f" ({seconds / self._frames:.2f} s each)" if self._frames else ""
        backend = self._pipeline.networks.name
        return f"{', '.join(parts)} in {seconds:.1f} s{each}, {backend} -> {self._output}"

    def _open_inputs(self, paths: Iterable[Path]) -> Iterator[Media]:
        config = self._pipeline.config
        for path in paths:
            with self._survived(path):
                if path.is_dir() and not is_bag(path):
                    yield from self._open_inputs(list_folder(path, is_own_output))
                elif path.parent.resolve() == self._output.resolve() and is_own_output(path):
                    self._tell(f"{path}: left out, written by an earlier run")
                else:
                    limit = config.media.max_megapixels
                    topic, depth = self._arguments.topic, self._arguments.depth
                    yield open_media(path, topic, config.camera.images, limit, depth)

    def _expected(self, media: Media) -> int | None:
        limit = self._arguments.frames if media.is_sequence else None
        return min(filter(None, (media.count, limit)), default=None)

    @contextmanager
    def _survived(self, name: Path) -> Iterator[None]:
        """Report an input's failure, and go on; only a full disk ends the run."""
        try:
            yield
        except Exception as error:
            if isinstance(error, OSError) and error.errno in _NO_MORE_WRITING:
                raise
            _log.debug("%s", name, exc_info=True)
            self.failed += 1
            kind = "" if isinstance(error, OSError) else f"{type(error).__name__}: "
            text = str(error) if isinstance(error, MediaError) else f"{name}: {kind}{error}"
            self._tell(f"error: {one_line(text)}")

    def _process(self, media: Media, stem: str, shared: Iterable[Callable[..., None]]) -> None:
        tracker = HandTracker(self._pipeline) if media.is_sequence else None
        limit = self._arguments.frames if media.is_sequence else None
        with ExitStack() as stack:
            writers = list(self._own_writers(media, stem, stack))
            writers += [partial(write, media.name) for write in shared]
            for frame in islice(media.frames(), limit):
                self._check_box(frame)
                camera = self._camera(frame)
                if tracker is not None:
                    depth_m, time_s = frame.depth_m, frame.stamp_s
                    hands = tracker.process(frame.image, camera, depth_m=depth_m, time_s=time_s)
                    reach_m = self._pipeline.config.node.grasp_distance
                    grasps = find_grasps(hands, depth_m, camera, reach_m)
                    hands = with_contacts(hands, grasps)
                else:
                    hands = self._pipeline.estimate(frame.image, camera)
                for write in writers:
                    write(frame, camera, hands)
                self._done(hands)

    def _own_writers(self, media: Media, stem: str, stack: ExitStack) -> Iterator[Write]:
        """Writers of the files of one input; ``stack`` closes them."""
        given, model = self._arguments, self._pipeline.projection.hand_model
        files = ResultFiles(media, self._output, stem, model, given.mesh, given.every_mesh)
        yield stack.enter_context(files).write
        if media.is_sequence and given.bag is not None:
            with needs("rosbags", f"--bag {given.bag}"):
                from dhpe_ros.media.hand_bags import HandBag
            bag = HandBag(self._output / f"{stem}{BAG_SUFFIX}", given.bag)
            yield stack.enter_context(bag).write

    def _shared_writers(self, stack: ExitStack) -> Iterator[Callable[..., None]]:
        """As ``Write``, after the input's name: of files of all inputs; ``stack`` closes them."""
        given = self._arguments
        if given.csv is not None:
            yield stack.enter_context(HandTable(given.csv)).write
        if given.rerun is not None:
            with needs("rerun-sdk", f"--rerun {given.rerun}"):
                from dhpe_ros.media.rerun_recording import RerunRecording
            yield stack.enter_context(RerunRecording(given.rerun, bool(given.depth))).write

    def _camera(self, frame: Frame) -> Camera:
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
                self._tell(
                    f"warning: {frame.name}: --intrinsics: {error}; {degrees:g} degrees are "
                    "assumed for such pictures, not metric"
                )
            return self._pipeline.assumed_camera(frame.image)

    def _check_box(self, frame: Frame) -> None:
        text, (height, width) = self._pipeline.config.tracking.box, frame.image.shape[:2]
        if text != "full" and not Box.parse(text).touches(width, height):
            raise MediaError(frame.name, f"the box {text} is outside its {width}x{height} pixels")

    def _done(self, hands: list[Hand]) -> None:
        self._frames += 1
        self._hands += len(hands)
        self._without_hand += not hands
        self._bar.update()

    def _tell(self, text: str) -> None:
        tqdm.write(f"dhpe: {text}", file=sys.stderr)
