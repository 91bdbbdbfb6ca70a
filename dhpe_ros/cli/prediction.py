"""The work of ``dhpe predict``: from inputs to files."""

from __future__ import annotations

import errno
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

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
from dhpe_ros.geometry.intrinsics import Intrinsics
from dhpe_ros.media import Frame, Media, MediaError, is_bag, list_folder, open_media
from dhpe_ros.media.frames import needs
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.rendering.overlay import draw_overlay
from dhpe_ros.system.errors import one_line
from dhpe_ros.tracking.tracker import HandTracker
from dhpe_ros.types import Box, Hand

if TYPE_CHECKING:
    from dhpe_ros.media.hand_bags import HandBag

_NO_MORE_WRITING = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)

_log = logging.getLogger(__name__)


@dataclass
class Tally:
    """Counts of a run."""

    frames: int = 0
    hands: int = 0
    without_hand: int = 0
    failed: int = 0
    started: float = field(default_factory=time.perf_counter)

    def add(self, hands: list[Hand]) -> None:
        self.frames += 1
        self.hands += len(hands)
        self.without_hand += not hands

    def summary(self, output: Path, backend: str) -> str:
        seconds = time.perf_counter() - self.started
        parts = [_counted(self.frames, "image"), _counted(self.hands, "hand")]
        if self.without_hand:
            parts.append(f"{self.without_hand} without a hand")
        if self.failed:
            parts.append(f"{self.failed} failed")
        each = f" ({seconds / self.frames:.2f} s each)" if self.frames else ""
        return f"{', '.join(parts)} in {seconds:.1f} s{each}, {backend} -> {output}"


class Prediction:
    """One run of ``dhpe predict`` over all inputs."""

    def __init__(
        self,
        pipeline: HandPipeline,
        output: Path,
        *,
        intrinsics: Intrinsics | None = None,
        topic: str = "",
        frame_limit: int | None = None,
        every_mesh: bool = False,
        bag_storage: str | None = None,
    ) -> None:
        """``intrinsics`` are for all inputs; the other arguments are the command's options."""
        self.tally = Tally()
        self._pipeline = pipeline
        self._output = output
        self._intrinsics = intrinsics
        self._topic = topic
        self._frame_limit = frame_limit
        self._every_mesh = every_mesh
        self._bag_storage = bag_storage
        self._bar = tqdm(disable=True)
        self._warned: set[str] = set()  # about the intrinsics

    def run(self, inputs: Iterable[Path]) -> None:
        """Process all inputs; failures are reported and counted. Raises ``OSError`` of writing."""
        media = list(self._open_inputs(inputs))
        names = OutputNames(self._output, (Path(one.name) for one in media))
        counts = [self._expected(one) for one in media]
        known = [count for count in counts if count is not None]
        total = sum(known) if len(known) == len(counts) else None
        with tqdm(total=total, unit="image", disable=total in (0, 1)) as self._bar:
            for one in media:
                self._predict(one, names.claim(Path(one.name), is_sequence=one.is_sequence))

    def summary(self) -> str:
        """The counts in one line."""
        return self.tally.summary(self._output, self._pipeline.networks.name)

    def _open_inputs(self, paths: Iterable[Path]) -> Iterator[Media]:
        config = self._pipeline.config
        for path in paths:
            with self._survived(path):
                if path.is_dir() and not is_bag(path):
                    yield from self._open_inputs(list_folder(path, is_own_output))
                elif path.parent.resolve() == self._output.resolve() and is_own_output(path):
                    self._tell(f"dhpe: {path}: left out, written by an earlier run")
                else:
                    limit = config.media.max_megapixels
                    yield open_media(path, self._topic, config.camera.images, limit)

    def _expected(self, media: Media) -> int | None:
        limit = self._frame_limit
        if not media.is_sequence or limit is None:
            return media.count
        return limit if media.count is None else min(limit, media.count)

    def _predict(self, media: Media, stem: str) -> None:
        if stem != Path(media.name).stem:
            self._tell(f"dhpe: {media.name}: written as {stem}: its own name is taken or too long")
        with self._survived(media.name):
            remove_results(self._output, stem, is_sequence=media.is_sequence)
            if media.is_sequence:
                self._predict_sequence(media, stem)
            else:
                self._predict_image(media, stem)

    @contextmanager
    def _survived(self, name: object) -> Iterator[None]:
        """Report an input's failure, and go on; only a full disk ends the run."""
        try:
            yield
        except MediaError as error:
            self._report(error)
        except OSError as error:
            if error.errno in _NO_MORE_WRITING:
                raise
            self._report(f"{name}: {error}")
        except Exception as error:
            _log.debug("%s", name, exc_info=True)
            self._report(f"{name}: {type(error).__name__}: {error}")

    def _predict_image(self, media: Media, stem: str) -> None:
        (frame,) = media.frames()
        self._check_box(frame)
        hands = self._pipeline.estimate(frame.image, self._camera(frame))
        found = [hand_as_mapping(hand) for hand in hands]
        write_json(self._output / f"{stem}.json", {"image": media.name, "hands": found})
        write_overlay(self._output / f"{stem}{OVERLAY_SUFFIX}", frame.image, hands)
        for k, hand in enumerate(hands):
            write_mesh(self._output / f"{stem}_{k}.obj", hand, frame.name)
        self._done(hands)

    def _predict_sequence(self, media: Media, stem: str) -> None:
        with needs("av", media.name):
            from dhpe_ros.media.clips import ClipWriter
        tracker = HandTracker(self._pipeline)
        best: dict[int, tuple[Hand, str]] = {}
        try:
            with (
                ClipWriter(self._output / f"{stem}{CLIP_SUFFIX}", media.rate_hz) as clip,
                self._bag(stem) as bag,
            ):
                for frame in islice(media.frames(), self._frame_limit):
                    self._check_box(frame)
                    camera = self._camera(frame)
                    hands = tracker.process(frame.image, camera, time_s=frame.stamp_s)
                    frame_stem = f"{stem}_{frame.index:06d}"
                    content = _frame_content(media, frame, hands)
                    write_json(self._output / f"{frame_stem}.json", content)
                    clip.write(draw_overlay(frame.image, hands), frame.stamp_s)
                    if bag is not None:
                        bag.write(frame, camera, hands)
                    self._keep_meshes(best, hands, frame, frame_stem)
                    self._done(hands)
        finally:  # a camera ends by Ctrl-C, a damaged video by an error
            for k, (_, (hand, name)) in enumerate(sorted(best.items())):
                write_mesh(self._output / f"{stem}_{k}.obj", hand, name)

    def _bag(self, stem: str) -> AbstractContextManager[HandBag | None]:
        if self._bag_storage is None:
            return nullcontext()
        with needs("rosbags", f"--bag {self._bag_storage}"):
            from dhpe_ros.media.hand_bags import HandBag
        return HandBag(self._output / f"{stem}{BAG_SUFFIX}", self._bag_storage)

    def _keep_meshes(
        self, best: dict[int, tuple[Hand, str]], hands: list[Hand], frame: Frame, frame_stem: str
    ) -> None:
        for k, hand in enumerate(hands):
            if self._every_mesh:
                write_mesh(self._output / f"{frame_stem}_{k}.obj", hand, frame.name)
            elif hand.track_id not in best or hand.score > best[hand.track_id][0].score:
                best[hand.track_id] = (hand, frame.name)

    def _camera(self, frame: Frame) -> Camera | None:
        if self._intrinsics is None:
            return frame.camera
        height, width = frame.image.shape[:2]
        try:
            return self._intrinsics.camera(width, height)
        except ValueError as error:
            if str(error) not in self._warned:
                self._warned.add(str(error))
                degrees = self._pipeline.config.camera.field_of_view_deg
                self._tell(
                    f"dhpe: warning: {frame.name}: --intrinsics: {error}; {degrees:g} degrees are "
                    "assumed for such pictures, not metric"
                )
            return None

    def _check_box(self, frame: Frame) -> None:
        text = self._pipeline.config.tracking.box
        if text == "full":
            return
        box, (height, width) = Box.parse(text), frame.image.shape[:2]
        if not box.touches(width, height):
            raise MediaError(frame.name, f"the box {text} is outside its {width}x{height} pixels")

    def _done(self, hands: list[Hand]) -> None:
        self.tally.add(hands)
        self._bar.update()

    def _report(self, error: Exception | str) -> None:
        self.tally.failed += 1
        self._tell(f"dhpe: error: {one_line(error)}")

    def _tell(self, text: str) -> None:
        tqdm.write(text, file=sys.stderr)


def _frame_content(media: Media, frame: Frame, hands: list[Hand]) -> dict[str, Any]:
    found = [{"track_id": hand.track_id, **hand_as_mapping(hand)} for hand in hands]
    return {
        "image": media.name,
        "frame": frame.index,
        "stamp_s": round(frame.stamp_s, 6),
        "hands": found,
    }


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
