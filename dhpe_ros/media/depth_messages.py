"""Depth images of ROS to metres. Read by attribute only, so nothing of ROS is imported."""

from __future__ import annotations

from typing import Any

import numpy as np

from dhpe_ros.media.image_messages import UnknownEncodingError, checked_bytes

_MILLIMETRES, _METRES = np.dtype(np.uint16), np.dtype(np.float32)
_KINDS = {"16UC1": _MILLIMETRES, "mono16": _MILLIMETRES, "32FC1": _METRES}


def depth_to_metres(message: Any) -> np.ndarray:
    """``(H, W)`` float32 metres of a ``sensor_msgs/Image``, NaN where nothing was measured.

    16UC1 is millimetres, 32FC1 metres (REP 118); any ``step``, either endianness. Raises
    ``UnknownEncodingError``, or ``ValueError`` where size, step and data do not fit together.
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
    return metres
