"""Pictures from wherever users keep them: image files, folders, videos, cameras, rosbag2.

``open_media(path)`` gives a ``Media``: a name, a count and frame rate where they are known, and
``frames()``. Every frame is an upright ``(H, W, 3)`` uint8 RGB image. Whatever cannot be read is a
``MediaError`` whose text names the file and the reason.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from dhpe_ros.camera import Camera

# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".bmp", ".jpeg", ".jpg", ".jp2", ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff",
    ".webp",
))
VIDEO_SUFFIXES = frozenset((
    ".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ogv", ".ts", ".webm", ".wmv",
))
# fmt: on
BAG_SUFFIXES = frozenset((".mcap", ".db3"))
BAG_METADATA = "metadata.yaml"

_log = logging.getLogger(__name__)


class MediaError(ValueError):
    """An input that cannot be read; the text names it and says why."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")


@dataclass(frozen=True)
class Frame:
    """One picture of an input."""

    image: np.ndarray  # (H, W, 3) uint8 RGB, upright
    name: str  # for messages: the file, and the frame number where there are several
    index: int = 0
    stamp_s: float = 0.0  # seconds since the input's first frame
    camera: Camera | None = None  # where the input itself says (a bag's camera_info)


class Media(Protocol):
    """An input that can be read from its beginning, as often as wanted (a camera: from now on)."""

    name: str
    count: int | None  # frames, None where nobody knows; a video's own claim may be off
    rate_hz: float | None  # None: no rate of its own
    is_sequence: bool  # True: neighbouring frames show the same scene

    def frames(self) -> Iterator[Frame]:
        """The frames in order. Raises ``MediaError``."""
        ...


def open_media(path: str | Path, topic: str = "") -> Media:
    """The reader that suits ``path``. Raises ``MediaError`` where there is nothing to read.

    ``topic`` picks the image topic of a recording; empty lets the recording decide.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise MediaError(path, _reason(error)) from error
    if stat.S_ISDIR(mode):
        return _open_bag(path, topic) if is_bag(path) else ImageFolder(path)
    if stat.S_ISCHR(mode):
        return VideoFile(path, is_camera=True)
    if not stat.S_ISREG(mode):
        raise MediaError(path, "is neither a file, a folder nor a camera")
    if is_bag(path):
        return _open_bag(path, topic)
    return VideoFile(path) if path.suffix.lower() in VIDEO_SUFFIXES else ImageFile(path)


def is_bag(path: Path) -> bool:
    """Whether ``path`` is a rosbag2 recording, by its name and the files beside it."""
    return (path / BAG_METADATA).is_file() or path.suffix.lower() in BAG_SUFFIXES


def list_folder(folder: Path) -> list[Path]:
    """The images and videos of a folder, itself only; ``2.png`` comes before ``10.png``.

    Raises ``MediaError`` when there are none.
    """
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES | BAG_SUFFIXES
    try:
        entries = [path for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise MediaError(folder, _reason(error)) from error
    found = [p for p in entries if p.suffix.lower() in known and not p.name.startswith(".")]
    if not found:
        raise MediaError(folder, "the folder holds no images or videos (sub-folders are not read)")
    return sorted(found, key=_natural)


class ImageFile:
    """A single picture."""

    count = 1
    rate_hz = None
    is_sequence = False

    def __init__(self, path: Path) -> None:
        self.path = path
        self.name = str(path)

    def frames(self) -> Iterator[Frame]:
        yield Frame(read_image(self.path), self.name)


class ImageFolder:
    """The pictures of a folder, one after the other; videos in it are left out."""

    rate_hz = None
    is_sequence = True

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._paths = [p for p in list_folder(path) if p.suffix.lower() in IMAGE_SUFFIXES]
        if not self._paths:
            raise MediaError(path, "the folder holds no images")
        self.count = len(self._paths)

    def frames(self) -> Iterator[Frame]:
        for index, path in enumerate(self._paths):
            yield Frame(read_image(path), str(path), index)


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


def read_image(path: str | Path) -> np.ndarray:
    """The picture in a file as upright ``(H, W, 3)`` uint8 RGB. Raises ``MediaError``.

    EXIF orientation is honoured; grey, CMYK, 16-bit and float pictures are converted; transparent
    ones are laid over mid-grey.
    """
    try:
        data = np.frombuffer(Path(path).read_bytes(), np.uint8)
    except OSError as error:
        raise MediaError(path, _reason(error)) from error
    if data.size == 0:
        raise MediaError(path, "is empty")
    try:
        return to_rgb8(_decode(data, path), path)
    except (cv2.error, MemoryError) as error:
        raise MediaError(path, "is too large to be decoded") from error


def _decode(data: np.ndarray, path: str | Path) -> np.ndarray:
    image = cv2.imdecode(data, cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH)
    if image is None:
        raise MediaError(path, f"is not a picture that can be decoded ({_looks_like(data)})")
    if data[:2].tobytes() == b"\xff\xd8":
        return image
    # Only the undecorated read keeps alpha, and only the other one turns the picture upright.
    plain = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    return plain if plain is not None and plain.ndim == 3 and plain.shape[2] == 4 else image


def _looks_like(data: np.ndarray) -> str:
    """What the first bytes say, for the message."""
    head = data[:64].tobytes()
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"mif1", b"avif"):
        return "HEIC or AVIF; convert it to JPEG or PNG"
    signatures = {b"\xff\xd8": "a damaged JPEG", b"\x89PNG": "a damaged PNG", b"%PDF": "a PDF"}
    for signature, meaning in signatures.items():
        if head.startswith(signature):
            return meaning
    is_text = all(byte >= 32 or byte in b"\t\n\r" for byte in head)
    return "it holds text" if is_text else "damaged, or of an unknown format"


def to_rgb8(image: np.ndarray, name: str | Path = "image") -> np.ndarray:
    """OpenCV's grey, BGR or BGRA picture of any depth as ``(H, W, 3)`` uint8 RGB.

    Raises ``MediaError`` for anything else.
    """
    image = _to_8_bit(image, name)
    if image.ndim == 2 or image.shape[2] == 1:
        return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB)
    if image.shape[2] == 3:
        return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    if image.shape[2] == 4:
        return _over_grey(cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA))
    raise MediaError(name, f"has {image.shape[2]} channels; 1, 3 or 4 are understood")


def _to_8_bit(image: np.ndarray, name: str | Path) -> np.ndarray:
    if image.dtype == np.uint8:
        return image
    if image.dtype == np.uint16:
        # Cameras store 10, 12 or 14 bits in 16: the brightest pixel tells how many.
        bits = max(8, int(image.max()).bit_length())
        return (image >> (bits + bits % 2 - 8)).astype(np.uint8)
    if np.issubdtype(image.dtype, np.floating):
        unit = np.clip(np.nan_to_num(image.astype(np.float32)), 0.0, 1.0)
        return (unit * 255 + 0.5).astype(np.uint8)
    raise MediaError(name, f"has pixels of type {image.dtype}; 8 and 16 bits are understood")


def _over_grey(rgba: np.ndarray) -> np.ndarray:
    alpha = rgba[..., 3:].astype(np.uint16)
    return ((rgba[..., :3] * alpha + 128 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _open_bag(path: Path, topic: str) -> Media:
    # Here, because it is a layer above this one, and its package is optional.
    from dhpe_ros.ros.bag_images import BagImages

    return BagImages(path, topic)


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


def _natural(path: Path) -> list[tuple[int, int | str]]:
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]


def _reason(error: OSError) -> str:
    return (error.strerror or str(error)).lower()
