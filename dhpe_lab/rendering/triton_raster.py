"""The z-buffer on a GPU: `kernels.rasterize` once more, in Triton, for batches.

A program draws one triangle of one mesh: it offers its depth and its number, packed into one
integer, to the pixels it covers, and each keeps the smallest. A second kernel, a program per block
of pixels, finds the place in the triangle that won. Formulas, order and rounding are those of the
CPU, see `triton_kernels`; depths that are equal in float32 go to the triangle that comes first.
Neither waits for the device.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dhpe_ros.rendering.triton_kernels import clamped_ceil, crossing, orientation

_NOTHING = torch.iinfo(torch.int64).max
_EXACT = {"enable_fp_fusion": False}


def rasterize(
    points: Tensor, triangles: Tensor, shape: tuple[int, int]
) -> tuple[Tensor, Tensor, Tensor]:
    """Nearest triangle, barycentric coordinates and depth of each pixel centre.

    Args:
        points: (B, V, 3) float64, contiguous: pixel coordinates x, y, and depth.
        triangles: (F, 3) int32, contiguous.
        shape: height and width of the images.

    Returns:
        (B, H, W) int32, -1 for none; (B, H, W, 3) float32; (B, H, W) float32, inf for none.
    """
    keys = _nearest(points, triangles, shape)
    face_index = torch.empty(keys.shape, dtype=torch.int32, device=points.device)
    barycentric = torch.empty((*keys.shape, 3), dtype=torch.float32, device=points.device)
    pixels = shape[0] * shape[1]
    if keys.numel():
        place[(triton.cdiv(pixels, 256), len(points))](
            keys, points, points.shape[1], triangles, *shape, face_index, barycentric,
            PIXELS=256, num_warps=4, **_EXACT,
        )  # fmt: skip
    return face_index, barycentric, _depth(keys)


def depth_map(points: Tensor, triangles: Tensor, shape: tuple[int, int]) -> Tensor:
    """(B, H, W) float32, the depth that `rasterize` finds."""
    return _depth(_nearest(points, triangles, shape))


def _nearest(points: Tensor, triangles: Tensor, shape: tuple[int, int]) -> Tensor:
    keys = torch.full((len(points), *shape), _NOTHING, dtype=torch.int64, device=points.device)
    if keys.numel() and len(triangles):
        # Images on the first axis of the grid: the other one ends at 65,535.
        offer[(len(points), len(triangles))](
            points, points.shape[1], triangles, *shape, keys,
            ROWS=8, COLUMNS=8, num_warps=1, **_EXACT,
        )  # fmt: skip
    return keys


def _depth(keys: Tensor) -> Tensor:
    bits = (keys >> 32).to(torch.int32)
    depth = torch.where(bits < 0, bits ^ 0x7FFFFFFF, bits).view(torch.float32)
    return depth.masked_fill(keys == _NOTHING, float("inf"))


@triton.jit(do_not_specialize=["vertex_count", "height", "width"])
def offer(
    points, vertex_count,  # (B, V, 3) float64
    triangles,  # (F, 3) int32
    height, width,
    keys,  # (B, H, W) int64, becomes the smallest of depth and triangle
    ROWS: tl.constexpr, COLUMNS: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(0).to(tl.int64)
    triangle = tl.program_id(1)
    points += image * vertex_count * 3
    keys += image * height * width
    a, b, c, xa, ya, za, xb, yb, zb, xc, yc, zc = _corners(points, triangles, triangle, True)
    area = orientation(xa, ya, xb, yb, xc, yc)
    if (area != 0.0) & (tl.abs(za + zb + zc) < float("inf")):
        first = clamped_ceil(tl.minimum(ya, tl.minimum(yb, yc)), height)
        last = clamped_ceil(tl.maximum(ya, tl.maximum(yb, yc)), height)
        # One column more on either side: a crossing may round to beyond the corner.
        left = tl.maximum(clamped_ceil(tl.minimum(xa, tl.minimum(xb, xc)), width) - 1, 0)
        right = tl.minimum(clamped_ceil(tl.maximum(xa, tl.maximum(xb, xc)), width) + 1, width)
        for top in range(first, last, ROWS):
            row = top + tl.arange(0, ROWS)[:, None]
            y = row.to(tl.float64)
            start = tl.zeros([ROWS, 1], tl.int32) + width
            stop = tl.zeros([ROWS, 1], tl.int32)
            start, stop = _widen(start, stop, a, xa, ya, b, xb, yb, y, width)
            start, stop = _widen(start, stop, b, xb, yb, c, xc, yc, y, width)
            start, stop = _widen(start, stop, c, xc, yc, a, xa, ya, y, width)
            for begin in range(left, right, COLUMNS):
                column = begin + tl.arange(0, COLUMNS)[None, :]
                inside = (row < last) & (column >= start) & (column < stop)
                u, v, w = _weights(xa, ya, xb, yb, xc, yc, area, column.to(tl.float64), y)
                z = u * za + v * zb + w * zc
                key = _key(z, triangle)
                tl.atomic_min(keys + row * width + column, key, inside, sem="relaxed")


@triton.jit
def _widen(start, stop, p, xp, yp, q, xq, yq, y, width):
    """The span of a row with the crossing of one edge, run from its smaller vertex index."""
    swap = p > q
    x0, y0 = tl.where(swap, xq, xp), tl.where(swap, yq, yp)
    x1, y1 = tl.where(swap, xp, xq), tl.where(swap, yp, yq)
    crosses = (y0 <= y) != (y1 <= y)
    column = clamped_ceil(tl.where(crosses, crossing(x0, y0, x1, y1, y), 0.0), width)
    start = tl.where(crosses, tl.minimum(start, column), start)
    stop = tl.where(crosses, tl.maximum(stop, column), stop)
    return start, stop


@triton.jit
def _weights(xa, ya, xb, yb, xc, yc, area, x, y):
    """Barycentric coordinates, kept within the triangle."""
    u = ((xb - x) * (yc - y) - (xc - x) * (yb - y)) / area
    v = ((xc - x) * (ya - y) - (xa - x) * (yc - y)) / area
    u = tl.minimum(tl.maximum(u, 0.0), 1.0)
    v = tl.minimum(tl.maximum(v, 0.0), 1.0 - u)
    return u, v, 1.0 - u - v


@triton.jit
def _key(z, triangle):
    """int64 that sorts as float32 z, then as the triangle's number."""
    bits = (z.to(tl.float32) + 0.0).to(tl.int32, bitcast=True)  # -0 is 0
    ordered = tl.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
    return (ordered.to(tl.int64) << 32) | triangle.to(tl.int64)


@triton.jit
def _corners(points, triangles, triangle, mask):
    """Vertex numbers and coordinates of triangles."""
    a = tl.load(triangles + 3 * triangle, mask)
    b = tl.load(triangles + 3 * triangle + 1, mask)
    c = tl.load(triangles + 3 * triangle + 2, mask)
    xa, ya, za = _point(points, a, mask)
    xb, yb, zb = _point(points, b, mask)
    xc, yc, zc = _point(points, c, mask)
    return a, b, c, xa, ya, za, xb, yb, zb, xc, yc, zc


@triton.jit
def _point(points, index, mask):
    point = points + index * 3
    return tl.load(point, mask), tl.load(point + 1, mask), tl.load(point + 2, mask)


@triton.jit(do_not_specialize=["vertex_count", "height", "width"])
def place(
    keys,  # (B, H, W) int64, as `offer` leaves them
    points, vertex_count,  # (B, V, 3) float64
    triangles,  # (F, 3) int32
    height, width,
    face_index,  # (B, H, W) int32
    barycentric,  # (B, H, W, 3) float32
    PIXELS: tl.constexpr,
):  # fmt: skip
    image = tl.program_id(1).to(tl.int64)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    inside = pixel < height * width
    here = image * height * width + pixel
    key = tl.load(keys + here, inside, 0x7FFFFFFFFFFFFFFF)
    hit = key != 0x7FFFFFFFFFFFFFFF
    triangle = tl.where(hit, key & 0x7FFFFFFF, 0).to(tl.int32)
    points += image * vertex_count * 3
    _, _, _, xa, ya, _, xb, yb, _, xc, yc, _ = _corners(points, triangles, triangle, hit)
    area = tl.where(hit, orientation(xa, ya, xb, yb, xc, yc), 1.0)
    x, y = (pixel % width).to(tl.float64), (pixel // width).to(tl.float64)
    u, v, w = _weights(xa, ya, xb, yb, xc, yc, area, x, y)
    tl.store(face_index + here, tl.where(hit, triangle, -1), inside)
    tl.store(barycentric + 3 * here, tl.where(hit, u, 0.0).to(tl.float32), inside)
    tl.store(barycentric + 3 * here + 1, tl.where(hit, v, 0.0).to(tl.float32), inside)
    tl.store(barycentric + 3 * here + 2, tl.where(hit, w, 0.0).to(tl.float32), inside)
