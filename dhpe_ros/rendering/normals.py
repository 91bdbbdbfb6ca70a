"""Vertex normals: differentiable ones, and a kernel for NumPy arrays."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from dhpe_ros.system.compiled import kernel


def vertex_normals(vertices: Tensor, triangles: Tensor | np.ndarray) -> Tensor:
    """Unit normals, the mean of the adjacent triangles' weighted by their areas.

    Args:
        vertices: (B, V, 3), any unit.
        triangles: (F, 3) integers. Normals point to the side from which the corners run
            counter-clockwise, in a right-handed frame.

    Returns:
        (B, V, 3), type and device of `vertices`. Zero, with a zero gradient, at a vertex without
        area.
    """
    if vertices.ndim != 3 or vertices.shape[2] != 3:
        raise ValueError(f"vertices must have shape (B, V, 3), got {tuple(vertices.shape)}")
    triangles = torch.as_tensor(triangles, dtype=torch.long, device=vertices.device)
    a, b, c = vertices[:, triangles].unbind(dim=2)
    areas = torch.linalg.cross(b - a, c - a)  # twice the area, along the normal
    sums = torch.zeros_like(vertices)
    sums = sums.index_add(1, triangles.T.reshape(-1), areas.repeat(1, 3, 1))
    return torch.nn.functional.normalize(sums, dim=-1, eps=torch.finfo(sums.dtype).tiny)


@kernel
def area_normals(vertices, triangles):
    """Unit vertex normals (V, 3) weighted by area, zero where there is none; see `vertex_normals`.

    Also whether each triangle turns its outer side to the viewer, (F,) bool.
    """
    normals = np.zeros(vertices.shape)
    outer = np.zeros(triangles.shape[0], dtype=np.bool_)
    for f in range(triangles.shape[0]):
        a, b, c = triangles[f]
        ux, uy, uz = _difference(vertices, b, a)
        vx, vy, vz = _difference(vertices, c, a)
        nx, ny, nz = uy * vz - uz * vy, uz * vx - ux * vz, ux * vy - uy * vx
        outer[f] = nz < 0.0
        if math.isfinite(nx + ny + nz):
            for k in range(3):
                v = triangles[f, k]
                normals[v, 0] += nx
                normals[v, 1] += ny
                normals[v, 2] += nz
    for v in range(vertices.shape[0]):
        x, y, z = normals[v]
        length = math.sqrt(x * x + y * y + z * z)
        if length > 0.0:
            normals[v, 0], normals[v, 1], normals[v, 2] = x / length, y / length, z / length
    return normals, outer


@kernel
def _difference(vertices, b, a):
    return (
        vertices[b, 0] - vertices[a, 0],
        vertices[b, 1] - vertices[a, 1],
        vertices[b, 2] - vertices[a, 2],
    )
