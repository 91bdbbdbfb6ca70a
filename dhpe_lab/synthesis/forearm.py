"""A forearm for synthetic hands, so that no training picture ends at the wrist."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.spatial.transform import Rotation

RINGS = 8
_ANGLES_MAX = 0.8  # radians


@dataclass(frozen=True)
class Forearm:
    """A tube that starts at the hand's wrist loop; indices count on after the hand's vertices."""

    vertices_m: np.ndarray  # (rings * loop + 1, 3), the hand's frame; the last one closes the end
    triangles: np.ndarray  # (F, 3), the same for every forearm of a model
    sleeve: np.ndarray  # (rings * loop + 1,) bool: cloth instead of skin


def random_forearm(
    vertices_m: np.ndarray, wrist_loop: np.ndarray, rng: np.random.Generator
) -> Forearm:
    """Extrude the wrist of one hand (778, 3): bent at random, two in five in a sleeve."""
    length_m = rng.uniform(0.08, 0.25)
    bend = np.clip(rng.normal(0, (0.15, 0.2, 0.4)), -_ANGLES_MAX, _ANGLES_MAX)
    growth = rng.uniform(0.05, 0.35)
    sleeve_ring = rng.integers(1, RINGS) if rng.random() < 0.4 else None
    return _extruded(
        vertices_m, wrist_loop, length_m, bend, growth, sleeve_ring, rng.uniform(1.1, 1.5)
    )


def straight_forearm(vertices_m: np.ndarray, wrist_loop: np.ndarray) -> Forearm:
    """A forearm of common size without a sleeve, for a hand at rest."""
    return _extruded(vertices_m, wrist_loop, 0.2, np.zeros(3), 0.2)


def _extruded(
    vertices_m: np.ndarray,
    wrist_loop: np.ndarray,
    length_m: float,
    bend: np.ndarray,
    growth: float,
    sleeve_ring: int | None = None,
    sleeve_size: float = 1.0,
) -> Forearm:
    """Rings along +x, bent by (3,) radians about x, y, z and thicker by ``growth`` at the elbow.

    A sleeve begins with a second ring in the place of ring ``sleeve_ring``, ``sleeve_size`` times
    as wide. Without one the last ring is there twice: every forearm has the same triangles.
    """
    rings, loop_m = np.arange(RINGS), vertices_m[wrist_loop].astype(np.float64)
    doubled = rings >= (RINGS - 1 if sleeve_ring is None else sleeve_ring)
    place = rings + ~doubled  # 1..7, one number twice
    center = loop_m.mean(0)
    turn = Rotation.from_euler("xyz", bend * np.minimum(place / 3, 1.0)[:, None]).as_matrix()
    step = np.diff(place, prepend=0) * (length_m / (RINGS - 1))
    middle = center + (turn[..., 0] * step[:, None]).cumsum(0)
    cloth = doubled if sleeve_ring is not None else np.zeros(RINGS, bool)
    size = np.where(cloth, sleeve_size, 1.0) * (1 + growth * place / RINGS)
    around = (loop_m - center) @ turn.transpose(0, 2, 1) * size[:, None, None]
    tube = np.concatenate(((middle[:, None] + around).reshape(-1, 3), middle[-1:]))
    sleeve = np.append(np.repeat(cloth, len(loop_m)), cloth[-1])
    return Forearm(tube, _tube_triangles(vertices_m, np.asarray(wrist_loop)), sleeve)


def _tube_triangles(vertices_m: np.ndarray, loop: np.ndarray) -> np.ndarray:
    """(F, 3) between the rings, and over the far end, turned outward; of a hand (V, 3)."""
    first, count = len(vertices_m), len(loop)
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
