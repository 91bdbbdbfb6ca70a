"""Conversion of deeper pixels to eight bits, by the white level of their stream."""

from __future__ import annotations

import numpy as np

from dhpe_ros.media.frames import RefusedError

_WHITES = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))  # of cameras


class WhiteLevel:
    """White level of one stream of pictures: 8, 10, 12, 14 or 16 bits, or 1.0 of float pictures.

    Neither files nor messages say how many of the 16 bits a camera uses. The level is the lowest
    that holds the brightest value so far. It never falls, so that the stream does not flicker. A
    new stream takes a new object.
    """

    def __init__(self) -> None:
        self._white = 0  # unknown

    def to_8_bit(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels of any shape as uint8: uint8 unchanged, uint16 and floats scaled to white.

        Floats with a mean of 1 or less have their white at 1, with highlights above it; others have
        the white of integers. Raises ``RefusedError`` for other types.
        """
        if pixels.dtype == np.uint8:
            return pixels
        if pixels.dtype.kind == "u" and pixels.dtype.itemsize == 2:
            self._raise_to(int(pixels.max(initial=0)))
            return (pixels >> (self._white.bit_length() - 8)).astype(np.uint8)
        if pixels.dtype.kind == "f":
            pixels = np.nan_to_num(pixels.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
            if pixels.size and pixels.mean() > 1:
                self._raise_to(float(pixels.max()))
            return (np.clip(pixels / (self._white or 1), 0, 1) * 255 + 0.5).astype(np.uint8)
        raise RefusedError(
            f"has pixels of type {pixels.dtype}; 8 and 16 bits and floats are supported"
        )

    def _raise_to(self, brightest: float) -> None:
        holds = (white for white in _WHITES if white >= brightest)
        self._white = max(self._white, next(holds, _WHITES[-1]))
