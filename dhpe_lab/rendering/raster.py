"""The z-buffer of a mesh with barycentric coordinates."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from torch import Tensor

from dhpe_ros.rendering.coverage import scene
from dhpe_ros.rendering.kernels import nearest, orientation
from dhpe_ros.system.compiled import kernel
from dhpe_ros.system.threads import for_each


class Fragments(NamedTuple):
    """Nearest surface to the viewer at every pixel centre.

    face_index: (B, H, W) int32, row of `triangles`, -1 where there is nothing.
    barycentric: (B, H, W, 3) float32, weights of the triangle's corners; 0 where there is nothing.
    depth: (B, H, W) float32, the interpolated z in units of the vertices; inf where there is
        nothing.
    """

    face_index: np.ndarray
    barycentric: np.ndarray
    depth: np.ndarray


def rasterize(
    vertices: np.ndarray | Tensor, triangles: np.ndarray | Tensor, size: int | tuple[int, int]
) -> Fragments:
    """Nearest triangle at every pixel centre; NumPy, no gradient.

    Covers exactly the pixels of `silhouette`, except for triangles with a z that is not finite.

    Args:
        vertices: (B, V, 3), crop coordinates as in `silhouette`; a smaller z is nearer to the
            viewer.
        triangles: (F, 3) integers.
        size: side of a square image, or (height, width), pixels.
    """
    points, depths, faces, shape = scene(vertices, triangles, size)
    fragments = Fragments(
        np.empty(shape, np.int32), np.empty((*shape, 3), np.float32), np.empty(shape, np.float32)
    )
    for_each(
        shape[0],
        lambda n: rasterize_mesh(points[n], depths[n], faces, *(field[n] for field in fragments)),
    )
    return fragments


@kernel(error_model="numpy")
def rasterize_mesh(points, depths, triangles, face_index, barycentric, depth):
    """Nearest triangle, barycentric coordinates and depth of each pixel centre.

    points (V, 2) pixels, depths (V,); face_index (H, W) int32, barycentric (H, W, 3) float32 and
    depth (H, W) float32 are filled, as `kernels.nearest` has it.
    """
    nearest(points, depths, triangles, False, face_index, depth)
    for i in range(depth.shape[0]):
        for j in range(depth.shape[1]):
            u = v = w = 0.0
            if face_index[i, j] >= 0:
                f = face_index[i, j]
                a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
                xa, xb, xc = points[a, 0], points[b, 0], points[c, 0]
                ya, yb, yc = points[a, 1], points[b, 1], points[c, 1]
                area = orientation(xa, ya, xb, yb, xc, yc)
                u = min(max(orientation(j, i, xb, yb, xc, yc) / area, 0.0), 1.0)
                v = min(max(orientation(xa, ya, j, i, xc, yc) / area, 0.0), 1.0 - u)
                w = 1.0 - u - v
            barycentric[i, j, 0] = u
            barycentric[i, j, 1] = v
            barycentric[i, j, 2] = w
