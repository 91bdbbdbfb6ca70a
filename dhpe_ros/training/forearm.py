"""A forearm for synthetic hands, so that no training picture ends at the wrist."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np

_RINGS = 8


@dataclass(frozen=True)
class Forearm:
    """A tube that starts at the hand's wrist loop; indices count on after the hand's vertices."""

    vertices_m: np.ndarray  # (rings * loop + 1, 3), the hand's frame; the last one closes the end
    triangles: np.ndarray  # (F, 3), the same for every forearm of a model
    sleeve: np.ndarray  # (rings * loop + 1,) bool: cloth instead of skin


def random_forearm(
    vertices_m: np.ndarray, wrist_loop: np.ndarray, rng: np.random.Generator
) -> Forearm:
    """Extrude the wrist: bent at random, a little thicker towards the elbow, maybe in a sleeve."""
    return _forearm(
        vertices_m,
        wrist_loop,
        length=rng.uniform(0.08, 0.25),
        # radians about x (twist), y (sideways), z (flexion)
        bend=np.clip(rng.normal(0, (0.15, 0.2, 0.4)), -0.8, 0.8),
        growth=rng.uniform(0.05, 0.35),
        sleeve_from=rng.integers(1, _RINGS) if rng.random() < 0.4 else _RINGS,
        sleeve_size=rng.uniform(1.1, 1.5),
    )


def straight_forearm(vertices_m: np.ndarray, wrist_loop: np.ndarray) -> Forearm:
    """A forearm of common size without a sleeve, for a hand at rest."""
    return _forearm(vertices_m, wrist_loop, 0.2, np.zeros(3), 0.2, _RINGS, 1.0)


def _forearm(vertices_m, wrist_loop, length, bend, growth, sleeve_from, sleeve_size) -> Forearm:
    """Rings along the arm; a sleeve begins with a second ring in the place of ring `sleeve_from`.

    Without a sleeve the last ring is there twice, so that every forearm has the same triangles.
    """
    skin = [(k, 1.0) for k in range(1, _RINGS) if k <= sleeve_from]
    cloth = [(k, sleeve_size) for k in range(1, _RINGS) if k >= sleeve_from]
    if not cloth:
        skin.append(skin[-1])
    loop = vertices_m[wrist_loop]
    center = loop.mean(0)
    rings, middle, last = [], center, 0
    for k, size in skin + cloth:
        turn = _rotation(bend * min(1.0, k / 3))
        step = (k - last) * length / (_RINGS - 1)
        middle, last = middle + turn @ np.array((step, 0.0, 0.0)), k
        rings.append(middle + (loop - center) @ turn.T * (1 + growth * k / _RINGS) * size)
    sleeve = np.repeat([False, True], [len(skin), len(cloth)])
    return Forearm(
        np.concatenate((*rings, middle[None])),
        _tube(np.asarray(wrist_loop), len(vertices_m), vertices_m, center),
        np.append(np.repeat(sleeve, len(loop)), sleeve[-1]),
    )


def _tube(loop: np.ndarray, first: int, vertices_m: np.ndarray, center: np.ndarray) -> np.ndarray:
    """Triangles between the rings, and over the far end, turned outward."""
    count = len(loop)
    rows = [loop] + [first + k * count + np.arange(count) for k in range(_RINGS)]
    triangles = []
    for near, far in pairwise(rows):
        near_next, far_next = np.roll(near, -1), np.roll(far, -1)
        triangles.append(np.stack((near, far, near_next), 1))
        triangles.append(np.stack((near_next, far, far_next), 1))
    end = np.full(count, first + _RINGS * count)
    triangles = np.concatenate((*triangles, np.stack((far, end, far_next), 1)))
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
