"""The 63 numbers of one hand: ``[s (1), t (3), q (4: w x y z), theta (45), beta (10)]``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from dhpe_ros.types import PARAMETER_COUNT

START_SCALE = 7.5  # crop half-sides per metre: a hand of 0.19 m fills 70 % of the crop
LEAST_SCALE = 0.5
BOUND = 5.0  # standard deviations beyond which no pose component and no shape goes
_SIZES = (1, 3, 4, 45, 10)
_QUATERNION_STD = 0.2  # between two hands: 23 degrees
_CAMERA_SCALES = (1.0, 0.1, 0.1, 1e-3, 0.2, 0.2, 0.2, 0.2)  # of scale, translation, quaternion


@dataclass(frozen=True)
class HandParameters:
    """Named views into ``(B, 63)``."""

    scale: Tensor  # (B, 1) crop half-sides per metre
    translation: Tensor  # (B, 3) crop coordinates
    rotation: Tensor  # (B, 4) quaternion w x y z, not zero, any length
    pose: Tensor  # (B, 45) components of the hand model
    shape: Tensor  # (B, 10)

    @staticmethod
    def split(vector: Tensor) -> HandParameters:
        """Views into ``vector``; raises ``ValueError`` if it is not ``(B, 63)``."""
        if vector.ndim != 2 or vector.shape[1] != PARAMETER_COUNT:
            raise ValueError(f"hand parameters must be (B, 63), got {tuple(vector.shape)}")
        return HandParameters(*vector.split(_SIZES, dim=1))

    def join(self) -> Tensor:
        """Concatenate to ``(B, 63)``."""
        parts = (self.scale, self.translation, self.rotation, self.pose, self.shape)
        return torch.cat(parts, dim=1)

    @staticmethod
    def start(batch: int, device: torch.device | str = "cpu") -> Tensor:
        """h(0), ``(B, 63)``: mean pose and shape, no rotation, centred."""
        vector = torch.zeros(batch, PARAMETER_COUNT, dtype=torch.float32, device=device)
        vector[:, 0] = START_SCALE
        vector[:, 4] = 1.0
        return vector


def normalize_parameters(vector: Tensor) -> Tensor:
    """``(B, 63)`` with a unit quaternion and a scale that is a scale (at least 0.5)."""
    p = HandParameters.split(vector)
    upright = torch.eye(1, 4, dtype=vector.dtype, device=vector.device)  # made where it is used
    scale, rotation = p.scale.clamp(min=LEAST_SCALE), _of_length_one(p.rotation, upright)
    return torch.cat((scale, p.translation, rotation, p.pose, p.shape), dim=1)


class Bounds(NamedTuple):
    """Bounds of the 63 numbers, and the quaternion that replaces one without direction."""

    lowest: Tensor  # (63,)
    highest: Tensor  # (63,)
    upright: Tensor  # (4,)

    @staticmethod
    def of(theta_std: Tensor) -> Bounds:
        """Pose and shape within 5 standard deviations of their means, a scale of at least 0.5."""
        highest = torch.cat((theta_std.new_full((8,), torch.inf), BOUND * theta_std))
        highest = torch.cat((highest, theta_std.new_full((10,), BOUND)))
        lowest = -highest
        lowest[0] = LEAST_SCALE
        return Bounds(lowest, highest, torch.eye(1, 4).to(theta_std)[0])

    def bring(self, vector: Tensor) -> Tensor:
        """``(B, 63)`` brought within, its quaternions to length one."""
        within = vector.clamp(self.lowest, self.highest)
        within[:, 4:8] = _of_length_one(within[:, 4:8], self.upright)
        return within


def _of_length_one(rotation: Tensor, upright: Tensor) -> Tensor:
    length = rotation.norm(dim=1, keepdim=True)
    return torch.where(length > 1e-6, rotation / length.clamp(min=1e-6), upright)


def deviations_between(theta_std: Tensor) -> Tensor:
    """``(59,)``: common differences of rotation, pose and shape of two hands."""
    rotation = theta_std.new_full((4,), _QUATERNION_STD)
    return torch.cat((rotation, theta_std, theta_std.new_ones(10)))


def step_scales(theta_std: Tensor) -> Tensor:
    """``(63,)``: common difference of each number from where a fit begins."""
    return torch.cat((theta_std.new_tensor(_CAMERA_SCALES), theta_std, theta_std.new_ones(10)))
