"""The differentiable renderer for small meshes."""

from dhpe_ros.rendering.coverage import Fragments, rasterize, silhouette

__all__ = ["Fragments", "rasterize", "silhouette"]
