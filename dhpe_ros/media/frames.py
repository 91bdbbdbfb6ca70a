"""Frames: the interface of every reader of pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from dhpe_ros.geometry.camera import Camera

RATES_HZ = (0.1, 1000.0)  # a rate that a file or camera claims outside of this is unknown


class MediaError(ValueError):
    """An input that cannot be read; the text names the input and the reason."""

    def __init__(self, path: str | Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")


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


def reason(error: OSError) -> str:
    """The system's description of an error, for a message."""
    return (error.strerror or str(error)).lower()


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
