"""The work of ``dhpe predict``: from inputs to files."""

from __future__ import annotations

import argparse
import errno
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from dhpe_ros.cli.predict_files import (
    BAG_SUFFIX,
    CLIP_SUFFIX,
    OVERLAY_SUFFIX,
    OutputNames,
    hand_as_mapping,
    is_own_output,
    remove_results,
    write_json,
    write_mesh,
    write_overlay,
)
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media import Frame, Media, MediaError, is_bag, list_folder, open_media
from dhpe_ros.media.frames import needs
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.rendering.overlay import draw_overlay
from dhpe_ros.system.errors import one_line
from dhpe_ros.tracking.tracker import HandTracker
from dhpe_ros.types import Box, Hand

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
        """Process all inputs; failures are reported and counted. Raises ``OSError`` of writing."""
        media = list(self._open_inputs(self._arguments.inputs))
        names = OutputNames(self._output, (Path(one.name) for one in media))
        counts = [self._expected(one) for one in media]
        total = None if None in counts else sum(filter(None, counts))
        with tqdm(total=total, unit="image", disable=total in (0, 1)) as self._bar:
            for one in media:
                path = Path(one.name)
                stem = names.claim(path, is_sequence=one.is_sequence)
                if stem != path.stem:
                    self._tell(f"{path}: written as {stem}: its own name is taken or too long")
                with self._survived(path):
                    remove_results(self._output, stem, is_sequence=one.is_sequence)
                    (self._sequence if one.is_sequence else self._image)(one, stem)

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
                    yield open_media(path, self._arguments.topic, config.camera.images, limit)

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

    def _image(self, media: Media, stem: str) -> None:
        (frame,) = media.frames()
        self._check_box(frame)
        hands = self._pipeline.estimate(frame.image, self._camera(frame))
        found = [hand_as_mapping(hand) for hand in hands]
        write_json(self._output / f"{stem}.json", {"image": media.name, "hands": found})
        write_overlay(self._output / f"{stem}{OVERLAY_SUFFIX}", frame.image, hands)
        for k, hand in enumerate(hands):
            write_mesh(self._output / f"{stem}_{k}.obj", hand, frame.name)
        self._done(hands)

    def _sequence(self, media: Media, stem: str) -> None:
        with needs("av", media.name):
            from dhpe_ros.media.clips import ClipWriter
        tracker = HandTracker(self._pipeline)
        best: dict[int, tuple[Hand, str]] = {}  # of each track
        try:
            with (
                ClipWriter(self._output / f"{stem}{CLIP_SUFFIX}", media.rate_hz) as clip,
                self._bag(stem) as bag,
            ):
                for frame in islice(media.frames(), self._arguments.frames):
                    self._check_box(frame)
                    camera = self._camera(frame)
                    hands = tracker.process(frame.image, camera, time_s=frame.stamp_s)
                    frame_stem = f"{stem}_{frame.index:06d}"
                    content = {
                        "image": media.name,
                        "frame": frame.index,
                        "stamp_s": round(frame.stamp_s, 6),
                        "hands": [{"track_id": h.track_id, **hand_as_mapping(h)} for h in hands],
                    }
                    write_json(self._output / f"{frame_stem}.json", content)
                    clip.write(draw_overlay(frame.image, hands), frame.stamp_s)
                    if bag is not None:
                        bag.write(frame, camera, hands)
                    for k, hand in enumerate(hands):
                        if self._arguments.every_mesh:
                            write_mesh(self._output / f"{frame_stem}_{k}.obj", hand, frame.name)
                        elif hand.track_id not in best or hand.score > best[hand.track_id][0].score:
                            best[hand.track_id] = (hand, frame.name)
                    self._done(hands)
        finally:  # a camera ends by Ctrl-C, a damaged video by an error
            for k, (_, (hand, name)) in enumerate(sorted(best.items())):
                write_mesh(self._output / f"{stem}_{k}.obj", hand, name)

    def _bag(self, stem: str) -> Any:
        if self._arguments.bag is None:
            return nullcontext()
        with needs("rosbags", f"--bag {self._arguments.bag}"):
            from dhpe_ros.media.hand_bags import HandBag
        return HandBag(self._output / f"{stem}{BAG_SUFFIX}", self._arguments.bag)

    def _camera(self, frame: Frame) -> Camera | None:
        if self._intrinsics is None:
            return frame.camera
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
            return None

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
