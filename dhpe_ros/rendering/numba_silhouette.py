"""The differentiable silhouette on a CPU: the autograd function around the compiled kernels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dhpe_ros.rendering import kernels, outline
from dhpe_ros.rendering.topology import Topology
from dhpe_ros.system.threads import for_each

_BAND = 32  # rows of one unit of work in the gradient


def as_array(values: np.ndarray | Tensor) -> np.ndarray:
    """NumPy view, or copy, of an array or tensor."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def to_pixels(vertices: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(..., V, 2 or 3) crop coordinates -> (..., V, 2) float64, pixel (i, j) at (j, i)."""
    height, width = shape
    scale = np.array([0.5 * width, 0.5 * height])
    return (vertices[..., :2].astype(np.float64) + 1.0) * scale - 0.5


class NumbaSilhouette(torch.autograd.Function):
    @staticmethod
    def forward(ctx, vertices, topology, shape, softness_px, reach_px):
        points = to_pixels(as_array(vertices), shape)
        batch = points.shape[0]
        weights = np.empty((batch, len(topology.edges)), np.int64)
        # NumPy's type: torch's conversion would wake its threads, which hang in a forked process.
        dtype = np.float64 if vertices.dtype == torch.float64 else np.float32
        masks = np.empty((batch, *shape), dtype)
        for_each(batch, lambda n: cover(points[n], topology, weights[n], masks[n]))
        mask = torch.from_numpy(masks).to(vertices)
        ctx.save_for_backward(vertices, mask)
        ctx.scene = points, topology, weights
        ctx.relaxation = softness_px, reach_px
        return mask

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        vertices, mask = ctx.saved_tensors
        points, topology, weights = ctx.scene
        masks, upstream = (_as_floats(image) for image in (mask, upstream))
        pulls = _pulls(points, topology, weights, masks, upstream, *ctx.relaxation)
        height, width = masks.shape[1:]
        gradient = torch.zeros_like(vertices)
        gradient[..., :2] = torch.from_numpy(pulls * [0.5 * width, 0.5 * height]).to(vertices)
        return gradient, None, None, None, None


def _as_floats(images: Tensor) -> np.ndarray:
    """Contiguous, of a type that the kernels know."""
    array = as_array(images if images.dtype == torch.float64 else images.float())
    return np.ascontiguousarray(array)


def cover(points: np.ndarray, topology: Topology, weights: np.ndarray, mask: np.ndarray) -> None:
    """`kernels.cover` of one mesh; weights (E,) int64 is filled too."""
    kernels.edge_weights(
        points, topology.triangles, topology.triangle_edges, topology.triangle_edge_signs, weights
    )
    counts = np.empty(mask.shape, np.int32)
    kernels.cover(points, topology.edges, weights, counts, mask)


def _pulls(
    points: np.ndarray,
    topology: Topology,
    weights: np.ndarray,
    masks: np.ndarray,
    upstream: np.ndarray,
    softness_px: float,
    reach_px: float,
) -> np.ndarray:
    """Gradient (B, V, 2) in pixel coordinates: outlines first, then bands of rows side by side."""
    batch, height = masks.shape[:2]
    bands = -(-height // _BAND)
    outlines: list[tuple] = [()] * batch
    pulls = np.zeros((batch, bands, *points.shape[1:]))

    def trace(n: int) -> None:
        lines, line_weights, ends = outline.contours(points[n], topology.edges, weights[n])
        outlines[n] = (lines, line_weights, ends, *outline.outline(lines, line_weights))

    def pull(index: int) -> None:
        n, band = divmod(index, bands)
        rows = band * _BAND, min((band + 1) * _BAND, height)
        images = masks[n], upstream[n]
        outline.pull(*outlines[n], *images, softness_px, reach_px, rows, pulls[n, band])

    for_each(batch, trace)
    for_each(batch * bands, pull)
    return pulls.sum(axis=1)
