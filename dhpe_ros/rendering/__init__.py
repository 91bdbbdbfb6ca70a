"""The renderer for small meshes.

silhouette      differentiable mask of a batch of meshes: refinement, training
covered         the same without the gradient and without torch: masks
outline_lengths how much of its outline each vertex stands for: refinement
rasterize       z-buffer with barycentric coordinates
visible_faces   the triangle that each pixel shows of a surface seen from outside: overlays
vertex_normals  differentiable normals
render_hand     a coloured picture for synthesis, with `Skin` (`random_skin`) and `Lights`
render_hands    the same for a batch, on a GPU too, with `SkinBatch` and `LightBatch`
photo_skin      skin from the photograph that a mesh was fitted to

Vertices are in crop coordinates: x right, y down, the image spans [-1, 1] on both axes, z forward.
"""

from dhpe_ros.rendering.batch_shading import LightBatch, SkinBatch, render_hands
from dhpe_ros.rendering.coverage import (
    Fragments,
    covered,
    outline_lengths,
    rasterize,
    silhouette,
    visible_faces,
)
from dhpe_ros.rendering.lighting import Lights
from dhpe_ros.rendering.normals import vertex_normals
from dhpe_ros.rendering.photo_texture import photo_skin
from dhpe_ros.rendering.shading import Rendering, render_hand
from dhpe_ros.rendering.skin import Skin, random_skin, skin_tone

__all__ = [
    "Fragments",
    "LightBatch",
    "Lights",
    "Rendering",
    "Skin",
    "SkinBatch",
    "covered",
    "outline_lengths",
    "photo_skin",
    "random_skin",
    "rasterize",
    "render_hand",
    "render_hands",
    "silhouette",
    "skin_tone",
    "vertex_normals",
    "visible_faces",
]
