"""The silhouette once more, slow and obvious, in plain torch: the oracle of the tests.

Nothing is shared with the kernels. Coverage asks every pixel of every triangle, the outline asks both
sides of every piece of every edge, and autograd differentiates the distance. Memory grows with
pixels x triangles and with the square of the edges: for small meshes and images.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def coverage(vertices: Tensor, triangles: Tensor, size: tuple[int, int]) -> Tensor:
    """Exact coverage (H, W), bool, of one mesh: vertices (V, 2) crop coordinates, triangles (F, 3)."""
    corners = _to_pixels(vertices, size)[triangles]
    return _covered(_pixel_centres(size, vertices), corners)


def relaxed_silhouette(
    vertices: Tensor, triangles: Tensor, size: tuple[int, int], softness_px: float = 1.0
) -> Tensor:
    """S = 1/2 + atan(d / softness_px) / pi, (H, W), whose gradient `silhouette` returns.

    d is the signed distance in pixels from a pixel's centre to the outline, positive inside.
    Differentiable in vertices (V, 2). An outline point that is the crossing of two edges is held at
    its place along one of them, as the kernel does it.
    """
    points = _to_pixels(vertices, size)
    centres = _pixel_centres(size, vertices)
    starts, steps, low, high = outline(points, triangles)
    offsets = centres[..., None, :] - starts  # (H, W, S, 2)
    along = (offsets * steps).sum(-1) / (steps * steps).sum(-1)
    along = along.detach().clamp(low, high)  # fixed at the nearest point: the envelope theorem
    squared = (offsets - along[..., None] * steps).square().sum(-1)
    distance = squared.amin(-1).sqrt()
    inside = _covered(centres, points[triangles])
    return 0.5 + torch.atan(torch.where(inside, distance, -distance) / softness_px) / math.pi


def outline(points: Tensor, triangles: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Pieces of triangle edges with covered image on exactly one side.

    points (V, 2). Returns edge starts (S, 2), edge vectors (S, 2), and the interval (S,), (S,) of the
    edge's parameter that each piece spans.
    """
    edges = torch.cat([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    edges = edges.sort(dim=1).values.unique(dim=0)
    starts, steps = points[edges[:, 0]], points[edges[:, 1]] - points[edges[:, 0]]
    piece_edges, lows, highs = [], [], []
    for e in range(len(edges)):
        cuts = _cuts(starts.detach(), steps.detach(), e)
        piece_edges.append(torch.full((len(cuts) - 1,), e))
        lows.append(cuts[:-1])
        highs.append(cuts[1:])
    edge, low, high = torch.cat(piece_edges), torch.cat(lows), torch.cat(highs)
    middles = starts[edge] + (0.5 * (low + high))[:, None] * steps[edge]
    normals = torch.stack([-steps[edge, 1], steps[edge, 0]], dim=-1)
    sidestep = 1e-6 * normals / normals.norm(dim=-1, keepdim=True)
    corners = points[triangles]
    bounds = _covered(middles + sidestep, corners) != _covered(middles - sidestep, corners)
    return starts[edge[bounds]], steps[edge[bounds]], low[bounds], high[bounds]


def _cuts(starts: Tensor, steps: Tensor, e: int) -> Tensor:
    """Sorted parameters in [0, 1] at which other edges cross edge e, both ends included."""
    between = starts - starts[e]
    parallel = _cross(steps[e], steps)
    t = _cross(between, steps) / parallel
    u = _cross(between, steps[e].expand_as(steps)) / parallel
    crossed = (parallel != 0) & (t > 0) & (t < 1) & (u >= 0) & (u <= 1)
    return torch.cat([t.new_tensor([0.0, 1.0]), t[crossed]]).unique(sorted=True)


def _covered(where: Tensor, corners: Tensor) -> Tensor:
    """Whether each point of `where` (..., 2) lies in one of the triangles (F, 3, 2)."""
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
