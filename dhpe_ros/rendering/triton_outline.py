"""The outline and the gradient that pixels send to it, on a GPU: `outline.py` once more, in Triton.

What decides is computed as on the CPU, in float64 with the same rounding: where contour edges cut
each other, and which parts between the cuts are visible. Distances of pixels are float32, in which
graphics cards are fast; every part of the outline is first reduced to the points that can be
nearest to a pixel of the image, so that no coordinate is large.

Results do not depend on the order in which programs run. Lines and parts are listed as they come,
but each carries its edge's index, by which ties are decided; and vertices sum integers.

Batches: program axis 1 is the image, and every array starts with it.
"""

import triton
import triton.language as tl

_COINCIDENT_PX = tl.constexpr(1e-9)
_ON_OUTLINE_PX = tl.constexpr(1e-3)  # nearer than this, float32 cannot tell a pixel's direction
_SHARPEST = tl.constexpr(20.0)  # a notch's tip moves at most this much faster than its edges
_POOL = tl.constexpr(32)  # parts whose candidacy is one bit each of an integer

# Rows of `floats`, (B, FLOATS, capacity) float32; a part is the points (x, y) + s (ux, uy) of its
# edge, s from 0 to its length, which lie at t + s * rate between the vertices a (0) and b (1).
_X, _Y, _UX, _UY = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2), tl.constexpr(3)
_LENGTH, _T, _RATE = tl.constexpr(4), tl.constexpr(5), tl.constexpr(6)
# At a corner, the other edge: its unit vector (fx, fy) and the corner's place u on it.
_CORNER_FLOATS = tl.constexpr((7, 10))  # fx, fy, u at the part's start, at its end
FLOATS = tl.constexpr(13)

# Rows of `integers`, (B, INTEGERS, capacity) int32.
_KEY, _WEIGHT, _A, _B = tl.constexpr(0), tl.constexpr(1), tl.constexpr(2), tl.constexpr(3)
_CORNER_ENDS = tl.constexpr((4, 6))  # vertices of the other edge; -1 where there is no corner
INTEGERS = tl.constexpr(8)

# `sums` (B, 2 V + 2) int64, zeros at first: the pull on x, y of each vertex in units of
# peak / (pi softness 2^bits); the number of parts; the peak, the largest magnitude of `upstream`,
# as the bits of a float32, which are ordered like the numbers.


# --- outline --------------------------------------------------------------------------------------


@triton.jit(do_not_specialize=["edge_count", "vertex_count", "height", "width", "capacity"])
def outline(
    edges, edge_count, vertex_count, height, width,
    line_counts, lines, line_edges, line_weights,  # of triton_kernels.trace
    upstream,  # (B, H, W)
    floats, integers, capacity, sums,
    LINES: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """List the parts of contour edges that bound the covered area, and find the peak of upstream.

    Parts beyond `capacity` are left out.
    """
    image = tl.program_id(1).to(tl.int64)
    sums += image * (2 * vertex_count + 2) + 2 * vertex_count
    upstream += image * height * width
    peak = tl.zeros([PIXELS], tl.int32)
    for first in range(tl.program_id(0) * PIXELS, height * width, tl.num_programs(0) * PIXELS):
        pixel = first + tl.arange(0, PIXELS)
        value = tl.load(upstream + pixel, pixel < height * width, 0.0)
        peak = tl.maximum(peak, tl.abs(value.to(tl.float32)).to(tl.int32, bitcast=True))
    tl.atomic_max(sums + 1, tl.max(peak, 0).to(tl.int64), sem="relaxed")

    count = tl.load(line_counts + image)
    lines += image * 4 * edge_count
    line_edges += image * edge_count
    line_weights += image * edge_count
    floats += image * FLOATS * capacity
    integers += image * INTEGERS * capacity
    for k in range(tl.program_id(0), count, tl.num_programs(0)):
        _walk(
            edges, edge_count, height, width, count, lines, line_edges, line_weights, k,
            floats, integers, capacity, sums, LINES,
        )  # fmt: skip


@triton.jit
def _walk(
    edges, edge_count, height, width, count, lines, line_edges, line_weights, k,
    floats, integers, capacity, sums, LINES: tl.constexpr,
):  # fmt: skip
    """List the visible parts of line k, from cut to cut."""
    low = tl.full([], 0.0, tl.float64)
    start, stop = low, low
    start_cutter, stop_cutter = tl.full([], -1, tl.int64), tl.full([], -1, tl.int64)
    within, found = 0, 0
    while low < 1.0:
        cutter, high, next_cutter = _next_cut(lines, line_edges, edge_count, count, k, low, LINES)
        middle = 0.5 * (low + high)
        visible = _bounds(lines, line_edges, line_weights, edge_count, count, k, middle, LINES)
        opens = visible & (within == 0)
        start = tl.where(opens, low, start)
        start_cutter = tl.where(opens, cutter, start_cutter)
        stop = tl.where(visible, high, stop)
        stop_cutter = tl.where(visible, next_cutter, stop_cutter)
        within = (visible | (within != 0)).to(tl.int32)
        if (within != 0) & ((high >= 1.0) | (visible == 0)):
            slot = tl.atomic_add(sums, 1, sem="relaxed")
            if slot < capacity:
                _write_part(
                    edges, edge_count, height, width, lines, line_edges, line_weights, k,
                    start, stop, start_cutter, stop_cutter, found,
                    floats + slot, integers + slot, capacity,
                )  # fmt: skip
            within = 0
            found += 1
        low = high


@triton.jit
def _line(lines, edge_count, k, mask=None):
    """Ends (xa, ya, xb, yb) of lines."""
    return (
        tl.load(lines + k, mask),
        tl.load(lines + edge_count + k, mask),
        tl.load(lines + 2 * edge_count + k, mask),
        tl.load(lines + 3 * edge_count + k, mask),
    )


@triton.jit
def _next_cut(lines, line_edges, edge_count, count, k, low, LINES: tl.constexpr):
    """The cut of line k that follows the parameter `low`, or the line's end at 1.

    Returns what cuts it at `low`, the next cut, and what cuts it there: the edge's index and its
    place in the list, in the upper and the lower half of an integer; -1 where nothing does.
    """
    xa, ya, xb, yb = _line(lines, edge_count, k)
    dx, dy = xb - xa, yb - ya
    here = tl.full([LINES], -1, tl.int64)
    nearest = tl.full([LINES], 1.0, tl.float64)
    cutter = tl.full([LINES], 0x7FFFFFFFFFFFFFFF, tl.int64)
    for first in range(0, count, LINES):
        f = first + tl.arange(0, LINES)
        valid = f < count
        xc, yc, xd, yd = _line(lines, edge_count, f, valid)
        key = (tl.load(line_edges + f, valid, 0).to(tl.int64) << 32) | f
        valid &= (tl.minimum(xc, xd) <= tl.maximum(xa, xb)) & (
            tl.maximum(xc, xd) >= tl.minimum(xa, xb)
        )
        valid &= (tl.minimum(yc, yd) <= tl.maximum(ya, yb)) & (
            tl.maximum(yc, yd) >= tl.minimum(ya, yb)
        )
        side_c = dx * (yc - ya) - dy * (xc - xa)
        side_d = dx * (yd - ya) - dy * (xd - xa)
        valid &= (side_c > 0.0) != (side_d > 0.0)
        along = side_c / (side_c - side_d)
        x, y = xc + along * (xd - xc), yc + along * (yd - yc)
        t = tl.where(tl.abs(dx) > tl.abs(dy), (x - xa) / dx, (y - ya) / dy)
        valid &= (t > 0.0) & (t < 1.0)
        here = tl.maximum(here, tl.where(valid & (t == low), key, -1))
        t = tl.where(valid & (t > low), t, 1.0)
        nearer = (t < nearest) | ((t == nearest) & (key < cutter))
        nearest = tl.where(nearer, t, nearest)
        cutter = tl.where(nearer, key, cutter)
    high = tl.min(nearest, 0)
    first_cutter = tl.min(tl.where(nearest == high, cutter, 0x7FFFFFFFFFFFFFFF), 0)
    return tl.max(here, 0), high, tl.where(high < 1.0, first_cutter, -1)


@triton.jit
def _bounds(
    lines, line_edges, line_weights, edge_count, count, k, t, LINES: tl.constexpr
):  # fmt: skip
    """True where line k has covered image on one side and background on the other at parameter t.

    The ray, and the rule for edges on top of each other, are those of `outline._bounds`.
    """
    xa, ya, xb, yb = _line(lines, edge_count, k)
    e = tl.load(line_edges + k)
    weight = tl.load(line_weights + k)
    x, y = xa + t * (xb - xa), ya + t * (yb - ya)
    steep = tl.abs(yb - ya) >= tl.abs(xb - xa)
    here, level = tl.where(steep, x, y), tl.where(steep, y, x)
    across = lines + tl.where(steep, 0, edge_count)
    along = lines + tl.where(steep, edge_count, 0)
    layers = tl.zeros([LINES], tl.int32)
    for first in range(0, count, LINES):
        f = first + tl.arange(0, LINES)
        valid = (f < count) & (f != k)
        start, stop = tl.load(along + f, valid), tl.load(along + 2 * edge_count + f, valid)
        begin, end = tl.load(across + f, valid), tl.load(across + 2 * edge_count + f, valid)
        ahead = begin + (end - begin) * ((level - start) / (stop - start)) - here
        before = tl.load(line_edges + f, valid, 0) < e
        passed = (ahead < -_COINCIDENT_PX) | ((ahead <= _COINCIDENT_PX) & before)
        passed &= valid & ((start <= level) != (stop <= level))
        other = tl.load(line_weights + f, valid, 0)
        layers += tl.where(passed, tl.where(start < stop, -other, other), 0)
    behind = tl.sum(layers, 0)
    own = tl.where(tl.where(steep, ya < yb, xa < xb), -weight, weight)
    # The mirrored picture: rays along y see every crossing with the other sign.
    behind, own = tl.where(steep, behind, -behind), tl.where(steep, own, -own)
    return (behind > 0) != (behind + own > 0)


@triton.jit
def _write_part(
    edges, edge_count, height, width, lines, line_edges, line_weights, k,
    start, stop, start_cutter, stop_cutter, number,
    floats, integers, capacity,
):  # fmt: skip
    """Describe the part [start, stop] of line k to the pixels, at `floats` and `integers`."""
    xa, ya, xb, yb = _line(lines, edge_count, k)
    dx, dy = xb - xa, yb - ya
    squared = dx * dx + dy * dy
    length = tl.sqrt(squared)

    # Only what the image's pixels project to can be nearest to one of them, or else an end.
    right, below = width.to(tl.float64), height.to(tl.float64)
    foremost = tl.minimum((-1.0 - xa) * dx, (right - xa) * dx)
    foremost += tl.minimum((-1.0 - ya) * dy, (below - ya) * dy)
    hindmost = tl.maximum((-1.0 - xa) * dx, (right - xa) * dx)
    hindmost += tl.maximum((-1.0 - ya) * dy, (below - ya) * dy)
    first = tl.minimum(tl.maximum(start, foremost / squared), stop)
    last = tl.maximum(tl.maximum(tl.minimum(stop, hindmost / squared), start), first)

    x, y = xa + first * dx, ya + first * dy
    span = (last - first) * length
    tl.store(floats + _X * capacity, x.to(tl.float32))
    tl.store(floats + _Y * capacity, y.to(tl.float32))
    tl.store(floats + _UX * capacity, (dx / length).to(tl.float32))
    tl.store(floats + _UY * capacity, (dy / length).to(tl.float32))
    tl.store(floats + _LENGTH * capacity, span.to(tl.float32))
    tl.store(floats + _T * capacity, first.to(tl.float32))
    tl.store(floats + _RATE * capacity, (1.0 / length).to(tl.float32))
    e = tl.load(line_edges + k)
    tl.store(integers + _KEY * capacity, e * 256 + tl.minimum(number, 255))
    tl.store(integers + _WEIGHT * capacity, tl.load(line_weights + k))
    tl.store(integers + _A * capacity, tl.load(edges + e))
    tl.store(integers + _B * capacity, tl.load(edges + edge_count + e))
    for side in tl.static_range(2):
        t = first if side == 0 else last
        cutter = tl.where(t == start, start_cutter, tl.where(t == stop, stop_cutter, -1))
        _write_corner(
            edges, edge_count, lines, cutter, xa + t * dx, ya + t * dy, dx, dy,
            floats + _CORNER_FLOATS[side] * capacity, integers + _CORNER_ENDS[side] * capacity,
            capacity,
        )  # fmt: skip


@triton.jit
def _write_corner(
    edges, edge_count, lines, cutter, x, y, dx, dy, floats, integers, capacity
):  # fmt: skip
    other = tl.maximum(cutter, 0)
    xc, yc, xd, yd = _line(lines, edge_count, other & 0xFFFFFFFF)
    fx, fy = xd - xc, yd - yc
    squared = fx * fx + fy * fy
    length = tl.sqrt(squared)
    tl.store(floats, (fx / length).to(tl.float32))
    tl.store(floats + capacity, (fy / length).to(tl.float32))
    tl.store(floats + 2 * capacity, (((x - xc) * fx + (y - yc) * fy) / squared).to(tl.float32))
    is_corner = (cutter >= 0) & (dx * fy != dy * fx)
    f = other >> 32
    tl.store(integers, tl.where(is_corner, tl.load(edges + f), -1))
    tl.store(integers + capacity, tl.where(is_corner, tl.load(edges + edge_count + f), -1))


# --- gradient -------------------------------------------------------------------------------------


@triton.jit(do_not_specialize=["vertex_count", "height", "width", "capacity"])
def pull(
    mask, upstream, vertex_count, height, width,  # (B, H, W)
    floats, integers, capacity, sums,  # of outline
    softness, reach, unit,  # unit: 2^bits
    TILE: tl.constexpr,
):  # fmt: skip
    """Add the pull of every pixel of a tile to the vertices of its nearest part, as integers."""
    image = tl.program_id(1).to(tl.int64)
    sums += image * (2 * vertex_count + 2)
    floats += image * FLOATS * capacity
    integers += image * INTEGERS * capacity
    tiles = tl.cdiv(width, TILE)
    top, left = tl.program_id(0) // tiles * TILE, tl.program_id(0) % tiles * TILE
    p = tl.arange(0, TILE * TILE)
    row, column = top + p // TILE, left + p % TILE
    inside = (row < height) & (column < width)
    pixel = image * height * width + row * width + column
    value = tl.load(upstream + pixel, inside, 0.0).to(tl.float32)
    if tl.max((value != 0.0).to(tl.int32), 0) > 0:
        count = tl.minimum(tl.load(sums + 2 * vertex_count), capacity).to(tl.int32)
        peak = tl.load(sums + 2 * vertex_count + 1).to(tl.int32).to(tl.float32, bitcast=True)
        x, y = column.to(tl.float32), row.to(tl.float32)
        squared, part = _nearest(
            floats, integers, capacity, count, x, y,
            left + 0.5 * (TILE - 1), top + 0.5 * (TILE - 1), 0.7072 * (TILE - 1), reach,
        )  # fmt: skip
        active = (value != 0.0) & (part >= 0) & (squared <= reach * reach)
        covered = tl.load(mask + pixel, active, 0.0) > 0.0
        _pull_pixels(
            floats + part, integers + part, capacity, sums, x, y, squared, covered,
            value / peak, active, softness, unit,
        )  # fmt: skip


@triton.jit
def _closest(floats, capacity, part, x, y, valid=None):
    """Vector from the part's nearest point to (x, y), and the point's way s along the part."""
    ux = tl.load(floats + _UX * capacity + part, valid)
    uy = tl.load(floats + _UY * capacity + part, valid)
    rx = x - tl.load(floats + _X * capacity + part, valid)
    ry = y - tl.load(floats + _Y * capacity + part, valid)
    length = tl.load(floats + _LENGTH * capacity + part, valid)
    s = tl.minimum(tl.maximum(rx * ux + ry * uy, 0.0), length)
    return rx - s * ux, ry - s * uy, s


@triton.jit
def _distance(floats, capacity, first, count, x, y):
    """Distances of (x, y) from a pool of parts; infinite beyond `count`."""
    part = first + tl.arange(0, _POOL)
    valid = part < count
    rx, ry, _ = _closest(floats, capacity, part, x, y, valid)
    return tl.where(valid, tl.sqrt(rx * rx + ry * ry), float("inf"))


@triton.jit
def _nearest(floats, integers, capacity, count, x, y, middle_x, middle_y, radius, reach):
    """Squared distance to the part nearest to each pixel, and the part; -1 if beyond reach.

    All pixels are within `radius` of the middle: the nearest part of each is at most two radii
    further from the middle than the nearest one of the middle.
    """
    closest = tl.full([_POOL], float("inf"), tl.float32)
    for first in range(0, count, _POOL):
        closest = tl.minimum(closest, _distance(floats, capacity, first, count, middle_x, middle_y))
    to_middle = tl.min(closest, 0)
    limit = 1.0001 * (to_middle + 2.0 * radius)
    squared = tl.full(x.shape, float("inf"), tl.float32)
    nearest = tl.full(x.shape, -1, tl.int32)
    nearest_key = tl.full(x.shape, 0, tl.int32)
    count = tl.where(to_middle - radius <= reach, count, 0)
    for first in range(0, count, _POOL):
        distance = _distance(floats, capacity, first, count, middle_x, middle_y)
        bit = tl.full([_POOL], 1, tl.int64) << tl.arange(0, _POOL).to(tl.int64)
        near = (distance <= limit) & (distance < float("inf"))
        candidates = tl.sum(tl.where(near, bit, 0), 0)
        while candidates != 0:
            lowest = candidates & -candidates
            exponent = lowest.to(tl.float32).to(tl.int32, bitcast=True) >> 23
            part = first + exponent - 127
            candidates -= lowest
            rx, ry, _ = _closest(floats, capacity, part, x, y)
            found = rx * rx + ry * ry
            key = tl.load(integers + _KEY * capacity + part)
            nearer = (found < squared) | ((found == squared) & (key < nearest_key))
            squared = tl.where(nearer, found, squared)
            nearest = tl.where(nearer, part, nearest)
            nearest_key = tl.where(nearer, key, nearest_key)
    return squared, nearest


@triton.jit
def _pull_pixels(
    floats, integers, capacity, sums, x, y, squared, covered, value, active, softness, unit
):  # fmt: skip
    """Pull pixels' nearest points along the outward normal. floats, integers: at each one's part.

    value: upstream over its peak.
    """
    rx, ry, s = _closest(floats, capacity, 0, x, y, active)
    ux = tl.load(floats + _UX * capacity, active, 0.0)
    uy = tl.load(floats + _UY * capacity, active, 0.0)
    length = tl.load(floats + _LENGTH * capacity, active, 0.0)
    distance = tl.sqrt(squared)
    ratio = distance / softness
    value *= 1.0 / (1.0 + ratio * ratio)  # dS / dd, times pi softness

    # The direction is the edge's normal between the ends of a part, and on the outline itself.
    on_outline = distance < _ON_OUTLINE_PX
    straight = on_outline | ((s > 0.0) & (s < length))
    weight = tl.load(integers + _WEIGHT * capacity, active, 0)
    away = tl.where(on_outline, weight > 0, (rx * uy - ry * ux > 0.0) != covered)
    normal = tl.where(away, value, -value)
    radial = tl.where(covered, -value, value) / distance
    pull_x = tl.where(straight, normal * uy, radial * rx)
    pull_y = tl.where(straight, -normal * ux, radial * ry)

    is_start, is_stop = s == 0.0, s == length
    first_c = tl.load(integers + _CORNER_ENDS[0] * capacity, active & is_start, -1)
    last_c = tl.load(integers + _CORNER_ENDS[1] * capacity, active & is_stop & (s > 0.0), -1)
    is_corner = (first_c >= 0) | (last_c >= 0)
    # One row of corner data after the other, of the start or of the end.
    corner = tl.where(is_start, _CORNER_FLOATS[0], _CORNER_FLOATS[1]) * capacity
    ends = tl.where(is_start, _CORNER_ENDS[0], _CORNER_ENDS[1]) * capacity
    fx = tl.load(floats + corner, is_corner, 0.0)
    fy = tl.load(floats + corner + capacity, is_corner, 0.0)
    u = tl.load(floats + corner + 2 * capacity, is_corner, 0.0)
    # The corner follows each edge along that edge's normal only, as in `outline._move_corner`.
    limit = _SHARPEST * tl.sqrt(pull_x * pull_x + pull_y * pull_y)
    sine = ux * fy - uy * fx
    on_e = _limited((pull_x * fx + pull_y * fy) / sine, limit)
    on_f = _limited((pull_x * ux + pull_y * uy) / sine, limit)
    t = tl.load(floats + _T * capacity, active, 0.0)
    t += s * tl.load(floats + _RATE * capacity, active, 0.0)
    pull_x, pull_y = tl.where(is_corner, -uy * on_e, pull_x), tl.where(is_corner, ux * on_e, pull_y)
    _move(sums, integers + _A * capacity, capacity, t, pull_x * unit, pull_y * unit, active)
    _move(sums, integers + ends, capacity, u, fy * on_f * unit, -fx * on_f * unit, is_corner)


@triton.jit
def _limited(value, limit):
    return tl.minimum(tl.maximum(value, -limit), limit)


@triton.jit
def _move(sums, ends, capacity, t, pull_x, pull_y, active):
    """A pull on the point (1 - t) a + t b is shared by the vertices a and b, listed at `ends`."""
    a = sums + 2 * tl.load(ends, active, 0)
    b = sums + 2 * tl.load(ends + capacity, active, 0)
    tl.atomic_add(a, ((1.0 - t) * pull_x).to(tl.int64), active, sem="relaxed")
    tl.atomic_add(a + 1, ((1.0 - t) * pull_y).to(tl.int64), active, sem="relaxed")
    tl.atomic_add(b, (t * pull_x).to(tl.int64), active, sem="relaxed")
    tl.atomic_add(b + 1, (t * pull_y).to(tl.int64), active, sem="relaxed")


@triton.jit(do_not_specialize=["coordinates", "vertex_count"])
def collect(
    sums, gradient, coordinates, vertex_count, x_scale, y_scale, VALUES: tl.constexpr
):  # fmt: skip
    """gradient (B, V, coordinates) from integer sums: x and y times their scale and the peak."""
    image = tl.program_id(1).to(tl.int64)
    sums += image * (2 * vertex_count + 2)
    gradient += image * vertex_count * coordinates
    peak = tl.load(sums + 2 * vertex_count + 1).to(tl.int32).to(tl.float32, bitcast=True)
    index = tl.program_id(0) * VALUES + tl.arange(0, VALUES)
    inside = index < vertex_count * coordinates
    vertex, axis = index // coordinates, index % coordinates
    total = tl.load(sums + 2 * vertex + axis, inside & (axis < 2), 0).to(tl.float64)
    value = total * tl.where(axis == 0, x_scale, y_scale) * peak
    tl.store(gradient + index, value.to(gradient.dtype.element_ty), inside)
