"""Texture without an atlas: every triangle carries a grid of texels, shared along its edges.

The idea is that of mesh colours (Yuksel, Keyser, House, Mesh Colors, ACM TOG 2010): no seams, no
texture coordinates, and a neighbourhood on the surface for free.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch

from dhpe_ros.rendering.topology import topology_of
from dhpe_ros.system.compiled import kernel


class Texels(NamedTuple):
    """Places of the N texels of a mesh. The first V of them are its vertices.

    detail: R, the number of parts into which each edge is cut.
    corners: (F * R * R, 3) int32, the texels of the small triangles; those of triangle f begin at
        f * R * R, see `small_triangle`.
    vertices: (N, 3) int64, and weights: (N, 3) float64: a texel is that mixture of three vertices.
    """

    detail: int
    corners: np.ndarray
    vertices: np.ndarray
    weights: np.ndarray

    def spread(self, values: np.ndarray) -> np.ndarray:
        """Values (V, ...) of vertices interpolated at the texels, (N, ...)."""
        return np.einsum("nk,nk...->n...", self.weights, np.asarray(values)[self.vertices])


def texels_of(triangles: torch.Tensor | np.ndarray, vertex_count: int, detail: int) -> Texels:
    """Texels of a mesh (F, 3), cached by its content; `ValueError` as `topology_of`."""
    if detail < 1:
        raise ValueError(f"detail must be at least 1, got {detail}")
    topology = topology_of(triangles, vertex_count)
    return _cached(topology.triangles.tobytes(), vertex_count, detail)


@kernel
def small_triangle(u, v, detail):
    """Index of the small triangle at the barycentric point (u, v, 1 - u - v), and weights there.

    In units of 1 / detail, the upright triangle at (i, j) is (i + 1, j), (i, j + 1), (i, j); the
    one turned over, at (i, j), is (i, j + 1), (i + 1, j), (i + 1, j + 1). Upright ones fill one
    half of a square table, and the others, counted from its end, exactly the other half.
    """
    x, y = u * detail, v * detail
    i, j = min(int(x), detail - 1), min(int(y), detail - 1)
    if i + j >= detail:  # rounding, on the edge opposite the third corner
        i, j = (i - 1, j) if x - i < y - j else (i, j - 1)
    x, y = x - i, y - j
    if x + y <= 1.0 or i + j == detail - 1:
        return i * detail + j, x, y, 1.0 - x - y
    return (detail - 1 - i) * detail + (detail - 1 - j), 1.0 - x, 1.0 - y, x + y - 1.0


@lru_cache(maxsize=16)
def _cached(content: bytes, vertex_count: int, detail: int) -> Texels:
    triangles = np.frombuffer(content, np.int64).reshape(-1, 3)
    topology = topology_of(triangles, vertex_count)
    inner = len(triangles) * ((detail - 1) * (detail - 2) // 2)
    count = vertex_count + len(topology.edges) * (detail - 1) + inner
    grid = {
        (i, j): _numbers(topology, vertex_count, detail, i, j)
        for i in range(detail + 1)
        for j in range(detail + 1 - i)
    }
    vertices, weights = np.zeros((count, 3), np.int64), np.zeros((count, 3))
    vertices[:vertex_count] = np.arange(vertex_count)[:, None]
    weights[:vertex_count, 0] = 1.0
    for (i, j), numbers in grid.items():
        vertices[numbers] = triangles
        weights[numbers] = np.array((i, j, detail - i - j)) / detail
    corners = np.empty((len(triangles), detail * detail, 3), np.int32)
    for i in range(detail):
        for j in range(detail - i):
            upright = grid[i + 1, j], grid[i, j + 1], grid[i, j]
            corners[:, i * detail + j] = np.stack(upright, 1)
            if i + j < detail - 1:
                over = grid[i, j + 1], grid[i + 1, j], grid[i + 1, j + 1]
                index = (detail - 1 - i) * detail + (detail - 1 - j)
                corners[:, index] = np.stack(over, 1)
    return Texels(detail, corners.reshape(-1, 3), vertices, weights)


def _numbers(topology, vertex_count, detail, i, j) -> np.ndarray:
    """(F,) numbers of the texels at (i, j, detail - i - j) / detail of every triangle."""
    k = detail - i - j
    triangles, per_edge = topology.triangles, detail - 1
    for corner, amount in enumerate((i, j, k)):
        if amount == detail:
            return triangles[:, corner]
    for edge, (absent, end) in enumerate(((k, j), (i, k), (j, i))):  # edges 0-1, 1-2, 2-0
        if absent == 0:
            forward = topology.triangle_edge_signs[:, edge] > 0
            along = np.where(forward, end, detail - end)  # steps from the smaller vertex index
            return vertex_count + topology.triangle_edges[:, edge] * per_edge + along - 1
    inner = (detail - 1) * (detail - 2) // 2
    first = vertex_count + len(topology.edges) * per_edge
    # Row i holds the inner texels j = 1 .. detail - i - 1.
    place = sum(detail - row - 1 for row in range(1, i)) + j - 1
    return first + np.arange(len(triangles)) * inner + place
