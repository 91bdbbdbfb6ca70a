"""ROS image messages as arrays: colour to uint8 RGB, depth to metres, and pixels back to messages.

Decoded by numpy and OpenCV: ``cv_bridge`` takes a wrong ``step`` for another size, and breaks with
NumPy 2 on many machines. Encodings that are unknown here go through it where a ROS installation has
it. Messages are read by attribute only, so nothing else of ROS is imported.
"""

from __future__ import annotations

import logging
import sys
from array import array
from functools import cache
from typing import Any

import cv2
import numpy as np

from dhpe_ros.media.frames import MAX_MEGAPIXELS, check_size
from dhpe_ros.media.pictures import check_encoded
from dhpe_ros.media.white_level import WhiteLevel

# Encoding -> channels, and OpenCV's conversion to RGB where it is not RGB already. Names end in the
# bits of a channel. OpenCV names a Bayer pattern by its second row, second column; ROS by the first
# row.
_COLOURS: dict[str, tuple[int, int | None]] = {
    "rgb8": (3, None),
    "bgr8": (3, cv2.COLOR_BGR2RGB),
    "8UC3": (3, cv2.COLOR_BGR2RGB),
    "rgba8": (4, cv2.COLOR_RGBA2RGB),
    "bgra8": (4, cv2.COLOR_BGRA2RGB),
    "8UC4": (4, cv2.COLOR_BGRA2RGB),
    "mono8": (1, cv2.COLOR_GRAY2RGB),
    "8UC1": (1, cv2.COLOR_GRAY2RGB),
    "mono16": (1, cv2.COLOR_GRAY2RGB),
    "rgb16": (3, None),
    "bgr16": (3, cv2.COLOR_BGR2RGB),
    "yuv422": (2, cv2.COLOR_YUV2RGB_UYVY),
    "uyvy": (2, cv2.COLOR_YUV2RGB_UYVY),
    "yuv422_yuy2": (2, cv2.COLOR_YUV2RGB_YUY2),
    "yuyv": (2, cv2.COLOR_YUV2RGB_YUY2),
} | {
    f"bayer_{pattern}{bits}": (1, code)
    for pattern, code in (
        ("rggb", cv2.COLOR_BayerBG2RGB),
        ("bggr", cv2.COLOR_BayerRG2RGB),
        ("gbrg", cv2.COLOR_BayerGR2RGB),
        ("grbg", cv2.COLOR_BayerGB2RGB),
    )
    for bits in (8, 16)
}
ENCODINGS = tuple(_COLOURS)

_log = logging.getLogger(__name__)
_SAMPLE = 1000  # pixels that the unit is checked on
_SENSOR_RANGE_M = (0.05, 100.0)  # no depth camera sees everything nearer or farther
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
    encoding = message.encoding
    if encoding in ("16UC1", "32FC1"):
        raise UnknownEncodingError(
            f"encoding {encoding!r} is a depth image; give the colour image's topic as 'image'"
        )
    if encoding not in _COLOURS:
        return _by_cv_bridge(message, max_megapixels)
    channels, to_rgb = _COLOURS[encoding]
    pixels = _pixels(message, "u2" if encoding.endswith("16") else "u1", channels)
    height, width = pixels.shape[:2]
    check_size((width, height), max_megapixels)
    if channels == 2 and width % 2:
        raise ValueError(f"{encoding} needs an even width, got {width}")
    if encoding.startswith("bayer") and min(height, width) < 2:
        raise ValueError(f"{encoding} needs at least 2x2 pixels, got {width}x{height}")
    pixels = np.ascontiguousarray((white or WhiteLevel()).to_8_bit(pixels))
    return pixels if to_rgb is None else cv2.cvtColor(pixels, to_rgb)


def _by_cv_bridge(message: Any, max_megapixels: float) -> np.ndarray:
    """Convert an encoding that only ``cv_bridge`` may know, such as rgba16."""
    reason = ""
    bridge = _cv_bridge()
    if bridge is not None:
        check_size((message.width, message.height), max_megapixels)
        try:
            rgb: np.ndarray = bridge.imgmsg_to_cv2(message, "rgb8")
            if rgb.shape == (message.height, message.width, 3):
                return rgb
            reason = f"step {message.step} does not fit {message.width} pixels"
        except Exception as error:  # its own is a TypeError; OpenCV's and NumPy's come through
            reason = str(error).strip().partition("\n")[0]
        reason = f", and cv_bridge cannot convert it ({reason})"
    raise UnknownEncodingError(
        f"encoding {message.encoding!r} is unknown{reason}; known are {', '.join(ENCODINGS)}. "
        "Set the camera driver to one of them, or convert with image_proc"
    )


@cache
def _cv_bridge() -> Any:
    """The ``CvBridge`` of the ROS installation; None where it has none that works.

    PyPI has a package of that name, of ROS 1, which fails with today's NumPy and OpenCV. It is not
    in ROS's index.
    """
    try:
        from ament_index_python.packages import get_package_prefix

        get_package_prefix("cv_bridge")
    except (ImportError, LookupError, OSError):  # no ROS; not installed; no environment of ROS
        return None
    try:
        from cv_bridge import CvBridge

        bridge = CvBridge()
        bridge.encoding_to_cvtype2("rgba16")  # loads its compiled half, made for one NumPy
    except Exception as error:
        _log.warning(
            "cv_bridge cannot be loaded (%s): encodings that only it knows are refused. It needs "
            "the NumPy of its distribution",
            error,
        )
        return None
    return bridge


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
    encoding = message.encoding
    if encoding not in ("16UC1", "mono16", "32FC1"):
        raise UnknownEncodingError(
            f"depth has the encoding {encoding!r}; it must be 16UC1 (millimetres) or "
            "32FC1 (metres), as depth cameras publish it uncompressed"
        )
    in_metres = encoding == "32FC1"
    metres = _pixels(message, "f4" if in_metres else "u2", 1).astype(np.float32)
    if not in_metres:
        metres *= np.float32(1e-3)
    metres[~(metres > 0) | np.isinf(metres)] = np.nan
    measured = metres[np.isfinite(metres)]
    if not measured.size:
        raise ValueError(
            "no pixel has a depth, all are zero or not finite: uncover the depth camera, switch "
            "its emitter on, and keep its minimum distance"
        )
    near, far = np.percentile(measured[:: measured.size // _SAMPLE + 1], (10, 90))
    if not in_metres and far < _SENSOR_RANGE_M[0]:
        raise ValueError(
            f"{encoding} is in millimetres, and everything would be within {far * 1e3:.0f} mm: "
            "are these metres? Publish millimetres, or metres as 32FC1"
        )
    if in_metres and near > _SENSOR_RANGE_M[1]:
        raise ValueError(
            f"{encoding} is in metres, and everything would be beyond {near:.0f} m: are these "
            "millimetres? Publish metres, or millimetres as 16UC1"
        )
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


def _pixels(message: Any, kind: str, channels: int) -> np.ndarray:
    """``(H, W)`` or ``(H, W, C)`` view into the bytes of a ``sensor_msgs/Image``.

    ``kind`` is the type without byte order. Raises ``ValueError`` where the bytes are fewer than
    size and step need.
    """
    height, width, step = message.height, message.width, message.step
    if height == 0 or width == 0:
        raise ValueError(f"the image is empty: {width}x{height} pixels")
    dtype = np.dtype(kind).newbyteorder(">" if message.is_bigendian else "<")
    row_bytes = width * channels * dtype.itemsize
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
    strides = (step, channels * dtype.itemsize, dtype.itemsize)
    pixels: np.ndarray = np.ndarray((height, width, channels), dtype, data, strides=strides)
    return pixels[..., 0] if channels == 1 else pixels
