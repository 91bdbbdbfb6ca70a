"""A forearm for synthetic hands, so that no training picture ends at the wrist."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dhpe_ros.hand.rotations import rotation_from_axis_angle

RINGS = 8
_ANGLES_MAX = 0.8  # radians


class ForearmShapes(NamedTuple):
    """Poses of B forearms against their hands."""

    length_m: Tensor  # (B,)
    bend: Tensor  # (B, 3) radians about x (twist), y (sideways), z (flexion)
    growth: Tensor  # (B,) how much thicker towards the elbow
    sleeve_ring: Tensor  # (B,) int64 1..7: where the sleeve begins, if there is one
    sleeve_size: Tensor  # (B,) of its radius to the arm's; 1 where there is none

    @classmethod
    def random(cls, rng: np.random.Generator, count: int) -> ForearmShapes:
        """Bent at random, a little thicker towards the elbow, two in five in a sleeve."""
        rows = []
        for _ in range(count):
            length = rng.uniform(0.08, 0.25)
            bend = np.clip(rng.normal(0, (0.15, 0.2, 0.4)), -_ANGLES_MAX, _ANGLES_MAX)
            growth = rng.uniform(0.05, 0.35)
            sleeve_ring = rng.integers(1, RINGS) if rng.random() < 0.4 else RINGS
            sleeve_size = rng.uniform(1.1, 1.5)
            if sleeve_ring == RINGS:
                sleeve_ring, sleeve_size = RINGS - 1, 1.0
            rows.append((length, bend, growth, sleeve_ring, sleeve_size))
        columns = (torch.from_numpy(np.asarray(column)) for column in zip(*rows, strict=True))
        return cls(*columns)

    @classmethod
    def straight(cls) -> ForearmShapes:
        """One of common size without a sleeve."""
        one = torch.ones(1, dtype=torch.float64)
        ring = torch.tensor([RINGS - 1])
        return cls(0.2 * one, torch.zeros(1, 3, dtype=one.dtype), 0.2 * one, ring, one)

    @property
    def sleeved(self) -> Tensor:
        """(B,) bool."""
        return self.sleeve_size > 1.0


@dataclass(frozen=True)
class Forearm:
    """A tube that starts at the hand's wrist loop; indices count on after the hand's vertices."""

    vertices_m: np.ndarray  # (rings * loop + 1, 3), the hand's frame; the last one closes the end
    triangles: np.ndarray  # (F, 3), the same for every forearm of a model
    sleeve: np.ndarray  # (rings * loop + 1,) bool: cloth instead of skin


def random_forearm(
    vertices_m: np.ndarray, wrist_loop: np.ndarray, rng: np.random.Generator
) -> Forearm:
    """Extrude the wrist of one hand (778, 3)."""
    return _forearm(vertices_m, wrist_loop, ForearmShapes.random(rng, 1))


def straight_forearm(vertices_m: np.ndarray, wrist_loop: np.ndarray) -> Forearm:
    """A forearm of common size without a sleeve, for a hand at rest."""
    return _forearm(vertices_m, wrist_loop, ForearmShapes.straight())


def _forearm(vertices_m: np.ndarray, wrist_loop: np.ndarray, shape: ForearmShapes) -> Forearm:
    loop = np.asarray(wrist_loop)
    tube = extrude(torch.from_numpy(vertices_m)[None, loop].double(), shape)[0].numpy()
    first = int(shape.sleeve_ring[0]) if shape.sleeved[0] else RINGS
    return Forearm(tube, tube_triangles(vertices_m, loop), sleeve_vertices(first, len(loop)))


def extrude(loop_m: Tensor, shapes: ForearmShapes) -> Tensor:
    """Forearms (B, RINGS * L + 1, 3) of wrist loops (B, L, 3), in the hand's frame, metres.

    A sleeve begins with a second ring in the place of ring ``sleeve_ring``. Without a sleeve the
    last ring is there twice, so that every forearm has the same triangles.
    """
    rings = torch.arange(RINGS, device=loop_m.device)
    cloth = rings >= shapes.sleeve_ring[:, None]
    place = rings + ~cloth  # (B, RINGS) 1..7, one number twice
    center = loop_m.mean(1)
    bend = shapes.bend[:, None] * (place / 3).clamp(max=1.0)[..., None]
    turn = _rotation(bend)  # (B, RINGS, 3, 3)
    step = torch.diff(place, prepend=torch.zeros_like(place[:, :1]))
    step = step * shapes.length_m[:, None] / (RINGS - 1)
    # The forearm leaves the hand along +x.
    middle = center[:, None] + (turn[..., 0] * step[..., None]).cumsum(1)
    size = torch.where(cloth, shapes.sleeve_size[:, None], 1.0)
    size = size * (1 + shapes.growth[:, None] * place / RINGS)
    around = (loop_m - center[:, None])[:, None] @ turn.mT * size[..., None, None]
    return torch.cat(((middle[:, :, None] + around).flatten(1, 2), middle[:, -1:]), 1)


def sleeve_vertices(first: int, loop_length: int) -> np.ndarray:
    """(RINGS * loop + 1,) bool: what a sleeve covers that begins at ring ``first``."""
    cloth = np.arange(RINGS) >= first
    return np.append(np.repeat(cloth, loop_length), cloth[-1])


def tube_triangles(vertices_m: np.ndarray, wrist_loop: np.ndarray) -> np.ndarray:
    """(F, 3) between the rings, and over the far end, turned outward; of a hand (V, 3)."""
    loop, first, count = np.asarray(wrist_loop), len(vertices_m), len(wrist_loop)
    rows = [loop] + [first + k * count + np.arange(count) for k in range(RINGS)]
    triangles = []
    for near, far in pairwise(rows):
        near_next, far_next = np.roll(near, -1), np.roll(far, -1)
        triangles.append(np.stack((near, far, near_next), 1))
        triangles.append(np.stack((near_next, far, far_next), 1))
    end = np.full(count, first + RINGS * count)
    triangles = np.concatenate((*triangles, np.stack((far, end, far_next), 1)))
    along = np.array((1.0, 0.0, 0.0))
    a, b = (vertices_m[loop[k]] - vertices_m[loop].mean(0) for k in (0, 1))
    outward = np.dot(np.cross(along, b - a), a) > 0
    return triangles if outward else triangles[:, [0, 2, 1]]


def _rotation(angles: Tensor) -> Tensor:
    """(..., 3) radians about x, then y, then z, to (..., 3, 3)."""
    axes = torch.eye(3, dtype=angles.dtype, device=angles.device)
    about_x, about_y, about_z = rotation_from_axis_angle(angles[..., None] * axes).unbind(-3)
    return about_z @ about_y @ about_x
