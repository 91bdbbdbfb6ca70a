"""The differentiable silhouette, and the z-buffer: the public functions around the kernels."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from dhpe_ros.rendering import kernels, outline
from dhpe_ros.rendering.topology import Topology, topology_of
from dhpe_ros.rendering.workers import for_each

_BAND = 32  # rows of one unit of work in the gradient


class Fragments(NamedTuple):
    """What lies nearest to the viewer at every pixel centre.

    face_index: (B, H, W) int32, row of `triangles`, -1 where there is nothing.
    barycentric: (B, H, W, 3) float32, weights of the triangle's corners; 0 where there is nothing.
    depth: (B, H, W) float32, the interpolated z in units of the vertices; inf where there is
        nothing.
    """

    face_index: np.ndarray
    barycentric: np.ndarray
    depth: np.ndarray


def silhouette(
    vertices: Tensor,
    triangles: Tensor | np.ndarray,
    size: int | tuple[int, int],
    *,
    softness_px: float = 1.0,
    reach_px: float = math.inf,
) -> Tensor:
    """Mask of a mesh under scaled orthographic projection, differentiable in its vertices.

    **Value.** Exact coverage: 1 where a pixel's centre lies in the projection of at least one
    triangle, either side of it, else 0. A centre on a shared edge belongs to one of its triangles:
    the one to the right, or below if the edge is horizontal.

    **Gradient.** That of a relaxation of this value,

        S(p) = 1/2 + atan(d(p) / softness_px) / pi,

    where d(p) is the signed distance in pixels, positive inside, from the centre p to the outline
    of the union of all triangles (hidden and interior edges are no part of it). The gradient of d
    is exact: the nearest outline point is q = (1 - t) a + t b on the edge of two vertices a and b,
    and they receive the shares 1 - t and t of dd/dq, the unit outward normal; where q is the
    corner between two edges that cross, both edges receive their part (limited at needle-sharp
    notches). z receives no gradient.

    The kernel dS/dd is a Cauchy density: its integral across the outline is 1, so that the
    gradient of a sum of pixels is that of the area they cover, smoothed by `softness_px`; and its
    tail falls with d^-2 only, so that pixels pull an outline they are far from. It joins two known
    relaxations: the function of the signed distance of Soft Rasterizer (Liu et al., ICCV 2019),
    there a logistic function per triangle, merged by a probabilistic union, here of the one
    outline; and the reach of Neural 3D Mesh Renderer (Kato et al., CVPR 2018), whose gradient
    likewise belongs to an exact forward value and falls with the distance that an edge would have
    to travel.

    Args:
        vertices: (B, V, 2 or more), crop coordinates: x right, y down, the image spans [-1, 1] on
            both axes, the centre of column j of W is at x = (2 j + 1) / W - 1. Only x, y are used.
            Triangles with a corner that is not finite are left out.
        triangles: (F, 3) integers.
        size: side of a square image, or (height, width), pixels.
        softness_px: half width at half maximum of dS/dd.
        reach_px: pixels further than this from the outline send no gradient.

    Returns:
        (B, H, W), 0 or 1, of the type and on the device of `vertices`.

    Raises:
        ValueError: on a wrong shape, type or size.
    """
    if vertices.ndim != 3 or vertices.shape[2] < 2:
        raise ValueError(f"vertices must have shape (B, V, 2 or 3), got {tuple(vertices.shape)}")
    if not softness_px > 0 or not reach_px > 0:
        raise ValueError(f"softness_px and reach_px must be > 0, got {softness_px}, {reach_px}")
    topology = topology_of(triangles, vertices.shape[1])
    return _Silhouette.apply(vertices, topology, image_shape(size), softness_px, reach_px)


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
    vertices = as_array(vertices)
    if vertices.ndim != 3 or vertices.shape[2] != 3:
        raise ValueError(f"vertices must have shape (B, V, 3), got {vertices.shape}")
    topology = topology_of(triangles, vertices.shape[1])
    shape = (vertices.shape[0], *image_shape(size))
    points = to_pixels(vertices, shape[1:])
    depths = np.ascontiguousarray(vertices[..., 2], dtype=np.float64)
    fragments = Fragments(
        np.empty(shape, np.int32), np.empty((*shape, 3), np.float32), np.empty(shape, np.float32)
    )
    for_each(
        shape[0],
        lambda n: kernels.rasterize(
            points[n], depths[n], topology.triangles, *(field[n] for field in fragments)
        ),
    )
    return fragments


def image_shape(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a size given as a number or a pair."""
    height, width = (size, size) if isinstance(size, int | np.integer) else size
    if height < 1 or width < 1:
        raise ValueError(f"size must be at least 1 x 1 pixel, got {height} x {width}")
    return int(height), int(width)


def as_array(values: np.ndarray | Tensor) -> np.ndarray:
    """NumPy view, or copy, of an array or tensor."""
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def to_pixels(vertices: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(..., V, 2 or 3) crop coordinates -> (..., V, 2) float64, pixel (i, j) at (j, i)."""
    height, width = shape
    scale = np.array([0.5 * width, 0.5 * height])
    return (vertices[..., :2].astype(np.float64) + 1.0) * scale - 0.5


class _Silhouette(torch.autograd.Function):
    @staticmethod
    def forward(ctx, vertices, topology, shape, softness_px, reach_px):
        points = to_pixels(as_array(vertices), shape)
        batch = points.shape[0]
        weights = np.empty((batch, len(topology.edges)), np.int64)
        masks = np.empty((batch, *shape), np.float32)
        for_each(batch, lambda n: _cover(points[n], topology, weights[n], masks[n]))
        ctx.save_for_backward(vertices)
        ctx.scene = points, topology, weights, masks
        ctx.relaxation = softness_px, reach_px
        # NumPy converts: torch would wake its threads, which hang in a process forked after them.
        dtype = np.float64 if vertices.dtype == torch.float64 else np.float32
        return torch.from_numpy(masks.astype(dtype)).to(vertices)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        (vertices,) = ctx.saved_tensors
        points, topology, weights, masks = ctx.scene
        upstream = np.ascontiguousarray(as_array(upstream), dtype=np.float64)
        pulls = _pulls(points, topology, weights, masks, upstream, *ctx.relaxation)
        height, width = masks.shape[1:]
        gradient = torch.zeros_like(vertices)
        gradient[..., :2] = torch.from_numpy(pulls * [0.5 * width, 0.5 * height]).to(vertices)
        return gradient, None, None, None, None


def _cover(points: np.ndarray, topology: Topology, weights: np.ndarray, mask: np.ndarray) -> None:
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
