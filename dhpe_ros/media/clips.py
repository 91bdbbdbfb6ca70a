"""Writer of video clips."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from dhpe_ros.media.frames import shrunk

DEFAULT_RATE_HZ = 15.0
_TICK_S = Fraction(1, 90_000)  # the clock of MPEG, fine enough for any rate
_MAX_SIDE = 8192  # pixels; decoders refuse more


class ClipWriter:
    """An H.264 clip of the first frame's size; later frames are fitted into it.

    Use it in ``with``. A clip without frames leaves no file.
    """

    def __init__(self, path: str | Path, rate_hz: float | None = None) -> None:
        """``rate_hz`` is for frames without a stamp."""
        self.path = Path(path)
        self._ticks_a_frame = max(1, round(1 / ((rate_hz or DEFAULT_RATE_HZ) * _TICK_S)))
        self._tick = -self._ticks_a_frame  # of the last frame
        self._container: av.container.OutputContainer | None = None
        self._stream: av.VideoStream

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._container is not None:
            with self._container:
                self._encode(self._container, None)

    def write(self, image: np.ndarray, stamp_s: float | None = None) -> None:
        """Append ``(H, W, 3)`` uint8 RGB, shown at ``stamp_s``.

        A stamp that does not rise is moved behind the last one. Raises ``OSError`` when the file
        cannot be written.
        """
        if stamp_s is None:
            self._tick += self._ticks_a_frame
        else:
            self._tick = max(self._tick + 1, 0, round(stamp_s / _TICK_S))
        try:
            if self._container is None:
                self._container = self._open(image.shape[1], image.shape[0])
            fitted = _fit(image, self._stream.width, self._stream.height)
            frame = av.VideoFrame.from_ndarray(fitted, format="rgb24")
            frame.pts, frame.time_base = self._tick, _TICK_S
            self._encode(self._container, frame)
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise OSError(f"{self.path}: the clip cannot be written: {error}") from error

    def _encode(self, container: av.container.OutputContainer, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            packet.duration = self._ticks_a_frame  # that of the last frame, which none follows
            container.mux(packet)

    def _open(self, width: int, height: int) -> av.container.OutputContainer:
        shrink = min(1.0, _MAX_SIDE / max(width, height))
        container = av.open(str(self.path.absolute()), "w")
        # Zero latency: no frame waits for later ones, so long clips need no memory.
        stream = container.add_stream("h264", options={"preset": "veryfast", "tune": "zerolatency"})
        # Even sides: the codec halves the colour planes.
        stream.width, stream.height = (
            max(2, 2 * round(side * shrink / 2 + 0.25)) for side in (width, height)
        )
        stream.pix_fmt = "yuv420p"  # what every player shows
        stream.codec_context.time_base = _TICK_S
        self._stream = stream
        return container


def _fit(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """``image`` centred on black, shrunk where it is larger."""
    image = shrunk(image, min(width / image.shape[1], height / image.shape[0]))
    fitted = np.zeros((height, width, 3), np.uint8)
    top, left = (height - image.shape[0]) // 2, (width - image.shape[1]) // 2
    fitted[top : top + image.shape[0], left : left + image.shape[1]] = image
    return fitted
