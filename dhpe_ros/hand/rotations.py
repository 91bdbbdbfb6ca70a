"""Rotation matrices in plain torch, batched and differentiable."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

_TINY = 1e-16  # radians squared, added to a squared angle so that none is zero


def rotation_from_axis_angle(vector: Tensor) -> Tensor:
    """``(..., 3)`` to ``(..., 3, 3)``; smooth and finite at zero.

    By way of the half angle, it is as exact for small angles as for others.
    """
    angle = ((vector * vector).sum(-1, keepdim=True) + _TINY).sqrt()
    half = 0.5 * angle
    return _rotation_from_unit_quaternion(half.cos(), vector * (half.sin() / angle))


def rotation_from_quaternion(quaternion: Tensor) -> Tensor:
    """``(..., 4)`` w x y z, of any length, to ``(..., 3, 3)``; below 1e-6 it nears the identity."""
    unit = functional.normalize(quaternion, dim=-1, eps=1e-6)
    return _rotation_from_unit_quaternion(*unit.split((1, 3), -1))


def _rotation_from_unit_quaternion(w: Tensor, axis: Tensor) -> Tensor:
    """``(..., 1)`` and ``(..., 3)`` to ``I + 2 w [u] + 2 [u]^2``."""
    identity = torch.eye(3, dtype=axis.dtype, device=axis.device).expand(*axis.shape, 3)
    cross = torch.linalg.cross(identity, axis[..., None, :])  # row i: e_i x u
    return torch.add(identity, cross @ (w[..., None] * identity + cross), alpha=2)
