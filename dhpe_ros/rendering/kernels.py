"""Compiled kernels: coverage, triangle spans and z-buffer of one mesh in one image.

All of them work in *pixel coordinates*, float64: the centre of pixel (row i, column j) is the point
(x, y) = (j, i). Float32 vertices are exact there, and the sign of a triangle's area is too.

Coverage without triangles. The number of triangles over a point is the sum over triangles of their
indicator functions, and each indicator is a sum over the triangle's directed edges: walking a pixel
row from the left, crossing an edge that runs downwards (y grows) changes the count by -1 or +1. An
edge inside a smooth patch of surface is walked once in either direction and drops out of the sum.
What is left are the *contour edges*: rims of the mesh, and folds between triangles that face the
viewer and triangles that face away. A few hundred integers and one running sum per row give the
exact coverage of the whole mesh, and it does not depend on the orientation of the triangles.
"""

import math
from typing import Any

import numpy as np

from dhpe_ros.system.compiled import kernel

_options: dict[str, Any] = {"error_model": "numpy"}


@kernel(**_options)
def _clamped_ceil(value: float, low: int, high: int) -> int:
    """ceil(value), kept within [low, high] also for huge values."""
    if value <= low:
        return low
    if value >= high:
        return high
    return math.ceil(value)


@kernel(**_options)
def first_row(ya: float, height: int) -> int:
    """First pixel row whose centre is at or below the height `ya`."""
    return _clamped_ceil(ya, 0, height)


@kernel(**_options)
def crossing(xa: float, ya: float, xb: float, yb: float, y: float) -> float:
    """x at which the line through a and b meets the height y; ya differs from yb."""
    return xa + (xb - xa) * ((y - ya) / (yb - ya))


@kernel(**_options)
def orientation(xa: float, ya: float, xb: float, yb: float, xc: float, yc: float) -> float:
    """Twice the signed area of abc; 0 when a corner is not finite."""
    area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
    return area if math.isfinite(area) else 0.0


@kernel(**_options)
def edge_weights(points, triangles, triangle_edges, triangle_edge_signs, weights):
    """Net number of times that each edge bounds covering surface.

    points (V, 2) pixels; weights (E,) int64, filled: 0 for an edge that is no contour, +-1 on a
    rim, +-2 on a fold; positive when the surface lies to the right of the edge run from the
    smaller vertex index to the larger one (right as seen in an image whose y points down, i.e.
    positive orientation).
    """
    weights[:] = 0
    for f in range(triangles.shape[0]):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        area = orientation(
            points[a, 0], points[a, 1], points[b, 0], points[b, 1], points[c, 0], points[c, 1]
        )
        if area == 0.0:
            continue
        sign = 1 if area > 0.0 else -1
        for k in range(3):
            weights[triangle_edges[f, k]] += sign * triangle_edge_signs[f, k]


@kernel(**_options)
def cover(points, edges, weights, counts, mask):
    """Exact coverage of the pixel centres.

    points (V, 2) pixels; counts (H, W) int32 scratch, becomes the number of layers over each pixel;
    mask (H, W) float or bool, becomes 1 where there is at least one, else 0.
    """
    height, width = mask.shape
    counts[:, :] = 0
    for e in range(edges.shape[0]):
        if weights[e] != 0:
            _add_edge(points, edges[e, 0], edges[e, 1], weights[e], counts)
    for i in range(height):
        layers = 0
        for j in range(width):
            layers += counts[i, j]
            counts[i, j] = layers
            mask[i, j] = layers > 0


@kernel(**_options)
def _add_edge(points, a, b, weight, changes):
    """Record in every row, at the first column right of the edge, how the layer count changes."""
    height, width = changes.shape
    xa, ya, xb, yb = points[a, 0], points[a, 1], points[b, 0], points[b, 1]
    change = -weight if ya < yb else weight
    for i in range(first_row(min(ya, yb), height), first_row(max(ya, yb), height)):
        column = _clamped_ceil(crossing(xa, ya, xb, yb, i), 0, width)
        if column < width:
            changes[i, column] += change


@kernel(**_options)
def nearest(points, depths, triangles, fronts_only, face_index, depth):
    """The triangle nearest to the viewer at each pixel centre, -1 for none, and its depth.

    With ``fronts_only`` those that turn their back to the viewer, of outward triangles, are none.
    Spans come from the same edge crossings as `cover`, so neighbouring triangles neither overlap
    nor leave a gap. Equal depths: the first triangle stays.
    """
    face_index[:, :] = -1
    depth[:, :] = np.inf
    height, width = depth.shape
    for f in range(triangles.shape[0]):
        a, b, c = triangles[f, 0], triangles[f, 1], triangles[f, 2]
        xa, xb, xc = points[a, 0], points[b, 0], points[c, 0]
        ya, yb, yc = points[a, 1], points[b, 1], points[c, 1]
        za, zb, zc = depths[a], depths[b], depths[c]
        area = orientation(xa, ya, xb, yb, xc, yc)
        if area == 0.0 or (fronts_only and area > 0.0) or not math.isfinite(za + zb + zc):
            continue
        # The plane through the corners; rounding must not take a sliver beyond them.
        slope_x = ((zb - za) * (yc - ya) - (zc - za) * (yb - ya)) / area
        slope_y = ((zc - za) * (xb - xa) - (zb - za) * (xc - xa)) / area
        lowest, highest = min(za, zb, zc), max(za, zb, zc)
        for i in range(first_row(min(ya, yb, yc), height), first_row(max(ya, yb, yc), height)):
            start, stop = _span(points, a, b, c, i, width)
            row = za + slope_y * (i - ya)
            for j in range(start, stop):
                # Rounded as it is kept: or the later of two equal depths could win by an ulp.
                z = np.float32(min(max(row + slope_x * (j - xa), lowest), highest))
                if z < depth[i, j]:
                    depth[i, j] = z
                    face_index[i, j] = f


@kernel(**_options)
def _span(points, a, b, c, row, width):
    """Columns [start, stop) of the triangle's pixels in a row."""
    start, stop = width, 0
    for k in range(3):
        p, q = (a, b) if k == 0 else ((b, c) if k == 1 else (c, a))
        if p > q:  # the same rounding for both triangles that share the edge
            p, q = q, p
        if (points[p, 1] <= row) != (points[q, 1] <= row):
            x = crossing(points[p, 0], points[p, 1], points[q, 0], points[q, 1], row)
            column = _clamped_ceil(x, 0, width)
            start = min(start, column)
            stop = max(stop, column)
    return start, stop
