"""A forearm for synthetic hands, so that no training picture ends at the wrist."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

_RINGS = 7


@dataclass(frozen=True)
class Forearm:
    """A tube that starts at the hand's wrist loop; indices count on after the hand's vertices."""

    vertices_m: np.ndarray  # (rings * loop, 3), the hand's frame
    triangles: np.ndarray  # (F, 3)
    sleeve: np.ndarray  # (rings * loop,) bool: cloth instead of skin


def random_forearm(
    vertices_m: np.ndarray, wrist_loop: np.ndarray, rng: np.random.Generator
) -> Forearm:
    """Extrude the wrist: bent at random, a little thicker towards the elbow, maybe in a sleeve."""
    loop = vertices_m[wrist_loop]
    center = loop.mean(0)
    radius = loop - center
    length = rng.uniform(0.08, 0.25)
    bend = rng.normal(0, (0.15, 0.25, 0.45))  # radians about x (twist), y (sideways), z (flexion)
    growth = rng.uniform(0.0, 0.35)
    sleeve_from = rng.integers(1, _RINGS + 1) if rng.random() < 0.4 else _RINGS + 1
    sleeve_size = rng.uniform(1.1, 1.5)
    rings, sleeve, middle = [], [], center
    for k in range(1, _RINGS + 1):
        turn = _rotation(bend * min(1.0, k / 3))
        middle = middle + turn @ np.array((length / _RINGS, 0.0, 0.0))
        clothed = k >= sleeve_from
        size = (1 + growth * k / _RINGS) * (sleeve_size if clothed else 1.0)
        rings.append(middle + radius @ turn.T * size)
        sleeve.append(np.full(len(loop), clothed))
    triangles = _tube(np.asarray(wrist_loop), len(vertices_m), vertices_m, center)
    return Forearm(np.concatenate(rings), triangles, np.concatenate(sleeve))


def _tube(loop: np.ndarray, first: int, vertices_m: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Triangles between the rings, turned outward."""
    count = len(loop)
    rows = [loop] + [first + k * count + np.arange(count) for k in range(_RINGS)]
    triangles = []
    for near, far in pairwise(rows):
        near_next, far_next = np.roll(near, -1), np.roll(far, -1)
        triangles.append(np.stack((near, far, near_next), 1))
        triangles.append(np.stack((near_next, far, far_next), 1))
    triangles = np.concatenate(triangles)
    along = np.array((1.0, 0.0, 0.0))  # the forearm leaves the hand along +x
    a, b = vertices_m[loop[0]] - center, vertices_m[loop[1]] - center
    outward = np.dot(np.cross(along, b - a), a) > 0
    return triangles if outward else triangles[:, [0, 2, 1]]


def _rotation(angles: np.ndarray) -> np.ndarray:
    """Rotation about x, then y, then z; radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array(((1, 0, 0), (0, cx, -sx), (0, sx, cx)))
    about_y = np.array(((cy, 0, sy), (0, 1, 0), (-sy, 0, cy)))
    about_z = np.array(((cz, -sz, 0), (sz, cz, 0), (0, 0, 1)))
    return about_z @ about_y @ about_x
