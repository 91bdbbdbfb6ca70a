"""Picture files and folders of them, as upright RGB of eight bits whatever they hold."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from dhpe_ros.media.frames import Frame, MediaError, reason
from dhpe_ros.media.suffixes import BAG_SUFFIXES, IMAGE_SUFFIXES, VIDEO_SUFFIXES


def list_folder(folder: Path) -> list[Path]:
    """The images and videos of a folder, itself only; ``2.png`` comes before ``10.png``.

    Raises ``MediaError`` when there are none.
    """
    known = IMAGE_SUFFIXES | VIDEO_SUFFIXES | BAG_SUFFIXES
    try:
        entries = [path for path in folder.iterdir() if path.is_file()]
    except OSError as error:
        raise MediaError(folder, reason(error)) from error
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


def read_image(path: str | Path) -> np.ndarray:
    """The picture in a file as upright ``(H, W, 3)`` uint8 RGB. Raises ``MediaError``.

    EXIF orientation is honoured; grey, CMYK, 16-bit and float pictures are converted; transparent
    ones are laid over mid-grey.
    """
    try:
        data = np.frombuffer(Path(path).read_bytes(), np.uint8)
    except OSError as error:
        raise MediaError(path, reason(error)) from error
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


def _natural(path: Path) -> list[tuple[int, int | str]]:
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]
