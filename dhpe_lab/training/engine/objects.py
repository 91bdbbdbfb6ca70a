"""Things in the grasp: balls, boxes and rods, all of one mesh, placed between palm and fingers."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dhpe_lab.training.engine.draws import Draws
from dhpe_ros.hand.rotations import rotation_from_axis_angle

_CUTS = 4  # parts into which the edges of the cube are cut
_KNUCKLES, _TIPS = slice(5, None, 4), slice(8, None, 4)  # of the four fingers
_SKIN_M = 0.012  # from the joints of the palm to its skin
_KINDS = 3  # ball, box, rod


class HeldObjects(NamedTuple):
    """Objects in the hands of a batch, and their paint."""

    vertices_m: Tensor  # (B, W, 3) in the hand's frame; all at one point where nothing is held
    kind: Tensor  # (B,) int64: ball, box, rod
    colors: Tensor  # (B, 2, 3) linear RGB
    waves: Tensor  # (B, 4): stripes of the two colours, across a direction, and their phase
    gloss: Tensor  # (B,)


def unit_objects() -> tuple[np.ndarray, np.ndarray]:
    """Ball, box and rod (3, W, 3) within [-1, 1], and their triangles (F, 3), turned outward."""
    cube, triangles = _cube()
    ball = cube / np.linalg.norm(cube, axis=1, keepdims=True)
    box = 0.9 * cube + 0.1 * ball
    square, rod = np.abs(cube[:, 1:]).max(1), cube.copy()
    rod[:, 1:] *= (square / np.maximum(np.hypot(cube[:, 1], cube[:, 2]), 1e-9))[:, None]
    return np.stack((ball, box, rod)), triangles


def hold(joints_m: Tensor, shapes: Tensor, draws: Draws, share: float) -> HeldObjects:
    """Give ``share`` of the hands, by their joints (B, 21, 3), one of ``shapes`` (3, W, 3).

    As thick as a curled hand has room for; in an open hand of any size, on the palm. What is long
    lies across the palm.
    """
    wrist, knuckles = joints_m[:, 0], joints_m[:, _KNUCKLES].mean(1)
    down = torch.eye(3, device=draws.device)[1]  # the palm faces -y in the model's frame
    room = ((knuckles - joints_m[:, _TIPS].mean(1))[:, 1] - _SKIN_M).clamp(min=0.0)
    fitting = (0.5 * room).clamp(0.006, 0.04) * draws.uniform(low=0.7, high=1.2)
    radius = torch.where(room < 0.02, draws.uniform(low=0.006, high=0.045), fitting)
    kind = draws.pick(_KINDS)
    long = draws.uniform(low=0.04, high=0.14)
    stretch = draws.uniform(3, low=0.8, high=1.25)
    stretch[:, 0] *= torch.where(kind == 1, draws.uniform(low=1.0, high=2.5), 1.0)
    half_axes = radius[:, None] * stretch
    half_axes[:, 0] = torch.where(kind == 2, long, half_axes[:, 0])
    half_axes[:, 1:] *= torch.where(kind == 2, (0.02 / radius).clamp(max=1.0), 1.0)[:, None]
    tilt = 0.3 * draws.normal(3) + (math.pi / 2) * down
    turn = rotation_from_axis_angle(tilt)
    center = torch.lerp(knuckles, wrist, draws.uniform(low=-0.2, high=0.5)[:, None])
    center = center - down * (_SKIN_M + half_axes[:, 1:].amax(1))[:, None]
    center = center + turn[..., 0] * (half_axes[:, 0] * draws.uniform(low=-0.6, high=0.6))[:, None]
    vertices = center[:, None] + (shapes[kind] * half_axes[:, None]) @ turn.mT
    held = draws.chance(share)[:, None, None]
    return HeldObjects(
        torch.where(held, vertices, knuckles[:, None]),
        kind,
        torch.lerp(draws.uniform(2, 1), draws.uniform(2, 3), draws.uniform(2, 1)) ** 2,
        torch.cat((4.0 * draws.normal(3), 6.3 * draws.uniform(1)), 1),
        0.1 * draws.uniform(),
    )


def _cube() -> tuple[np.ndarray, np.ndarray]:
    """Vertices (W, 3) of the cube [-1, 1]^3 with its faces cut into squares, and triangles."""
    points, triangles = [], []
    steps = np.linspace(-1, 1, _CUTS + 1)
    u, v = (grid.ravel() for grid in np.meshgrid(steps, steps, indexing="ij"))
    index = np.arange(len(u)).reshape(_CUTS + 1, _CUTS + 1)
    a, b, c, d = (part.ravel() for part in (index[:-1, :-1], index[1:, :-1], index[:-1, 1:],
                                            index[1:, 1:]))  # fmt: skip
    squares = np.concatenate((np.stack((a, b, c), 1), np.stack((c, b, d), 1)))
    for axis in range(3):
        for side in (-1, 1):
            face = np.stack((np.full_like(u, side), u, v), 1)
            # Cyclic permutations keep u x v along the axis, which is outward on its far side.
            triangles.append((squares if side > 0 else squares[:, ::-1]) + len(points) * len(u))
            points.append(np.roll(face, axis, axis=1))
    corners, number = np.unique(np.concatenate(points).round(6), axis=0, return_inverse=True)
    return corners, number.reshape(-1)[np.concatenate(triangles)]
