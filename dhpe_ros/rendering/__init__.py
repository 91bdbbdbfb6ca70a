"""Renderer for small meshes.

silhouette      differentiable mask of a batch of meshes: refinement, training
covered         the same without the gradient and without torch: masks
outline_lengths length of the outline that each vertex stands for: refinement
visible_faces   index of the front-facing triangle at each pixel: overlays

Vertices are in crop coordinates: x right, y down, the image spans [-1, 1] on both axes, z forward.
"""

from dhpe_ros.rendering.coverage import covered, outline_lengths, silhouette, visible_faces

__all__ = ["covered", "outline_lengths", "silhouette", "visible_faces"]
