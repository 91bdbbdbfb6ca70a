"""Pixels of more than eight bits as eight, by the white of the stream that they belong to."""

from __future__ import annotations

import numpy as np

_WHITES = tuple(2**bits - 1 for bits in (8, 10, 12, 14, 16))  # what cameras have


class WhiteLevel:
    """White of one stream of pictures: 8, 10, 12, 14 or 16 bits, or 1.0 of float pictures.

    Neither files nor messages say how many of their 16 bits a camera fills. It is the least that
    holds the brightest value of the stream so far. It never falls, so that a stream does not
    flicker by what is in the picture; a new stream begins with a new object.
    """

    def __init__(self) -> None:
        self._white = 0  # nothing is known

    def to_8_bit(self, pixels: np.ndarray) -> np.ndarray:
        """uint8 of pixels of any shape: uint8 as they are, uint16 or floats up to white.

        Floats that are 1 or less in the mean have their white at 1 and highlights above it; others
        have the white of integers. Raises ``ValueError`` for other types.
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
        raise ValueError(f"has pixels of type {pixels.dtype}; 8 and 16 bits and floats are read")

    def _raise_to(self, brightest: float) -> None:
        holds = (white for white in _WHITES if white >= brightest)
        self._white = max(self._white, next(holds, _WHITES[-1]))
