"""ROS image messages as arrays: colour to uint8 RGB, depth to metres, and pixels back to messages.

Decoded by numpy and OpenCV: ``cv_bridge`` ignores ``is_bigendian``, and breaks with NumPy 2 on many
machines. Messages are read by attribute only, so nothing of ROS is imported.
"""

from __future__ import annotations

import sys
from array import array
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np

from dhpe_ros.media.frames import MAX_MEGAPIXELS, check_size
from dhpe_ros.media.pictures import check_encoded
from dhpe_ros.media.white_level import WhiteLevel


@dataclass(frozen=True)
class _Layout:
    """Layout of one encoding: ``channels`` of ``depth`` bytes, with the conversion to RGB."""

    channels: int
    depth: int = 1
    to_rgb: int | None = None  # OpenCV's colour conversion; None: it is RGB already
    bayer: bool = False


# OpenCV names a Bayer pattern by its second row, second column; ROS by the first row.
_BAYER = {
    "rggb": cv2.COLOR_BayerBG2RGB,
    "bggr": cv2.COLOR_BayerRG2RGB,
    "gbrg": cv2.COLOR_BayerGR2RGB,
    "grbg": cv2.COLOR_BayerGB2RGB,
}

_LAYOUTS = {
    "rgb8": _Layout(3),
    "bgr8": _Layout(3, to_rgb=cv2.COLOR_BGR2RGB),
    "8UC3": _Layout(3, to_rgb=cv2.COLOR_BGR2RGB),
    "rgba8": _Layout(4, to_rgb=cv2.COLOR_RGBA2RGB),
    "bgra8": _Layout(4, to_rgb=cv2.COLOR_BGRA2RGB),
    "8UC4": _Layout(4, to_rgb=cv2.COLOR_BGRA2RGB),
    "mono8": _Layout(1, to_rgb=cv2.COLOR_GRAY2RGB),
    "8UC1": _Layout(1, to_rgb=cv2.COLOR_GRAY2RGB),
    "mono16": _Layout(1, depth=2, to_rgb=cv2.COLOR_GRAY2RGB),
    "rgb16": _Layout(3, depth=2),
    "bgr16": _Layout(3, depth=2, to_rgb=cv2.COLOR_BGR2RGB),
    "yuv422": _Layout(2, to_rgb=cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": _Layout(2, to_rgb=cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": _Layout(2, to_rgb=cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": _Layout(2, to_rgb=cv2.COLOR_YUV2RGB_YUY2),
} | {
    f"bayer_{pattern}{8 * depth}": _Layout(1, depth, code, bayer=True)
    for pattern, code in _BAYER.items()
    for depth in (1, 2)
}

ENCODINGS = tuple(_LAYOUTS)

_SAMPLE = 1000  # pixels that the unit is checked on
_MILLIMETRES, _METRES = np.dtype(np.uint16), np.dtype(np.float32)
_SENSOR_RANGE_M = (0.05, 100.0)  # no depth camera sees everything nearer or farther
_DEPTH_TYPES: dict[str, np.dtype] = {
    "16UC1": _MILLIMETRES,
    "mono16": _MILLIMETRES,
    "32FC1": _METRES,
}

_AS_STORED = cv2.IMREAD_COLOR | cv2.IMREAD_ANYDEPTH | cv2.IMREAD_IGNORE_ORIENTATION


class UnknownEncodingError(ValueError):
    """An encoding without a decoder; the message lists the known ones."""


def image_to_rgb(
    message: Any, max_megapixels: float = MAX_MEGAPIXELS, white: WhiteLevel | None = None
) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB of a ``sensor_msgs/Image``; any ``step``, either endianness.

    16-bit channels are scaled by ``white``, the level of their stream, else by their own. The
    result may share memory with the message. Raises ``UnknownEncodingError``, or ``ValueError``
    where size, step and data do not fit together or the image is larger than ``max_megapixels``.
    """
    layout = _LAYOUTS.get(message.encoding)
    if layout is None:
        raise UnknownEncodingError(_unknown_encoding(message.encoding))
    pixels = _pixels(message, layout)
    height, width = pixels.shape[:2]
    check_size((width, height), max_megapixels)
    if layout.channels == 2 and width % 2:
        raise ValueError(f"{message.encoding} needs an even width, got {width}")
    if layout.bayer and min(height, width) < 2:
        raise ValueError(f"{message.encoding} needs at least 2x2 pixels, got {width}x{height}")
    pixels = np.ascontiguousarray((white or WhiteLevel()).to_8_bit(pixels))
    return pixels if layout.to_rgb is None else cv2.cvtColor(pixels, layout.to_rgb)


def compressed_to_rgb(
    message: Any, max_megapixels: float = MAX_MEGAPIXELS, white: WhiteLevel | None = None
) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB of a ``sensor_msgs/CompressedImage``: a JPEG, a PNG or a WebP.

    Its first bytes decide on the format, not the field ``format``. The EXIF orientation is ignored:
    the intrinsics belong to the pixels as stored. 16 bits are scaled as in ``image_to_rgb``. Raises
    ``ValueError``, before decoding, for other data and for more than ``max_megapixels``.
    """
    if "compressedDepth" in message.format:
        raise UnknownEncodingError(
            "this compressed topic carries depth (compressedDepth); give the colour image's topic"
        )
    data = np.frombuffer(message.data, np.uint8)
    about = f"a compressed image of {data.size} bytes (format {message.format!r})"
    try:
        check_encoded(data.tobytes(), max_megapixels)
    except ValueError as error:
        raise ValueError(f"{about} is refused: {error}") from None
    try:
        bgr = cv2.imdecode(data, _AS_STORED)
    except (cv2.error, MemoryError):
        bgr = None
    if bgr is None:
        raise ValueError(f"{about} cannot be decoded: damaged, or cut off on the way")
    return cv2.cvtColor((white or WhiteLevel()).to_8_bit(bgr), cv2.COLOR_BGR2RGB)


def depth_to_metres(message: Any) -> np.ndarray:
    """``(H, W)`` float32 metres of a ``sensor_msgs/Image``, NaN where nothing was measured.

    16UC1 is millimetres, 32FC1 metres (REP 118); any ``step``, either endianness. Raises
    ``UnknownEncodingError``, or ``ValueError`` where size, step and data do not fit together, no
    pixel has a depth, or the unit is plainly that of the other encoding.
    """
    kind = _DEPTH_TYPES.get(message.encoding)
    if kind is None:
        raise UnknownEncodingError(
            f"depth has the encoding {message.encoding!r}; it must be 16UC1 (millimetres) or "
            "32FC1 (metres), as depth cameras publish it uncompressed"
        )
    raw: np.ndarray = np.ndarray(
        (message.height, message.width),
        kind.newbyteorder(">" if message.is_bigendian else "<"),
        buffer=_checked_bytes(message, kind.itemsize),
        strides=(message.step, kind.itemsize),
    )
    metres = raw.astype(np.float32)
    if kind is _MILLIMETRES:
        metres *= np.float32(1e-3)
    metres[~(metres > 0) | np.isinf(metres)] = np.nan
    _check_unit(metres, message.encoding, kind)
    return metres


def fill_image(message: Any, pixels: np.ndarray, encoding: str) -> Any:
    """Write ``(H, W)`` or ``(H, W, C)`` pixels into a ``sensor_msgs/Image``; returns it.

    They must have the type of ``encoding``, in this machine's byte order.
    """
    pixels = np.ascontiguousarray(pixels)
    message.height, message.width = pixels.shape[:2]
    message.encoding = encoding
    message.is_bigendian = sys.byteorder == "big"
    message.step = pixels.nbytes // max(pixels.shape[0], 1)
    data = array("B")
    data.frombytes(pixels.data.cast("B"))
    message.data = data
    return message


def stamp_ns(stamp: Any) -> int | None:
    """Nanoseconds of a ``builtin_interfaces/Time``; None for zero, which means not set."""
    return stamp.sec * 10**9 + stamp.nanosec or None


def _checked_bytes(message: Any, pixel_bytes: int) -> np.ndarray:
    """The data of a ``sensor_msgs/Image`` as uint8.

    Raises ``ValueError`` where they are fewer than size and step need.
    """
    height, width, step = message.height, message.width, message.step
    if height == 0 or width == 0:
        raise ValueError(f"the image is empty: {width}x{height} pixels")
    row_bytes = width * pixel_bytes
    if step < row_bytes:
        raise ValueError(
            f"step {step} is too small for {width} pixels of {message.encoding}: "
            f"at least {row_bytes}"
        )
    data = np.frombuffer(message.data, np.uint8)
    needed = step * (height - 1) + row_bytes
    if data.size < needed:
        raise ValueError(
            f"{data.size} bytes of data are too few for {width}x{height} {message.encoding} "
            f"with step {step}: at least {needed}"
        )
    return data


def _pixels(message: Any, layout: _Layout) -> np.ndarray:
    """``(H, W)`` or ``(H, W, C)`` view of uint8 or uint16 into the message's bytes."""
    pixel_bytes = layout.channels * layout.depth
    data = _checked_bytes(message, pixel_bytes)
    pixels: np.ndarray = np.ndarray(
        (message.height, message.width, layout.channels),
        f"{'>' if message.is_bigendian else '<'}u{layout.depth}",
        buffer=data,
        strides=(message.step, pixel_bytes, layout.depth),
    )
    return pixels[..., 0] if layout.channels == 1 else pixels


def _unknown_encoding(encoding: str) -> str:
    if encoding in ("16UC1", "32FC1"):
        return f"encoding {encoding!r} is a depth image; give the colour image's topic as 'image'"
    return (
        f"encoding {encoding!r} is unknown; known are {', '.join(ENCODINGS)}. "
        "Set the camera driver to one of them, or convert with image_proc"
    )


def _check_unit(metres: np.ndarray, encoding: str, kind: np.dtype) -> None:
    measured = metres[np.isfinite(metres)]
    if not measured.size:
        raise ValueError(
            "no pixel has a depth, all are zero or not finite: uncover the depth camera, switch "
            "its emitter on, and keep its minimum distance"
        )
    near, far = np.percentile(measured[:: measured.size // _SAMPLE + 1], (10, 90))
    if kind is _MILLIMETRES and far < _SENSOR_RANGE_M[0]:
        raise ValueError(
            f"{encoding} is in millimetres, and everything would be within {far * 1e3:.0f} mm: "
            "are these metres? Publish millimetres, or metres as 32FC1"
        )
    if kind is _METRES and near > _SENSOR_RANGE_M[1]:
        raise ValueError(
            f"{encoding} is in metres, and everything would be beyond {near:.0f} m: are these "
            "millimetres? Publish metres, or millimetres as 16UC1"
        )
