"""Compiled kernels: the outline of a mesh in the image, and the gradient that pixels send to it.

Pixel coordinates as in `kernels.py`. The outline is made of the parts of contour edges that have
covered image on one side and background on the other. Contour edges are cut where others cross
them; a part is on the outline if a ray from its middle meets no surface on one of the two sides.
"""

import math
from typing import Any

import numpy as np

from dhpe_ros.system.compiled import kernel

_options: dict[str, Any] = {"error_model": "numpy"}
_TILE = 8  # pixels; a block's candidates are looked up once and passed on to its tiles
_BLOCK = 32
_COINCIDENT_PX = 1e-9
_SHARPEST = 20.0  # a notch's tip moves at most this much faster than its edges


@kernel(**_options)
def contours(points, edges, weights):
    """Contour edges as rows (xa, ya, xb, yb), their weights and their vertices (a, b)."""
    count = 0
    for e in range(edges.shape[0]):
        count += weights[e] != 0
    lines = np.empty((count, 4))
    line_weights = np.empty(count, dtype=np.int64)
    ends = np.empty((count, 2), dtype=np.int64)
    k = 0
    for e in range(edges.shape[0]):
        if weights[e] != 0:
            a, b = edges[e, 0], edges[e, 1]
            lines[k, 0], lines[k, 1] = points[a, 0], points[a, 1]
            lines[k, 2], lines[k, 3] = points[b, 0], points[b, 1]
            line_weights[k] = weights[e]
            ends[k, 0], ends[k, 1] = a, b
            k += 1
    return lines, line_weights, ends


@kernel(**_options)
def outline(lines, line_weights):
    """The parts of contour edges that bound the covered area.

    Returns:
        edge_of (S,) int64, index into `lines`; part (S, 2), the interval of the edge's parameter in
        [0, 1], from a to b, that is visible; crossed_by (S, 2) int64, the edges that end the part,
        -1 where it ends at a vertex.
    """
    n = lines.shape[0]
    edge_of, part = np.empty(n + 8, dtype=np.int64), np.empty((n + 8, 2))
    crossed_by = np.empty((n + 8, 2), dtype=np.int64)
    cuts, cutters = np.empty(n + 2), np.empty(n + 2, dtype=np.int64)
    found = 0
    for e in range(n):
        count = _cut(lines, e, cuts, cutters)
        previous = -1.0
        for k in range(count - 1):
            low, high = cuts[k], cuts[k + 1]
            if high <= low or not _bounds(lines, line_weights, e, 0.5 * (low + high)):
                continue
            if previous != low:
                if found == edge_of.shape[0]:
                    edge_of = np.concatenate((edge_of, np.empty_like(edge_of)))
                    part = np.concatenate((part, np.empty_like(part)))
                    crossed_by = np.concatenate((crossed_by, np.empty_like(crossed_by)))
                edge_of[found], part[found, 0], crossed_by[found, 0] = e, low, cutters[k]
                found += 1
            part[found - 1, 1], crossed_by[found - 1, 1] = high, cutters[k + 1]
            previous = high
    return edge_of[:found].copy(), part[:found].copy(), crossed_by[:found].copy()


@kernel(**_options)
def add_lengths(points, edges, weights, lengths):
    """Add to each vertex (V,) of the outline the length that it stands for.

    Half of each edge that ends in it; all of what shows of one whose other end is hidden.
    """
    lines, line_weights, ends = contours(points, edges, weights)
    edge_of, part, _ = outline(lines, line_weights)
    for s in range(edge_of.shape[0]):
        e = edge_of[s]
        length = math.hypot(lines[e, 2] - lines[e, 0], lines[e, 3] - lines[e, 1])
        length *= part[s, 1] - part[s, 0]
        first, last = part[s, 0] == 0.0, part[s, 1] == 1.0
        if first and last:
            length *= 0.5
        if first:
            lengths[ends[e, 0]] += length
        if last:
            lengths[ends[e, 1]] += length


@kernel(**_options)
def _cut(lines, e, cuts, cutters):
    """Sorted parameters of edge e, 0 and 1 included, at which other contour edges cross it.

    `cutters` becomes the edges that do so, -1 for the two ends. Returns the number of cuts.
    """
    xa, ya, xb, yb = lines[e]
    dx, dy = xb - xa, yb - ya
    left, right, top, bottom = min(xa, xb), max(xa, xb), min(ya, yb), max(ya, yb)
    cuts[0], cuts[1], cutters[0], cutters[1] = 0.0, 1.0, -1, -1
    count = 2
    for f in range(lines.shape[0]):
        xc, yc, xd, yd = lines[f]
        if min(xc, xd) > right or max(xc, xd) < left or min(yc, yd) > bottom or max(yc, yd) < top:
            continue
        side_c = dx * (yc - ya) - dy * (xc - xa)
        side_d = dx * (yd - ya) - dy * (xd - xa)
        if (side_c > 0.0) == (side_d > 0.0):
            continue
        along = side_c / (side_c - side_d)
        x, y = xc + along * (xd - xc), yc + along * (yd - yc)
        t = (x - xa) / dx if abs(dx) > abs(dy) else (y - ya) / dy
        if 0.0 < t < 1.0:
            _insert(cuts, cutters, count, t, f)
            count += 1
    return count


@kernel(**_options)
def _insert(cuts, cutters, count, t, f):
    """Put a cut into its place among `count` sorted ones."""
    k = count
    while cuts[k - 1] > t:
        cuts[k], cutters[k] = cuts[k - 1], cutters[k - 1]
        k -= 1
    cuts[k], cutters[k] = t, f


@kernel(**_options)
def _bounds(lines, line_weights, e, t):
    """True where edge e has covered image on one side and background on the other at parameter t.

    Counts the layers on both sides with a ray along the axis that the edge crosses more steeply.
    Of edges that lie on top of each other, the first is taken to lie before the others.
    """
    x = lines[e, 0] + t * (lines[e, 2] - lines[e, 0])
    y = lines[e, 1] + t * (lines[e, 3] - lines[e, 1])
    steep = abs(lines[e, 3] - lines[e, 1]) >= abs(lines[e, 2] - lines[e, 0])
    across, along = (0, 1) if steep else (1, 0)
    here, level = (x, y) if steep else (y, x)
    layers = 0
    for f in range(lines.shape[0]):
        start, stop = lines[f, along], lines[f, along + 2]
        if f == e or (start <= level) == (stop <= level):
            continue
        first, last = lines[f, across], lines[f, across + 2]
        ahead = first + (last - first) * ((level - start) / (stop - start)) - here
        if ahead < -_COINCIDENT_PX or (ahead <= _COINCIDENT_PX and f < e):
            layers += -line_weights[f] if start < stop else line_weights[f]
    own = -line_weights[e] if lines[e, along] < lines[e, along + 2] else line_weights[e]
    if not steep:  # the mirrored picture: rays along y see every crossing with the other sign
        layers, own = -layers, -own
    return (layers > 0) != (layers + own > 0)


@kernel(**_options)
def pull(
    lines, line_weights, ends, edge_of, part, crossed_by, mask, upstream, softness, reach,
    rows, gradient,
):  # fmt: skip
    """Gradient of sum(upstream * S) with respect to the vertices, S the relaxed silhouette.

    S = 1/2 + atan(d / softness) / pi, d the signed distance in pixels of the pixel's centre to the
    outline, positive inside; pixels further than `reach` from it are constant.
    mask, upstream (H, W); rows: the pixel rows [first, stop) to sum over; gradient (V, 2),
    added to.
    """
    segments = _segments(lines, edge_of, part)
    everything = np.arange(edge_of.shape[0])
    block_pool, tile_pool = np.empty_like(everything), np.empty_like(everything)
    distances = np.empty(edge_of.shape[0])
    squared, nearest = np.empty(_TILE * _TILE), np.empty(_TILE * _TILE, dtype=np.int64)
    for top in range(rows[0], rows[1], _BLOCK):
        for left in range(0, mask.shape[1], _BLOCK):
            bottom, right = min(top + _BLOCK, rows[1]), min(left + _BLOCK, mask.shape[1])
            if not _any(upstream, top, bottom, left, right):
                continue
            block = _candidates(
                segments, everything, len(everything), top, bottom, left, right, reach,
                block_pool, distances,
            )  # fmt: skip
            if block == 0:
                continue
            for i in range(top, bottom, _TILE):
                for j in range(left, right, _TILE):
                    below, beyond = min(i + _TILE, bottom), min(j + _TILE, right)
                    if not _any(upstream, i, below, j, beyond):
                        continue
                    tile = _candidates(
                        segments, block_pool, block, i, below, j, beyond, reach,
                        tile_pool, distances,
                    )  # fmt: skip
                    _nearest(segments, tile_pool, tile, i, j, squared, nearest)
                    _pull_tile(
                        lines, line_weights, ends, edge_of, crossed_by, segments, mask, upstream,
                        softness, reach, i, below, j, beyond, squared, nearest, gradient,
                    )  # fmt: skip


@kernel(**_options)
def _segments(lines, edge_of, part):
    """Outline parts as rows (xa, ya, dx, dy, first t, last t, 1 / squared length of the edge)."""
    segments = np.empty((edge_of.shape[0], 7))
    for s in range(edge_of.shape[0]):
        xa, ya, xb, yb = lines[edge_of[s]]
        dx, dy = xb - xa, yb - ya
        segments[s, 0], segments[s, 1], segments[s, 2], segments[s, 3] = xa, ya, dx, dy
        segments[s, 4], segments[s, 5] = part[s, 0], part[s, 1]
        segments[s, 6] = 1.0 / (dx * dx + dy * dy)
    return segments


@kernel(**_options)
def _any(image, top, bottom, left, right):
    for i in range(top, bottom):
        for j in range(left, right):
            if image[i, j] != 0.0:
                return True
    return False


@kernel(**_options)
def _candidates(segments, pool, pool_size, top, bottom, left, right, reach, chosen, distances):
    """Segments of `pool` that can be nearest to some pixel of a rectangle; none if beyond reach.

    Every pixel is within `radius` of the rectangle's centre. Returns how many went to `chosen`.
    """
    x, y = 0.5 * (left + right - 1), 0.5 * (top + bottom - 1)
    radius = 0.5 * math.hypot(right - 1 - left, bottom - 1 - top)
    nearest = np.inf
    for k in range(pool_size):
        distances[k] = math.sqrt(_closest(segments, pool[k], x, y)[0])
        nearest = min(nearest, distances[k])
    count = 0
    if nearest - radius <= reach:
        for k in range(pool_size):
            if distances[k] <= nearest + 2.0 * radius:
                chosen[count] = pool[k]
                count += 1
    return count


@kernel(**_options)
def _closest(segments, s, x, y):
    """Squared distance from (x, y) to segment s, and the edge's parameter at the nearest point."""
    xa, ya, dx, dy, low, high, inverse = segments[s]
    t = ((x - xa) * dx + (y - ya) * dy) * inverse
    t = low if t < low else t
    t = high if t > high else t
    rx, ry = x - (xa + t * dx), y - (ya + t * dy)
    return rx * rx + ry * ry, t


@kernel(**_options)
def _nearest(segments, pool, pool_size, top, left, squared, nearest):
    """Nearest segment to each pixel of a full tile, row by row, and its squared distance.

    The inner loop has no branch, so that it compiles to vector instructions.
    """
    squared[:] = np.inf
    nearest[:] = -1
    for k in range(pool_size):
        s = pool[k]
        xa, ya, dx, dy, low, high, inverse = segments[s]
        for p in range(_TILE * _TILE):
            x, y = left + (p % _TILE) - xa, top + (p // _TILE) - ya
            t = (x * dx + y * dy) * inverse
            t = low if t < low else t
            t = high if t > high else t
            rx, ry = x - t * dx, y - t * dy
            found = rx * rx + ry * ry
            nearest[p] = s if found < squared[p] else nearest[p]
            squared[p] = found if found < squared[p] else squared[p]


@kernel(**_options)
def _pull_tile(
    lines, line_weights, ends, edge_of, crossed_by, segments, mask, upstream,
    softness, reach, top, bottom, left, right, squared, nearest, gradient,
):  # fmt: skip
    for i in range(top, bottom):
        for j in range(left, right):
            p = (i - top) * _TILE + j - left
            s = nearest[p]
            if s < 0 or squared[p] > reach * reach or upstream[i, j] == 0.0:
                continue
            e, t = edge_of[s], _closest(segments, s, j, i)[1]
            out_x, out_y = _outward(lines, line_weights, e, t, i, j, mask[i, j] > 0.0)
            slope = softness / (math.pi * (softness * softness + squared[p]))  # dS / dd
            pull_x, pull_y = upstream[i, j] * slope * out_x, upstream[i, j] * slope * out_y
            f = -1
            if t == segments[s, 4]:
                f = crossed_by[s, 0]
            elif t == segments[s, 5]:
                f = crossed_by[s, 1]
            if f < 0:
                _move(gradient, ends, e, t, pull_x, pull_y)
            else:
                _move_corner(gradient, lines, ends, e, t, f, pull_x, pull_y)


@kernel(**_options)
def _outward(lines, line_weights, e, t, i, j, inside):
    """Unit vector, away from the covered area, between pixel (i, j) and its nearest point."""
    dx, dy = lines[e, 2] - lines[e, 0], lines[e, 3] - lines[e, 1]
    x, y = j - (lines[e, 0] + t * dx), i - (lines[e, 1] + t * dy)
    outward = not inside
    if math.hypot(x, y) < _COINCIDENT_PX:  # on the outline itself: the normal of the edge
        x, y, outward = dy, -dx, line_weights[e] > 0
    length = math.hypot(x, y) if outward else -math.hypot(x, y)
    return x / length, y / length


@kernel(**_options)
def _move(gradient, ends, e, t, pull_x, pull_y):
    """A pull on the point (1 - t) a + t b of edge e is shared by its vertices."""
    a, b = ends[e, 0], ends[e, 1]
    gradient[a, 0] += (1.0 - t) * pull_x
    gradient[a, 1] += (1.0 - t) * pull_y
    gradient[b, 0] += t * pull_x
    gradient[b, 1] += t * pull_y


@kernel(**_options)
def _move_corner(gradient, lines, ends, e, t, f, pull_x, pull_y):
    """A pull on the crossing of edges e and f: its components along their normals move each edge.

    The crossing follows each edge along that edge's normal only. At a sharp notch, where the
    normals are nearly opposite, the tip moves much faster than the edges; the factor is limited.
    """
    ex, ey = lines[e, 2] - lines[e, 0], lines[e, 3] - lines[e, 1]
    fx, fy = lines[f, 2] - lines[f, 0], lines[f, 3] - lines[f, 1]
    sine = ex * fy - ey * fx  # times both lengths
    if sine == 0.0:
        _move(gradient, ends, e, t, pull_x, pull_y)
        return
    x, y = lines[e, 0] + t * ex - lines[f, 0], lines[e, 1] + t * ey - lines[f, 1]
    u = (x * fx + y * fy) / (fx * fx + fy * fy)
    limit = _SHARPEST * math.hypot(pull_x, pull_y)
    along_f = (pull_x * fx + pull_y * fy) / sine  # component along (-ey, ex), the normal of e
    along_e = (pull_x * ex + pull_y * ey) / sine  # component along (fy, -fx), the normal of f
    along_f = _limited(along_f, limit / math.hypot(ex, ey))
    along_e = _limited(along_e, limit / math.hypot(fx, fy))
    _move(gradient, ends, e, t, -ey * along_f, ex * along_f)
    _move(gradient, ends, f, u, fy * along_e, -fx * along_e)


@kernel(**_options)
def _limited(value, limit):
    return min(max(value, -limit), limit)
