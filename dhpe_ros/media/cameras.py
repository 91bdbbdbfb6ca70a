"""Cameras of this machine, read by OpenCV."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import cv2

from dhpe_ros.media.frames import Frame, MediaError, known_rate


class CameraDevice:
    """A V4L2 camera, ``/dev/video*``; frames are stamped when they arrive."""

    is_sequence = True
    count: int | None = None

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        capture = self._open()
        self.rate_hz = known_rate(capture.get(cv2.CAP_PROP_FPS))
        capture.release()

    def frames(self) -> Iterator[Frame]:
        capture = self._open()
        index, started = 0, 0.0
        try:
            while (read := capture.read())[0]:
                now = time.monotonic()
                started = started if index else now
                rgb = cv2.cvtColor(read[1], cv2.COLOR_BGR2RGB)
                yield Frame(rgb, f"{self.name} frame {index}", index, now - started)
                index += 1
        finally:
            capture.release()
        raise MediaError(self.name, f"the camera stopped after {index} frames")

    def _open(self) -> cv2.VideoCapture:
        set_log_level = getattr(cv2, "setLogLevel", lambda level: level)  # not in OpenCV 4.5
        level = set_log_level(0)  # OpenCV's own lines do not name the camera
        capture = cv2.VideoCapture(self.name, cv2.CAP_V4L2)
        set_log_level(level)
        if not capture.isOpened():
            raise MediaError(self.name, "the camera cannot be opened; is another program using it?")
        return capture
