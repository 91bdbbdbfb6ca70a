"""Writing video clips."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

DEFAULT_RATE_HZ = 15.0


class ClipWriter:
    """An MPEG-4 clip that takes its size from the first frame; later frames are fitted into it.

    Use it as a context manager. A clip without frames leaves no file.
    """

    def __init__(self, path: str | Path, rate_hz: float | None = None) -> None:
        self.path = Path(path)
        self._rate_hz = rate_hz or DEFAULT_RATE_HZ
        self._size: tuple[int, int] = (0, 0)
        self._writer: cv2.VideoWriter | None = None

    def __enter__(self) -> ClipWriter:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            self._writer.release()

    def write(self, image: np.ndarray) -> None:
        """Append ``(H, W, 3)`` uint8 RGB. Raises ``OSError`` when the file cannot be made."""
        if self._writer is None:
            self._writer = self._open(image.shape[1], image.shape[0])
        self._writer.write(_fit(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), *self._size))

    def _open(self, width: int, height: int) -> cv2.VideoWriter:
        self._size = (width + width % 2, height + height % 2)  # the codec halves the colour planes
        fourcc = cv2.VideoWriter_fourcc(*"mp4v")  # the one that OpenCV's packages can always write
        writer = cv2.VideoWriter(str(self.path), fourcc, self._rate_hz, self._size)
        if not writer.isOpened():
            raise OSError(f"{self.path}: the clip cannot be written")
        return writer


def _fit(image: np.ndarray, width: int, height: int) -> np.ndarray:
    """``image`` shrunk where it must be, and centred on black."""
    scale = min(width / image.shape[1], height / image.shape[0], 1.0)
    if scale < 1.0:
        size = (max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale)))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    spare_x, spare_y = width - image.shape[1], height - image.shape[0]
    return cv2.copyMakeBorder(
        image,
        spare_y // 2,
        spare_y - spare_y // 2,
        spare_x // 2,
        spare_x - spare_x // 2,
        cv2.BORDER_CONSTANT,
    )
