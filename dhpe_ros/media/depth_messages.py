"""Depth images of ROS to metres. Read by attribute only, so nothing of ROS is imported."""

from __future__ import annotations

from typing import Any

import numpy as np

from dhpe_ros.media.image_messages import UnknownEncodingError, checked_bytes

_SAMPLE = 1000  # pixels that tell the unit
_MILLIMETRES, _METRES = np.dtype(np.uint16), np.dtype(np.float32)
_SENSOR_RANGE_M = (0.05, 100.0)  # no depth camera measures nearer, or sees all beyond
_KINDS = {"16UC1": _MILLIMETRES, "mono16": _MILLIMETRES, "32FC1": _METRES}


def depth_to_metres(message: Any) -> np.ndarray:
    """``(H, W)`` float32 metres of a ``sensor_msgs/Image``, NaN where nothing was measured.

    16UC1 is millimetres, 32FC1 metres (REP 118); any ``step``, either endianness. Raises
    ``UnknownEncodingError``, or ``ValueError`` where size, step and data do not fit together, where
    no pixel has a depth, and where the unit is plainly that of the other encoding.
    """
    kind = _KINDS.get(message.encoding)
    if kind is None:
        raise UnknownEncodingError(
            f"depth has the encoding {message.encoding!r}; it must be 16UC1 (millimetres) or "
            "32FC1 (metres), as depth cameras publish it uncompressed"
        )
    raw = np.ndarray(
        (message.height, message.width),
        kind.newbyteorder(">" if message.is_bigendian else "<"),
        buffer=checked_bytes(message, kind.itemsize),
        strides=(message.step, kind.itemsize),
    )
    metres = raw.astype(np.float32)
    if kind is _MILLIMETRES:
        metres *= np.float32(1e-3)
    metres[~(metres > 0) | np.isinf(metres)] = np.nan
    _check_unit(metres, message.encoding, kind)
    return metres


def _check_unit(metres: np.ndarray, encoding: str, kind: np.dtype) -> None:
    measured = metres[np.isfinite(metres)]
    if not measured.size:
        raise ValueError(
            "no pixel of it has a depth, all are zero or not finite: uncover the depth camera, "
            "switch its emitter on, and keep its least distance"
        )
    near, far = np.percentile(measured[:: measured.size // _SAMPLE + 1], (10, 90))
    if kind is _MILLIMETRES and far < _SENSOR_RANGE_M[0]:
        raise ValueError(
            f"{encoding} is in millimetres, and it would all be within {far * 1e3:.0f} mm: are "
            "these metres? Publish millimetres, or metres as 32FC1"
        )
    if kind is _METRES and near > _SENSOR_RANGE_M[1]:
        raise ValueError(
            f"{encoding} is in metres, and it would all be beyond {near:.0f} m: are these "
            "millimetres? Publish metres, or millimetres as 16UC1"
        )
