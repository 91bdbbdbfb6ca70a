"""Depth to which a posed hand passes through itself, measured on its mesh.

The hand falls into six parts by its skinning weights: the palm (with the ball of the thumb) and the
five fingers. Skin of a finger is *inside* another part where the generalized winding number of that
part's triangles (Jacobson, Kavan, Sorkine-Hornung, SIGGRAPH 2013) exceeds a half, which needs no
closed surface; how deep it lies is its distance to the part's skin. Creases of one joint do not
count, they are skin on skin of neighbouring bones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import prange

from dhpe_ros.system.compiled import kernel

VISIBLE_M = 3e-3
"""Soft tissue gives way by a few millimetres when fingers touch; deeper than this looks wrong."""

_PALM_BONES = (0, 13)  # wrist and the metacarpal of the thumb


@dataclass(frozen=True)
class HandParts:
    """Pairs of parts to test; made once per hand model by :func:`hand_parts`."""

    triangles: np.ndarray  # (F, 3) int64
    part_of_triangle: np.ndarray  # (F,) 0 palm, 1..5 fingers in MANO's order
    bone_of_vertex: np.ndarray  # (V,) 0..15, the strongest skinning weight
    tested: np.ndarray  # (16, 6) bool: skin of this bone may not enter this part


def hand_parts(triangles: np.ndarray, weights: np.ndarray) -> HandParts:
    """Cut a MANO-format hand into palm and fingers.

    Args:
        triangles: (F, 3) integers. weights: (V, 16) skinning weights.
    """
    bone = weights.argmax(axis=1)
    part_of_bone = np.array([0] + [1 + (b - 1) // 3 for b in range(1, 16)])
    part_of_bone[list(_PALM_BONES)] = 0
    # A triangle belongs to the most distal of its corners' bones, so that fingers end at the web.
    parts = part_of_bone[bone[triangles]].max(axis=1)
    tested = part_of_bone[:, None] != np.arange(6)
    tested[list(_PALM_BONES)] = False  # the fingers' skin is asked, not the palm's
    tested[[1, 4, 7, 10, 14], 0] = False  # next to the palm
    return HandParts(np.ascontiguousarray(triangles, np.int64), parts, bone, tested)


def penetration_depths(vertices: np.ndarray, parts: HandParts) -> np.ndarray:
    """Depth of each bone's skin in another part of the hand, at its deepest vertex.

    Args:
        vertices: (B, V, 3) metres.

    Returns:
        (B, 16, 6) metres: bone, part that it has entered (0 palm, 1..5 fingers); 0 outside.
    """
    return _depths(
        np.ascontiguousarray(vertices, np.float64),
        parts.triangles,
        parts.part_of_triangle,
        parts.bone_of_vertex,
        parts.tested,
    )


@kernel(parallel=True)
def _depths(vertices, triangles, part_of_triangle, bone_of_vertex, tested):
    depths = np.zeros((len(vertices), 16, 6))
    for hand in prange(len(vertices)):
        points = vertices[hand]
        low, high = np.full((6, 3), np.inf), np.full((6, 3), -np.inf)
        for f in range(len(triangles)):
            part = part_of_triangle[f]
            for corner in triangles[f]:
                for k in range(3):
                    low[part, k] = min(low[part, k], points[corner, k])
                    high[part, k] = max(high[part, k], points[corner, k])
        for v in range(len(points)):
            bone = bone_of_vertex[v]
            for part in range(6):
                if tested[bone, part] and _within(points[v], low[part], high[part]):
                    depth = _depth(points, v, triangles, part_of_triangle, part)
                    depths[hand, bone, part] = max(depths[hand, bone, part], depth)
    return depths


@kernel
def _within(point, low, high):
    inside = True
    for k in range(3):
        inside = inside and low[k] <= point[k] <= high[k]
    return inside


@kernel
def _depth(points, vertex, triangles, part_of_triangle, part):
    """Distance of a vertex to the part's surface if it is inside of it, else 0."""
    point = _at(points, vertex)
    winding = 0.0
    for f in range(len(triangles)):
        if part_of_triangle[f] == part:
            i, j, k = triangles[f]
            a, b, c = _at(points, i), _at(points, j), _at(points, k)
            winding += _solid_angle(_sub(a, point), _sub(b, point), _sub(c, point))
    if winding < 2 * np.pi:
        return 0.0
    nearest = np.inf
    for f in range(len(triangles)):
        if part_of_triangle[f] == part:
            i, j, k = triangles[f]
            nearest = min(
                nearest, _distance2(point, _at(points, i), _at(points, j), _at(points, k))
            )
    return np.sqrt(nearest)


# Vectors as tuples: arrays of three would be allocated one by one, and numba's `@` needs scipy.
@kernel
def _at(points, i):
    return points[i, 0], points[i, 1], points[i, 2]


@kernel
def _sub(a, b):
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@kernel
def _dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@kernel
def _cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@kernel
def _solid_angle(a, b, c):
    """Signed solid angle of a triangle from the origin (van Oosterom and Strackee 1983)."""
    la, lb, lc = np.sqrt(_dot(a, a)), np.sqrt(_dot(b, b)), np.sqrt(_dot(c, c))
    below = la * lb * lc + _dot(a, b) * lc + _dot(b, c) * la + _dot(c, a) * lb
    return 2 * np.arctan2(_dot(a, _cross(b, c)), below)


@kernel
def _distance2(p, a, b, c):
    """Squared distance of a point to a triangle."""
    normal = _cross(_sub(b, a), _sub(c, a))
    inside = _dot(normal, normal) > 0.0
    nearest = np.inf
    for start, stop in ((a, b), (b, c), (c, a)):
        along, offset = _sub(stop, start), _sub(p, start)
        inside = inside and _dot(_cross(along, offset), normal) >= 0.0
        t = min(max(_dot(offset, along) / max(_dot(along, along), 1e-30), 0.0), 1.0)
        gap = _sub(offset, (t * along[0], t * along[1], t * along[2]))
        nearest = min(nearest, _dot(gap, gap))
    if inside:
        return _dot(_sub(p, a), normal) ** 2 / _dot(normal, normal)
    return nearest


@kernel
def intersecting_pairs(vertices: np.ndarray, triangles: np.ndarray) -> int:
    """Number of pairs of triangles that cross each other and share no corner.

    Args:
        vertices: (V, 3) float64. triangles: (F, 3) integers.
    """
    low, high = np.empty((len(triangles), 3)), np.empty((len(triangles), 3))
    for f in range(len(triangles)):
        for k in range(3):
            values = [vertices[corner, k] for corner in triangles[f]]
            low[f, k], high[f, k] = min(values), max(values)
    count = 0
    for f in range(len(triangles)):
        for g in range(f + 1, len(triangles)):
            if _apart(low[f], high[f], low[g], high[g]):
                continue
            if not _share_a_corner(triangles[f], triangles[g]) and (
                _an_edge_pierces(vertices, triangles[f], triangles[g])
                or _an_edge_pierces(vertices, triangles[g], triangles[f])
            ):
                count += 1
    return count


@kernel
def _apart(low, high, other_low, other_high):
    apart = False
    for k in range(3):
        apart = apart or low[k] > other_high[k] or other_low[k] > high[k]
    return apart


@kernel
def _share_a_corner(first, second):
    for i in first:
        for j in second:
            if i == j:
                return True
    return False


@kernel
def _an_edge_pierces(points, edges, triangle):
    """True where an edge of one triangle passes through the other (Moller and Trumbore 1997)."""
    a = _at(points, triangle[0])
    u, v = _sub(_at(points, triangle[1]), a), _sub(_at(points, triangle[2]), a)
    for k in range(3):
        start = _at(points, edges[k])
        along = _sub(_at(points, edges[(k + 1) % 3]), start)
        across = _cross(along, v)
        determinant = _dot(u, across)
        if determinant == 0.0:
            continue
        offset = _sub(start, a)
        turned = _cross(offset, u)
        x, y = _dot(offset, across) / determinant, _dot(along, turned) / determinant
        if x >= 0.0 and y >= 0.0 and x + y <= 1.0 and 0.0 <= _dot(v, turned) / determinant <= 1.0:
            return True
    return False
