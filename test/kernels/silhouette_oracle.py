"""Slow twin of the silhouette in plain torch.

Nothing is shared with the kernels. Coverage asks every pixel of every triangle, the outline asks
both sides of every piece of every edge, and autograd differentiates the distance. Memory grows with
pixels x triangles and with the square of the edges: for small meshes and images.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def coverage(vertices: Tensor, triangles: Tensor, size: tuple[int, int]) -> Tensor:
    """Exact coverage (H, W), bool, of one mesh: vertices (V, 2), crop coordinates."""
    corners = _to_pixels(vertices, size)[triangles]
    return _covered(_pixel_centres(size, vertices), corners)


def relaxed_silhouette(
    vertices: Tensor, triangles: Tensor, size: tuple[int, int], softness_px: float = 1.0
) -> Tensor:
    """S = 1/2 + atan(d / softness_px) / pi, (H, W), whose gradient `silhouette` returns.

    d is the signed distance in pixels from a pixel's centre to the outline, positive inside.
    Differentiable in vertices (V, 2).
    """
    points = _to_pixels(vertices, size)
    centres = _pixel_centres(size, vertices)
    starts, stops = outline(points, triangles)
    steps = stops - starts
    offsets = centres[..., None, :] - starts  # (H, W, S, 2)
    along = ((offsets * steps).sum(-1) / (steps * steps).sum(-1)).clamp(0.0, 1.0)
    squared = (offsets - along[..., None] * steps).square().sum(-1)
    distance = squared.amin(-1).sqrt()
    inside = _covered(centres, points[triangles])
    return 0.5 + torch.atan(torch.where(inside, distance, -distance) / softness_px) / math.pi


def outline(points: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor]:
    """Pieces of triangle edges with covered image on exactly one side: their ends, (S, 2) each.

    points (V, 2). An end is a vertex or the crossing of two edges, and differentiable as such.
    """
    edges = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = edges.sort(dim=1).values.unique(dim=0)
    starts, steps = points[edges[:, 0]], points[edges[:, 1]] - points[edges[:, 0]]
    cuts = [_cuts(starts, steps, e) for e in range(len(edges))]
    edge = torch.cat([edges.new_full((len(t) - 1,), e) for e, t in enumerate(cuts)])
    low, high = torch.cat([t[:-1] for t in cuts]), torch.cat([t[1:] for t in cuts])
    middles = starts[edge] + (0.5 * (low + high))[:, None] * steps[edge]
    normals = torch.stack([-steps[edge, 1], steps[edge, 0]], dim=-1)
    sidestep = 1e-6 * normals / normals.norm(dim=-1, keepdim=True)
    corners = points[triangles]
    bounds = _covered(middles + sidestep, corners) != _covered(middles - sidestep, corners)
    edge, low, high = edge[bounds], low[bounds, None], high[bounds, None]
    return starts[edge] + low * steps[edge], starts[edge] + high * steps[edge]


def _cuts(starts: Tensor, steps: Tensor, e: int) -> Tensor:
    """Sorted parameters in [0, 1] at which other edges cross edge e, both ends included."""
    between = starts - starts[e]
    parallel = _cross(steps[e], steps)
    t = (_cross(between, steps) / parallel).detach()
    u = (_cross(between, steps[e].expand_as(steps)) / parallel).detach()
    crossed = (parallel != 0) & (t > 1e-12) & (t < 1 - 1e-12) & (u >= 0) & (u <= 1)
    t = _cross(between[crossed], steps[crossed]) / parallel[crossed]
    return torch.cat([t.new_zeros(1), t.sort().values, t.new_ones(1)])


def _covered(where: Tensor, corners: Tensor) -> Tensor:
    """True where a point of `where` (..., 2) lies in one of the triangles (F, 3, 2)."""
    sides = torch.stack(
        [
            _cross(corners[:, (k + 1) % 3] - corners[:, k], where[..., None, :] - corners[:, k])
            for k in range(3)
        ]
    )
    inside = (sides >= 0).all(0) | (sides <= 0).all(0)
    area = _cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return (inside & (area != 0)).any(-1)


def _cross(a: Tensor, b: Tensor) -> Tensor:
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def _to_pixels(vertices: Tensor, size: tuple[int, int]) -> Tensor:
    height, width = size
    return (vertices + 1.0) * 0.5 * vertices.new_tensor([width, height]) - 0.5


def _pixel_centres(size: tuple[int, int], like: Tensor) -> Tensor:
    rows, columns = torch.meshgrid(torch.arange(size[0]), torch.arange(size[1]), indexing="ij")
    return torch.stack([columns, rows], dim=-1).to(like)
