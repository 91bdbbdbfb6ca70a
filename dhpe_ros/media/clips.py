"""Writing video clips."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from dhpe_ros.media.frames import shrunk

DEFAULT_RATE_HZ = 15.0
_TICK_S = Fraction(1, 90_000)  # fine enough for any rate, and what MPEG counts in
_MAX_SIDE = 8192  # pixels; decoders refuse more


class ClipWriter:
    """An H.264 clip that takes its size from the first frame; later frames are fitted into it.

    Use it as a context manager. A clip without frames leaves no file.
    """

    def __init__(self, path: str | Path, rate_hz: float | None = None) -> None:
        """``rate_hz`` times the frames that come without a stamp."""
        self.path = Path(path)
        self._ticks_a_frame = max(1, round(1 / ((rate_hz or DEFAULT_RATE_HZ) * _TICK_S)))
        self._container: av.container.OutputContainer | None = None
        self._stream: av.VideoStream
        self._size: tuple[int, int] = (0, 0)
        self._tick = -1

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._container is not None:
            with self._container:
                self._mux(None)

    def write(self, image: np.ndarray, stamp_s: float | None = None) -> None:
        """Append ``(H, W, 3)`` uint8 RGB, to be shown at ``stamp_s``.

        Stamps that do not rise are moved behind the last one. Raises ``OSError`` when the file
        cannot be made.
        """
        try:
            if self._container is None:
                self._open(image.shape[1], image.shape[0])
            self._encode(image, stamp_s)
        except av.FFmpegError as error:
            if isinstance(error, OSError):
                raise
            raise OSError(f"{self.path}: the clip cannot be written: {error}") from error

    def _encode(self, image: np.ndarray, stamp_s: float | None) -> None:
        if stamp_s is None:
            self._tick += 1 if self._tick < 0 else self._ticks_a_frame
        else:
            self._tick = max(self._tick + 1, round(stamp_s / _TICK_S))
        frame = av.VideoFrame.from_ndarray(_fit(image, *self._size), format="rgb24")
        frame.pts, frame.time_base = self._tick, _TICK_S
        self._mux(frame)

    def _mux(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            packet.duration = self._ticks_a_frame  # counts for the last one: no other follows
            self._container.mux(packet)

    def _open(self, width: int, height: int) -> None:
        shrink = min(1.0, _MAX_SIDE / max(width, height))
        # The codec halves the colour planes.
        self._size = tuple(max(2, 2 * round(side * shrink / 2 + 0.25)) for side in (width, height))
        container = av.open(str(self.path.absolute()), "w")
        # No frame waits for later ones: long clips need no memory, and a slow one nothing to flush.
        stream = container.add_stream("h264", options={"preset": "veryfast", "tune": "zerolatency"})
        stream.width, stream.height = self._size
        stream.pix_fmt = "yuv420p"  # what every player shows
        stream.codec_context.time_base = _TICK_S
        self._container, self._stream = container, stream


def _fit(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """``image`` shrunk where it must be, and centred on black."""
    image = shrunk(image, min(width / image.shape[1], height / image.shape[0]))
    spare_x, spare_y = width - image.shape[1], height - image.shape[0]
    return cv2.copyMakeBorder(
        image,
        spare_y // 2,
        spare_y - spare_y // 2,
        spare_x // 2,
        spare_x - spare_x // 2,
        cv2.BORDER_CONSTANT,
    )
