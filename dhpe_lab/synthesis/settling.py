"""Poses brought within the joints' limits, and fingers that meet pushed apart."""

from __future__ import annotations

import torch
from torch import Tensor

from dhpe_ros.hand.pose_prior import PoseSpace
from dhpe_ros.hand.rotations import rotation_from_axis_angle


def pose_from_angles(angles: Tensor, axes: Tensor) -> Tensor:
    """Inverse of ``PoseSpace.angles``, ``(B, 15, 3)``, for turns below half a revolution."""
    turns = rotation_from_axis_angle(angles[..., None] * axes)
    return _axis_angle(turns[..., 0, :, :] @ turns[..., 1, :, :] @ turns[..., 2, :, :])


def deepest_overlap_m(space: PoseSpace, pose: Tensor) -> Tensor:
    """``(B, 15, 3)`` axis-angle to ``(B,)``: metres, 0 where the hand is clear of itself."""
    return space.overlaps(pose).amax((1, 2))


@torch.enable_grad()
def settled(space: PoseSpace, pose: Tensor, steps: int = 40) -> tuple[Tensor, Tensor]:
    """Poses nearby that are a hand's: within the limits, apart to where fingers just meet.

    Returns ``(B, 15, 3)`` axis-angle and the remaining overlap, ``(B,)`` metres.
    """
    within = space.angles(pose.detach()).clamp(space.lower, space.upper)
    result = pose_from_angles(within, space.axes)
    rows = deepest_overlap_m(space, result).nonzero()[:, 0]
    angles = within[rows].requires_grad_(True)
    optimizer = torch.optim.Adam([angles], lr=0.02)
    for _ in range(steps if len(rows) else 0):
        stray = ((angles - within[rows]) ** 2).sum()
        value = space.penetration(pose_from_angles(angles, space.axes)).sum() + 0.02 * stray
        (angles.grad,) = torch.autograd.grad(value, angles)
        optimizer.step()
        with torch.no_grad():
            angles.clamp_(space.lower, space.upper)
    with torch.no_grad():
        result[rows] = _back_to_touch(space, angles, within[rows])
        return result, deepest_overlap_m(space, result)


def _back_to_touch(space: PoseSpace, apart: Tensor, wished: Tensor) -> Tensor:
    """Pose on the way from ``apart`` to ``wished`` where the fingers just meet, by bisection."""

    def pose(share: Tensor) -> Tensor:
        return pose_from_angles(torch.lerp(apart, wished, share[:, None, None]), space.axes)

    share = apart.new_zeros(len(apart))
    allowed = deepest_overlap_m(space, pose(share))
    for k in range(1, 7):
        further = share + 0.5**k
        share = torch.where(deepest_overlap_m(space, pose(further)) <= allowed, further, share)
    return pose(share)


def _axis_angle(rotation: Tensor) -> Tensor:
    """``(..., 3, 3)`` to ``(..., 3)`` for angles below pi; smooth and finite at zero."""
    across = rotation - rotation.mT
    vector = 0.5 * torch.stack((across[..., 2, 1], across[..., 0, 2], across[..., 1, 0]), -1)
    squared = (vector**2).sum(-1)
    small = squared < 1e-10
    sine = torch.where(small, torch.ones_like(squared), squared).sqrt()
    cosine = 0.5 * (rotation.diagonal(dim1=-2, dim2=-1).sum(-1) - 1)
    scale = torch.where(small, torch.ones_like(sine), torch.atan2(sine, cosine) / sine)
    return vector * scale[..., None]
