"""The renderer for small meshes.

silhouette      differentiable mask of a batch of meshes: refinement, training
covered         the same without the gradient and without torch: masks
outline_lengths how much of its outline each vertex stands for: refinement
rasterize       z-buffer with barycentric coordinates
visible_faces   the triangle that each pixel shows of a surface seen from outside: overlays
vertex_normals  differentiable normals

Vertices are in crop coordinates: x right, y down, the image spans [-1, 1] on both axes, z forward.
"""

from dhpe_ros.rendering.coverage import (
    Fragments,
    covered,
    outline_lengths,
    rasterize,
    silhouette,
    visible_faces,
)
from dhpe_ros.rendering.normals import vertex_normals

__all__ = [
    "Fragments",
    "covered",
    "outline_lengths",
    "rasterize",
    "silhouette",
    "vertex_normals",
    "visible_faces",
]
