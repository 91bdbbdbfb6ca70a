"""Random numbers on a device that belong to an example, not to the batch or process it is in.

A counter-based generator (Salmon et al., Parallel Random Numbers: As Easy as 1, 2, 3, SC 2011): a
number is the hash of seed, example, call and element, by the finaliser of SplitMix64 (Steele et
al., Fast Splittable Pseudorandom Number Generators, OOPSLA 2014). The bits are the same on every
device.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

_ROW = 1024
_GOLDEN = 0x9E3779B97F4A7C15 - 2**64
_FACTORS = 0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64


class Draws:
    """Draws for B examples; every call draws anew, the first axis of a result is B."""

    def __init__(self, seed: int, numbers: Tensor) -> None:
        """``numbers`` (B,) int64: those of the examples, on the device of all results."""
        self._keys = _hashed(_hashed(torch.full_like(numbers, seed)) + numbers * _GOLDEN)
        self._hashes = 0  # of each example, so far
        self._row, self._used = torch.empty(len(numbers), 0, device=numbers.device), 0

    @property
    def device(self) -> torch.device:
        """Device of all results."""
        return self._keys.device

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """(B, *shape) float32 between ``low`` and ``high``, both excluded."""
        values = self._next(math.prod(shape)).reshape(-1, *shape)
        return values if (low, high) == (0.0, 1.0) else low + (high - low) * values

    def normal(self, *shape: int) -> Tensor:
        """(B, *shape) standard normal (Box and Muller)."""
        radius = (-2.0 * self.uniform(*shape).log()).sqrt()
        return radius * (2.0 * math.pi * self.uniform(*shape)).cos()

    def chance(self, share: float, *shape: int) -> Tensor:
        """(B, *shape) bool, true in ``share`` of the cases."""
        return self.uniform(*shape) < share

    def pick(self, count: int, *shape: int) -> Tensor:
        """(B, *shape) int64 from 0 to ``count`` - 1."""
        return (self.uniform(*shape) * count).long()

    def _next(self, count: int) -> Tensor:
        """(B, count) between 0 and 1; few at a time are taken from a row made at once.

        A GPU is asked for some twenty kernels for a row, however long it is.
        """
        if count > _ROW:
            return self._made(count)
        if self._used + count > self._row.shape[1]:
            self._row, self._used = self._made(_ROW), 0
        self._used += count
        return self._row[:, self._used - count : self._used]

    def _made(self, count: int) -> Tensor:
        self._hashes += count
        counters = torch.arange(self._hashes - count, self._hashes, device=self.device)
        bits = _hashed(self._keys[:, None] + (counters + 1) * _GOLDEN)
        return ((bits >> 41 & 0x7FFFFF).float() + 0.5) / 2**23


def _hashed(values: Tensor) -> Tensor:
    """SplitMix64's finaliser on int64, whose products wrap round."""
    for shift, factor in zip((30, 27), _FACTORS, strict=True):
        values = (values ^ _shifted(values, shift)) * factor
    return values ^ _shifted(values, 31)


def _shifted(values: Tensor, bits: int) -> Tensor:
    """To the right, zeros from the left."""
    return values >> bits & (1 << (64 - bits)) - 1
