"""Exact coverage on a GPU: `kernels.edge_weights` and `kernels.cover` once more, in Triton.

Same formulas in the same order in float64, so that coverage equals the CPU's bit for bit. Launch
every kernel that calls `to_pixel`, `orientation` or `crossing` with `enable_fp_fusion=False`: a
fused multiply-add rounds once where the CPU rounds twice, and neighbours would no longer agree on
which pixels their edge crosses.

Batches: program axis 1 is the image, and every array starts with it.
"""

import triton
import triton.language as tl

# --- shared arithmetic ----------------------------------------------------------------------------


@triton.jit
def to_pixel(coordinate, size):
    """Crop coordinate -> float64 pixel coordinate, for an image `size` pixels wide (or high)."""
    return (coordinate.to(tl.float64) + 1.0) * (0.5 * size.to(tl.float64)) - 0.5


@triton.jit
def orientation(xa, ya, xb, yb, xc, yc):
    """Twice the signed area of abc, float64; 0 when a corner is not finite."""
    area = (xb - xa) * (yc - ya) - (xc - xa) * (yb - ya)
    return tl.where(tl.abs(area) < float("inf"), area, 0.0)


@triton.jit
def crossing(xa, ya, xb, yb, y):
    """x at which the line through a and b meets the height y, all float64; ya differs from yb."""
    return xa + (xb - xa) * ((y - ya) / (yb - ya))


@triton.jit
def clamped_ceil(value, high):
    """ceil(value) kept within [0, high], int32, also for huge float64 values."""
    return tl.ceil(tl.minimum(tl.maximum(value, 0.0), high.to(tl.float64))).to(tl.int32)


# --- kernels --------------------------------------------------------------------------------------


@triton.jit(do_not_specialize=["coordinates", "vertex_count", "edge_count", "height", "width"])
def trace(
    vertices, coordinates, vertex_count,  # (B, V, coordinates)
    edges, starts, corners, signs, edge_count,  # see triton_silhouette.Tables
    height, width,
    changes,  # (B, H, W) int32, zeros
    line_counts,  # (B,) int32, zeros
    lines,  # (B, 4, E) float64
    line_edges, line_weights,  # (B, E) int32
    EDGES: tl.constexpr, ROWS: tl.constexpr,
):  # fmt: skip
    """Find the contour edges of a block of edges; list them, and record where they cross rows.

    `changes` receives in every row, at the first column right of an edge, how the number of layers
    changes there. The list is in no particular order: `line_edges` says which edge is where.
    """
    image = tl.program_id(1).to(tl.int64)
    vertices += image * vertex_count * coordinates
    e = tl.program_id(0) * EDGES + tl.arange(0, EDGES)
    valid = e < edge_count
    weight = _edge_weights(
        vertices, coordinates, starts, corners, signs, e, valid, edge_count, height, width
    )
    is_line = weight != 0
    found = tl.sum(is_line.to(tl.int32), 0)
    if found > 0:
        a = tl.load(edges + e, is_line, 0)
        b = tl.load(edges + edge_count + e, is_line, 0)
        xa, ya = _point(vertices, coordinates, a, is_line, height, width)
        xb, yb = _point(vertices, coordinates, b, is_line, height, width)

        first_slot = tl.atomic_add(line_counts + image, found, sem="relaxed")
        slot = first_slot + tl.cumsum(is_line.to(tl.int32), 0) - 1
        line = lines + image * 4 * edge_count + slot
        tl.store(line, xa, is_line)
        tl.store(line + edge_count, ya, is_line)
        tl.store(line + 2 * edge_count, xb, is_line)
        tl.store(line + 3 * edge_count, yb, is_line)
        tl.store(line_edges + image * edge_count + slot, e, is_line)
        tl.store(line_weights + image * edge_count + slot, weight, is_line)

        first = tl.where(is_line, clamped_ceil(tl.minimum(ya, yb), height), 0)[:, None]
        last = tl.where(is_line, clamped_ceil(tl.maximum(ya, yb), height), 0)[:, None]
        change = tl.where(ya < yb, -weight, weight)[:, None]
        xa, ya, xb, yb = xa[:, None], ya[:, None], xb[:, None], yb[:, None]
        changes += image * height * width
        for offset in range(0, tl.max(last - first), ROWS):
            row = first + offset + tl.arange(0, ROWS)[None, :]
            column = clamped_ceil(crossing(xa, ya, xb, yb, row.to(tl.float64)), width)
            crossed = (row < last) & (column < width)
            tl.atomic_add(changes + row * width + column, change, crossed, sem="relaxed")


@triton.jit
def _edge_weights(
    vertices, coordinates, starts, corners, signs, e, valid, edge_count, height, width
):  # fmt: skip
    """Net number of times that each edge bounds covering surface: 0 if no contour."""
    incidences = tl.load(starts + edge_count)
    first = tl.load(starts + e, valid, 0)
    last = tl.load(starts + e + 1, valid, 0)
    weight = tl.zeros_like(first)
    for k in range(tl.max(last - first, 0)):
        triangle = first + k
        has = triangle < last
        a = tl.load(corners + triangle, has, 0)
        b = tl.load(corners + incidences + triangle, has, 0)
        c = tl.load(corners + 2 * incidences + triangle, has, 0)
        xa, ya = _point(vertices, coordinates, a, has, height, width)
        xb, yb = _point(vertices, coordinates, b, has, height, width)
        xc, yc = _point(vertices, coordinates, c, has, height, width)
        area = orientation(xa, ya, xb, yb, xc, yc)
        sign = tl.load(signs + triangle, has, 0)
        weight += tl.where(area > 0.0, sign, tl.where(area < 0.0, -sign, 0))
    return weight


@triton.jit
def _point(vertices, coordinates, index, mask, height, width):
    """Float64 pixel coordinates of vertices, 0 where masked."""
    x = tl.load(vertices + index * coordinates, mask, 0.0)
    y = tl.load(vertices + index * coordinates + 1, mask, 0.0)
    return to_pixel(x, width), to_pixel(y, height)


@triton.jit(do_not_specialize=["height", "width"])
def fill(changes, mask, height, width, ROWS: tl.constexpr, COLUMNS: tl.constexpr):
    """mask (B, H, W) = 1 where the running sum of `changes` along the row is positive, else 0."""
    image = tl.program_id(1).to(tl.int64) * height * width
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)[:, None]
    layers = tl.zeros([ROWS, 1], tl.int32)
    for left in range(0, width, COLUMNS):
        column = left + tl.arange(0, COLUMNS)[None, :]
        inside = (row < height) & (column < width)
        pixel = image + row * width + column
        change = tl.load(changes + pixel, inside, 0)
        covered = layers + tl.cumsum(change, 1) > 0
        tl.store(mask + pixel, covered.to(mask.dtype.element_ty), inside)
        layers += tl.sum(change, 1, keep_dims=True)
