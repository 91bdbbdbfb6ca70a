"""Reader of video files, by FFmpeg."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from dhpe_ros.media.frames import (
    MAX_MEGAPIXELS,
    Frame,
    MediaError,
    RefusedError,
    check_size,
    known_rate,
    looks_like,
    turned,
)

# FFmpeg's formats of moving pictures, without playlists (they name further files and hosts), text,
# subtitles and stills.
_FORMATS = (
    "mov,matroska,avi,flv,live_flv,mpegts,mpegtsraw,mpeg,mpegvideo,h264,hevc,m4v,av1,obu,ivf,ogg,"
    "asf,gif,mxf,rm,dv,nut,wtv,mjpeg,yuv4mpegpipe"
)
_PIXEL_ASPECTS = (Fraction(1, 4), Fraction(4))
_MOST_DAMAGED = 10_000  # places, after which reading ends

_log = logging.getLogger(__name__)


class VideoFile:
    """A video file; each frame as a player shows it, upright with square pixels.

    Pixels that are not square are made wider or higher, never smaller. Stamps are the file's own.
    """

    is_sequence = True

    def __init__(self, path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> None:
        self.path = path
        self.name = str(path)
        self._max_megapixels = max_megapixels
        with _opened(path) as (container, stream):
            try:
                check_size((stream.width, stream.height), max_megapixels)
            except RefusedError as error:
                raise MediaError(path, error) from error
            self.rate_hz = known_rate(stream.average_rate or stream.guessed_rate)
            self._claimed_count = stream.frames  # 0: unknown
            seconds = (container.duration or 0) / av.time_base
            self.count = self._claimed_count or round(seconds * (self.rate_hz or 0.0)) or None

    def frames(self) -> Iterator[Frame]:
        index, first_s, stamp_s = -1, None, 0.0
        with _opened(self.path) as (container, stream):
            for index, picture in enumerate(self._decoded(container, stream)):
                if picture.time is not None:
                    first_s = picture.time if first_s is None else first_s
                    stamp_s = picture.time - first_s
                elif index:
                    stamp_s += 1 / (self.rate_hz or 25.0)  # a raw stream has no stamps
                image = _shown(picture, stream.sample_aspect_ratio)
                yield Frame(image, f"{self.name} frame {index}", index, stamp_s)
            codec = stream.codec_context.name
        if index < 0:
            raise MediaError(
                self.name,
                f"no frame of its {codec} video can be decoded; convert it, as with "
                "ffmpeg -i VIDEO converted.mp4",
            )
        if index + 1 < 0.9 * self._claimed_count:
            claimed = self._claimed_count
            _log.warning("%s: ends after %d of %d frames", self.name, index + 1, claimed)

    def _decoded(
        self, container: av.container.InputContainer, stream: av.VideoStream
    ) -> Iterator[av.VideoFrame]:
        """Decoded frames; damage costs only the frames that it hits."""
        damaged = 0
        stream.thread_type = "AUTO"
        stream.codec_context.options = {"max_pixels": str(round(self._max_megapixels * 1e6))}
        packets = container.demux(stream)
        while damaged <= _MOST_DAMAGED:
            try:
                if (packet := next(packets, None)) is None:
                    break
                yield from packet.decode()
            except av.EOFError:
                break
            except av.FFmpegError as error:
                _log.debug("%s: %s", self.name, error)
                damaged += 1
        if damaged:
            _log.warning("%s: damaged in %d places", self.name, damaged)


def is_video(path: Path) -> bool:
    """True for a file whose content is moving pictures that can be decoded."""
    try:
        with _opened(path):
            return True
    except MediaError:
        return False


@contextmanager
def _opened(path: Path) -> Iterator[tuple[av.container.InputContainer, av.VideoStream]]:
    """Open the file and its main video stream. Raises ``MediaError``."""
    name = str(path.absolute())  # "concat:a.mp4" alone would be a protocol of FFmpeg's
    try:
        container = av.open(name, options={"format_whitelist": _FORMATS}, metadata_errors="replace")
    except (av.FFmpegError, ValueError) as error:
        raise MediaError(
            path, f"is not a video that can be decoded ({looks_like(path)})"
        ) from error
    with container:
        cover = av.stream.Disposition.attached_pic  # of a piece of music
        streams = [s for s in container.streams.video if not s.disposition & cover and s.width > 0]
        if not streams:
            raise MediaError(path, "holds no video")
        best = container.streams.best("video")
        stream = best if best in streams else streams[0]
        if stream.codec_context is None:
            raise MediaError(path, "has a video that this FFmpeg has no decoder for")
        yield container, stream


def _shown(picture: av.VideoFrame, aspect: Fraction | None) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB, upright, with square pixels; ``aspect`` is the file's.

    Angles other than quarter turns are ignored.
    """
    width, height = picture.width, picture.height
    (low, high), one = _PIXEL_ASPECTS, Fraction(1)
    if aspect and low <= aspect <= high:
        width, height = round(width * max(aspect, one)), round(height / min(aspect, one))
    image = picture.to_ndarray(format="rgb24", width=width, height=height)
    matrix: Any = picture.side_data.get("DISPLAYMATRIX")  # maps (x, y) of the file to the screen
    if matrix is not None:
        (a, b), (c, d) = np.frombuffer(matrix, np.int32).reshape(3, 3)[:2, :2]
        if a == d == 0 and b and c:
            image = turned(image, transposed=True, flip_rows=b < 0, flip_columns=c < 0)
        elif b == c == 0 and a and d:
            image = turned(image, transposed=False, flip_rows=d < 0, flip_columns=a < 0)
    return np.ascontiguousarray(image)
