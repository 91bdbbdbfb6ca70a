"""Vertex normals."""

import math

import numpy as np

from dhpe_ros.system.compiled import kernel


@kernel
def area_normals(vertices, triangles):
    """Unit vertex normals (V, 3), and a mark for each triangle that faces the viewer (F,) bool.

    A normal is the mean of the adjacent triangles' weighted by their areas, zero where there is no
    area. It points to the side from which the corners run counter-clockwise.
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
