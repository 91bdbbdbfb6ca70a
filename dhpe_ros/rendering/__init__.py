"""The differentiable renderer for small meshes."""

from dhpe_ros.rendering.silhouette import Fragments, rasterize, silhouette

__all__ = ["Fragments", "rasterize", "silhouette"]
