"""Video files and cameras."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2

from dhpe_ros.media.frames import Frame, MediaError
from dhpe_ros.media.pictures import to_rgb8

_log = logging.getLogger(__name__)


class VideoFile:
    """A video file or a camera device; turned upright where the file says how it was held."""

    is_sequence = True

    def __init__(self, path: Path, *, is_camera: bool = False) -> None:
        self.path = path
        self.name = str(path)
        self.is_camera = is_camera
        capture = self._open()
        count = int(capture.get(cv2.CAP_PROP_FRAME_COUNT))
        rate_hz = capture.get(cv2.CAP_PROP_FPS)
        capture.release()
        self.count = None if is_camera or count <= 0 else count
        self.rate_hz = rate_hz if 0.1 < rate_hz <= 1000 else None

    def frames(self) -> Iterator[Frame]:
        capture = self._open()
        index = 0
        try:
            while True:
                stamp_s = self._stamp_s(capture, index)
                ok, image = capture.read()
                if not ok:
                    break
                name = f"{self.name} frame {index}"
                yield Frame(to_rgb8(image, self.name), name, index, stamp_s)
                index += 1
        finally:
            capture.release()
        if index == 0:
            raise MediaError(self.name, "no frame of it can be decoded")
        if self.is_camera:
            raise MediaError(self.name, f"the camera stopped after {index} frames")
        if self.count and index < 0.9 * self.count:
            _log.warning("%s: ends after %d of %d frames", self.name, index, self.count)

    def _stamp_s(self, capture: cv2.VideoCapture, index: int) -> float:
        return index / self.rate_hz if self.rate_hz else capture.get(cv2.CAP_PROP_POS_MSEC) / 1000

    def _open(self) -> cv2.VideoCapture:
        backend = cv2.CAP_V4L2 if self.is_camera else cv2.CAP_FFMPEG
        with _quiet_opencv():
            capture = cv2.VideoCapture(self.name, backend)
        if capture.isOpened():
            return capture
        if self.is_camera:
            raise MediaError(self.name, "the camera cannot be opened; is another program using it?")
        empty = self.path.stat().st_size == 0
        raise MediaError(self.name, "is empty" if empty else "is not a video that can be decoded")


@contextmanager
def _quiet_opencv() -> Iterator[None]:
    """Keep OpenCV and FFmpeg from writing lines of their own, which name no file."""
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    if not hasattr(cv2, "setLogLevel"):  # not in every version
        yield
        return
    level = cv2.setLogLevel(0)
    try:
        yield
    finally:
        cv2.setLogLevel(level)
