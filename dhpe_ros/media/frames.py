"""Frames: the interface of every reader of pictures, with its bounds and errors."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from dhpe_ros.config import MediaConfig
from dhpe_ros.geometry.camera import Camera

MAX_MEGAPIXELS = MediaConfig.max_megapixels  # the default
RATES_HZ = (0.1, 1000.0)  # a rate that a file or camera claims outside of this is unknown

_PICTURES = {  # by their first bytes, also where they cannot be decoded
    rb"\xff\xd8\xff": "a damaged JPEG",
    rb"\x89PNG": "a damaged PNG",
    rb"II\*\x00|MM\x00\*": "a damaged TIFF",
    rb"....ftyp(hei[cx]|hev[cx]|mif1|msf1|avi[fs])": "HEIC or AVIF, damaged or without a decoder "
    "here: pip install pillow-heif, or convert it to JPEG",
}
_SIGNATURES = _PICTURES | {rb"%PDF": "a PDF", rb"[\t\n\r -\xff]*$": "it holds text"}


class MediaError(ValueError):
    """An input that cannot be read; the text names the input and the reason."""

    def __init__(self, path: str | Path, reason: str | Exception) -> None:
        if isinstance(reason, OSError):
            reason = (reason.strerror or str(reason)).lower()
        super().__init__(f"{path}: {reason}")


class RefusedError(ValueError):
    """A picture that is not taken; the text gives the reason."""


@dataclass(frozen=True)
class Frame:
    """One picture of an input."""

    image: np.ndarray  # (H, W, 3) uint8 RGB, upright
    name: str  # for messages: the file, with the frame's number where there are several
    index: int = 0
    stamp_s: float = 0.0  # seconds since the input's first frame
    camera: Camera | None = None  # of the input itself (a bag's camera_info)
    time_ns: int | None = None  # the camera's own stamp, else the time of recording, if known
    frame_id: str = ""  # the camera's optical frame, if known
    depth_m: np.ndarray | None = None  # (H, W) float32 along the optical axis, NaN where unknown


class Media(Protocol):
    """An input, read from its beginning each time; a camera, from now on."""

    name: str
    count: int | None  # of frames, as far as the input says; a video may be wrong
    rate_hz: float | None  # None where the input has none
    is_sequence: bool  # True: neighbouring frames show the same scene

    def frames(self) -> Iterator[Frame]:
        """The frames in order. Raises ``MediaError``."""
        ...


@contextmanager
def needs(package: str, path: str | Path) -> Iterator[None]:
    """Turn a failing import of a PyPI package into a ``MediaError`` with the remedy."""
    try:
        yield
    except ImportError as error:
        raise MediaError(
            path, f"needs the package {package} ({error}); install it with: pip install {package}"
        ) from error


def check_size(size: tuple[int, int], max_megapixels: float = MAX_MEGAPIXELS) -> None:
    """Raise ``RefusedError`` for a ``(width, height)`` without pixels, or above the limit."""
    width, height = size
    if width < 1 or height < 1:
        raise RefusedError(f"the picture is empty: {width} x {height} pixels")
    if width * height > max_megapixels * 1e6:
        raise RefusedError(
            f"{width} x {height} pixels are more than {max_megapixels:g} megapixels "
            "(setting media.max_megapixels)"
        )


def known_rate(rate_hz: float | Fraction | None) -> float | None:
    """The frame rate that an input claims; None where it cannot be."""
    return float(rate_hz) if rate_hz and RATES_HZ[0] < rate_hz <= RATES_HZ[1] else None


def looks_like(path: Path) -> str:
    """Description of an unreadable file by its first bytes, for an error message."""
    with path.open("rb") as file:
        head = file.read(64)
    found = (text for begin, text in _SIGNATURES.items() if re.match(begin, head, re.DOTALL))
    return next(found, "damaged, or of an unknown format")


def is_picture_signature(path: Path) -> bool:
    """True for the first bytes of a picture; it may be damaged, or its decoder missing."""
    return looks_like(path) in _PICTURES.values()


def turned(
    image: np.ndarray, *, transposed: bool, flip_rows: bool, flip_columns: bool
) -> np.ndarray:
    """``(H, W, ...)`` transposed, then with its rows or columns reversed."""
    image = image.swapaxes(0, 1) if transposed else image
    return image[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]


def shrunk(image: np.ndarray, scale: float) -> np.ndarray:
    """``(H, W, 3)`` made smaller; unchanged where ``scale`` is 1 or more."""
    if scale >= 1.0:
        return image
    size = (max(1, int(image.shape[1] * scale)), max(1, int(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)
