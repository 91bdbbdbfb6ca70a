"""What a hand is held to while it is refined: where the mesh network and a frame ago had it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from dhpe_ros.hand.kernels.prior_kernels import add_anchors
from dhpe_ros.hand.parameters import normalize_parameters
from dhpe_ros.types import PARAMETER_COUNT

# Of distances between two hands; pose and shape count in their standard deviations.
_TURN = 0.2  # of a quaternion, counts as one: 23 degrees
_SWIFT = 3.0  # so far apart two frames' hands have moved, and an estimate is wrong


@dataclass(frozen=True)
class Anchors:
    """Rotation, pose and shape of ``A`` other hands for each of ``B``.

    What holds a hand is the mean over the numbers of their squared difference ``d^2``, in common
    units. A difference much larger than ``_SWIFT`` is hardly held back:
    ``d^2 / (1 + d^2 / _SWIFT^2)``. Scale and shift are free, so that nothing lags in the image.
    """

    numbers: Tensor  # (A, B, 59), rotations of length one
    weights: Tensor  # (A, B, 1); zero where the other hand is not known
    units: Tensor  # (59,) what counts as one

    @staticmethod
    def of(others: Sequence[tuple[Tensor, float]], like: Tensor, theta_std: Tensor) -> Anchors:
        """Of parameters ``(B, 63)``, NaN where not known, and weights, for parameters ``like``."""
        units = torch.cat((theta_std.new_full((4,), _TURN), theta_std, theta_std.new_ones(10)))
        numbers = torch.stack([_numbers(other) for other, _ in others])
        known = [weight * other.isfinite().all(1, keepdim=True) for other, weight in others]
        return Anchors(numbers.nan_to_num(0.0), torch.stack(known).to(like.dtype), units)

    def distance(self, parameters: Tensor) -> Tensor:
        """``(B,)``: the distances from all, weighted and added."""
        squared = self._away(_numbers(parameters)) ** 2
        return (self.weights * squared / (1 + squared / _SWIFT**2)).mean(2).sum(0)

    def derivatives(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``distance``, its gradient ``(B, 63)`` and its curvature ``(B, 63, 63)``, on a CPU.

        The curvature is a diagonal, none of it below zero; all in float64.
        """
        rows = parameters.detach().double().contiguous()
        found = (rows.new_zeros(len(rows), *[PARAMETER_COUNT] * k) for k in range(3))
        values, gradients, curvatures = found
        out = values.numpy(), gradients.numpy(), curvatures.numpy()
        add_anchors(rows.numpy(), *self._arrays, _SWIFT, *out)
        return values, gradients, curvatures

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        """Numbers, weights and units as ``add_anchors`` wants them."""
        parts = self.numbers, self.weights[..., 0], self.units
        return tuple(part.double().contiguous().numpy() for part in parts)

    def _away(self, now: Tensor) -> Tensor:
        """``(A, B, 59)`` in common units; q and -q are the same rotation."""
        opposite = (now[:, :4] * self.numbers[..., :4]).sum(2, keepdim=True) < 0
        turn = now[:, :4] - torch.where(opposite, -1.0, 1.0) * self.numbers[..., :4]
        return torch.cat((turn, now[:, 4:] - self.numbers[..., 4:]), 2) / self.units


def _numbers(parameters: Tensor) -> Tensor:
    """``(B, 59)``: rotation of length one, pose and shape of ``(B, 63)``."""
    return normalize_parameters(parameters)[:, 4:]
