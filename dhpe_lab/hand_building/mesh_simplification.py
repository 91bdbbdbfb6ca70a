"""Simplify a hand surface to an exact vertex count while every output vertex stays on the input.

The result is a triangle mesh plus a matrix of barycentric coordinates, so anything linear in the
input's vertices (shapes, skinning weights) carries over by one product.

Two halves: quadric edge collapse (Garland and Heckbert 1997) onto existing vertices, then edge
flips and tangential smoothing, each vertex put back on the input surface.
"""

import heapq

import numpy as np

MAX_VALENCE = 8
MIN_NORMAL_COSINE = 0.3
LENGTH_SHARE = 0.02
"""Weight of squared edge length beside the quadric error: keeps triangles even where it is flat."""


def edge_counts(faces):
    """{(low, high): number of triangles at that edge} of (F, 3) faces."""
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    unique, count = np.unique(edges, axis=0, return_counts=True)
    return {tuple(edge): int(c) for edge, c in zip(unique.tolist(), count, strict=True)}


def boundary_loop(faces):
    """Ordered vertices along the boundary; ``ValueError`` unless it is one loop."""
    half = {(a, b) for f in faces.tolist() for a, b in zip(f, f[1:] + f[:1], strict=True)}
    follow = {a: b for a, b in half if (b, a) not in half}
    if not follow:
        raise ValueError("expected one boundary loop, got a closed surface")
    loop = [min(follow)]
    while follow[loop[-1]] != loop[0]:
        loop.append(follow[loop[-1]])
    if len(loop) != len(follow):
        raise ValueError(f"expected one boundary loop, got one of {len(loop)} of {len(follow)}")
    return np.array(loop, dtype=np.int32)


def triangle_quality(vertices, faces):
    """(F,) 4 sqrt(3) area / sum of squared edge lengths: 1 equilateral, 0 degenerate."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    area = 0.5 * np.linalg.norm(np.cross(b - a, c - a), axis=1)
    squares = sum(((p - q) ** 2).sum(axis=1) for p, q in [(a, b), (b, c), (c, a)])
    return 4.0 * np.sqrt(3.0) * area / np.maximum(squares, 1e-30)


def split_quads(vertices, quads):
    """(Q, 4) quads -> (2Q, 3) triangles, each along its shorter diagonal."""
    first = np.linalg.norm(vertices[quads[:, 0]] - vertices[quads[:, 2]], axis=1)
    second = np.linalg.norm(vertices[quads[:, 1]] - vertices[quads[:, 3]], axis=1)
    turned = np.where((first <= second)[:, None], quads, np.roll(quads, -1, axis=1))
    return np.concatenate([turned[:, [0, 1, 2]], turned[:, [0, 2, 3]]])


def _normals(vertices, faces):
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


class _Collapser:
    """Half-edge collapses ``u -> v`` in order of cost; the surface stays a disc throughout."""

    def __init__(self, vertices, faces, importance):
        self.points = vertices
        self.importance = importance
        self.faces = {k: tuple(f) for k, f in enumerate(faces.tolist())}
        self.star = [set() for _ in vertices]
        for k, face in self.faces.items():
            for u in face:
                self.star[u].add(k)
        self.rim = set(boundary_loop(faces).tolist())
        self.alive = {u for u in range(len(vertices)) if self.star[u]}
        self.quadrics = self._quadrics(faces)
        self.stamp = np.zeros(len(vertices), dtype=np.int64)

    def _quadrics(self, faces):
        normal = _normals(self.points, faces)
        double_area = np.linalg.norm(normal, axis=1, keepdims=True)
        unit = normal / np.maximum(double_area, 1e-20)
        offset = -(unit * self.points[faces[:, 0]]).sum(axis=1, keepdims=True)
        plane = np.concatenate([unit, offset], axis=1)
        per_face = plane[:, :, None] * plane[:, None, :] * double_area[:, :, None]
        total = np.zeros((len(self.points), 4, 4))
        for corner in range(3):
            np.add.at(total, faces[:, corner], per_face)
        return total

    def neighbours(self, u):
        return {w for k in self.star[u] for w in self.faces[k]} - {u}

    def _on_rim(self, u, v):
        return u in self.rim and v in self.rim and len(self.star[u] & self.star[v]) == 1

    def allowed(self, u, v):
        """Link condition, no flipped or needle triangle, bounded valence."""
        shared = self.star[u] & self.star[v]
        rim_edge = self._on_rim(u, v)
        if u in self.rim and not rim_edge:
            return False
        around_u, around_v = self.neighbours(u), self.neighbours(v)
        if len(around_u & around_v) != len(shared):
            return False
        if len((around_u | around_v) - {u, v}) > MAX_VALENCE:
            return False
        if any(len(self.star[w]) <= 4 - (w in self.rim) for w in around_u & around_v):
            return False
        kept = [k for k in self.star[u] if k not in shared]
        before = np.array([self.faces[k] for k in kept])
        after = np.where(before == u, v, before)
        old, new = _normals(self.points, before), _normals(self.points, after)
        cosine = (old * new).sum(axis=1)
        cosine /= np.linalg.norm(old, axis=1) * np.linalg.norm(new, axis=1) + 1e-30
        if cosine.min() < MIN_NORMAL_COSINE:
            return False
        worst = triangle_quality(self.points, after).min()
        return worst > min(0.35, 0.9 * triangle_quality(self.points, before).min())

    def cost(self, u, v):
        quadric = self.quadrics[u] + self.quadrics[v]
        target = np.append(self.points[v], 1.0)
        length = ((self.points[u] - self.points[v]) ** 2).sum()
        weight = max(np.trace(quadric[:3, :3]), 1e-20)
        error = target @ quadric @ target / weight
        return (error + LENGTH_SHARE * length) * max(self.importance[u], self.importance[v])

    def collapse(self, u, v):
        for k in list(self.star[u]):
            face = self.faces[k]
            if v in face:
                for w in face:
                    self.star[w].discard(k)
                del self.faces[k]
            else:
                self.faces[k] = tuple(v if w == u else w for w in face)
                self.star[v].add(k)
        self.star[u] = set()
        self.quadrics[v] += self.quadrics[u]
        self.alive.discard(u)
        self.rim.discard(u)

    def run(self, wanted, candidates):
        """Collapse until ``wanted()`` is true; ``candidates(u)`` yields the allowed targets."""
        heap = [(self.cost(u, v), u, v, 0, 0) for u in sorted(self.alive) for v in candidates(u)]
        heapq.heapify(heap)
        while not wanted():
            if not heap:
                raise RuntimeError("no collapse is left that keeps the surface sound")
            _, u, v, stamp_u, stamp_v = heapq.heappop(heap)
            fresh = stamp_u == self.stamp[u] and stamp_v == self.stamp[v]
            if u not in self.alive or not fresh or not self.allowed(u, v):
                continue
            self.collapse(u, v)
            ring = sorted(self.neighbours(v) | {v})
            self.stamp[ring] += 1
            for a in ring:
                for b in candidates(a):
                    entry = (self.cost(a, b), a, b, self.stamp[a], self.stamp[b])
                    heapq.heappush(heap, entry)
                    if b not in ring:
                        entry = (self.cost(b, a), b, a, self.stamp[b], self.stamp[a])
                        heapq.heappush(heap, entry)


def collapse_to(vertices, faces, n_vertices, n_rim, importance):
    """Collapse edges of a disc until ``n_vertices`` remain, ``n_rim`` of them on the boundary.

    ``importance`` (V,) multiplies the cost of removal. Returns the indices of those that are kept,
    and faces (2 n_vertices - 2 - n_rim, 3) into these.
    """
    work = _Collapser(vertices, faces, importance)

    def rim_targets(u):
        return [v for v in sorted(work.neighbours(u)) if work._on_rim(u, v)]

    def inner_targets(u):
        return [] if u in work.rim else sorted(work.neighbours(u))

    work.run(lambda: len(work.rim) == n_rim, rim_targets)
    work.run(lambda: len(work.alive) == n_vertices, inner_targets)
    kept = np.array(sorted(work.alive))
    new_index = {old: new for new, old in enumerate(kept.tolist())}
    simple = [[new_index[w] for w in work.faces[k]] for k in sorted(work.faces)]
    return kept, np.array(simple, dtype=np.int32)


def closest_on_surface(points, vertices, faces, candidates=24):
    """Index (N,) and barycentric coordinates (N, 3) of the face closest to each of ``points``.

    ``candidates`` triangles are tried per point, those with the nearest centres.
    """
    centres = vertices[faces].mean(axis=1)
    gap = ((points[:, None] - centres[None]) ** 2).sum(axis=2)
    near = np.argpartition(gap, candidates, axis=1)[:, :candidates]
    a, b, c = (vertices[faces[near][..., k]] for k in range(3))
    coordinates = _closest_barycentric(points[:, None], a, b, c)
    found = (coordinates[..., None] * np.stack([a, b, c], axis=2)).sum(axis=2)
    best = ((found - points[:, None]) ** 2).sum(axis=2).argmin(axis=1)
    rows = np.arange(len(points))
    return near[rows, best], coordinates[rows, best]


def _closest_barycentric(p, a, b, c):
    """Barycentric coordinates of the point of triangle abc closest to p; broadcasts."""
    ab, ac, ap = b - a, c - a, p - a
    d00, d01, d11 = (ab * ab).sum(-1), (ab * ac).sum(-1), (ac * ac).sum(-1)
    d20, d21 = (ap * ab).sum(-1), (ap * ac).sum(-1)
    denominator = np.maximum(d00 * d11 - d01 * d01, 1e-30)
    v = (d11 * d20 - d01 * d21) / denominator
    w = (d00 * d21 - d01 * d20) / denominator
    options = [np.stack([1.0 - v - w, v, w], axis=-1)]
    inside = (options[0] >= 0.0).all(axis=-1)
    corners = (a, b, c)
    for i, j in [(0, 1), (1, 2), (2, 0)]:
        along = corners[j] - corners[i]
        t = ((p - corners[i]) * along).sum(-1) / np.maximum((along * along).sum(-1), 1e-30)
        t = np.clip(t, 0.0, 1.0)
        edge = np.zeros_like(options[0])
        edge[..., i], edge[..., j] = 1.0 - t, t
        options.append(edge)
    stack = np.stack(options)
    reached = (stack[..., None] * np.stack(corners, axis=-2)).sum(axis=-2)
    gap = ((reached - p) ** 2).sum(-1)
    gap[0] = np.where(inside, gap[0], np.inf)
    pick = gap.argmin(axis=0)
    return np.take_along_axis(stack, pick[None, ..., None], axis=0)[0]


def flip_edges(vertices, faces):
    """Flip edges until no flip makes the worse of its two triangles better; returns new faces."""
    faces = [list(f) for f in faces.tolist()]
    owner = {(f[k], f[(k + 1) % 3]): i for i, f in enumerate(faces) for k in range(3)}
    for _ in range(4):
        changed = 0
        for a, b in sorted(owner):
            if a > b or (a, b) not in owner or (b, a) not in owner:
                continue
            left, right = owner[a, b], owner[b, a]
            c = next(w for w in faces[left] if w not in (a, b))
            d = next(w for w in faces[right] if w not in (a, b))
            if (c, d) in owner or (d, c) in owner:
                continue
            old = np.array([faces[left], faces[right]])
            new = np.array([[c, d, b], [d, c, a]])
            if not _flip_is_better(vertices, old, new):
                continue
            for face in old.tolist():
                for k in range(3):
                    del owner[face[k], face[(k + 1) % 3]]
            for index, face in zip((left, right), new.tolist(), strict=True):
                faces[index] = face
                for k in range(3):
                    owner[face[k], face[(k + 1) % 3]] = index
            changed += 1
        if not changed:
            break
    return np.array(faces, dtype=np.int32)


def _flip_is_better(vertices, old, new):
    """Better shape, and the surface does not fold: both new normals stay near the old ones."""
    if triangle_quality(vertices, new).min() < 1.1 * triangle_quality(vertices, old).min():
        return False
    before, after = _normals(vertices, old), _normals(vertices, new)
    before /= np.linalg.norm(before, axis=1, keepdims=True)
    after /= np.maximum(np.linalg.norm(after, axis=1, keepdims=True), 1e-30)
    return (after @ before.T).min() > 0.8


def relax(vertices, faces, source_vertices, source_faces, rounds=12):
    """Even out triangles by flips and tangential smoothing on the source; the boundary stays.

    Returns a barycentric (V, S) matrix onto the source vertices, and faces (F, 3).
    """
    rim = boundary_loop(faces)
    points = vertices.copy()
    for _ in range(rounds):
        faces = flip_edges(points, faces)
        moved = _smooth_tangentially(points, faces)
        moved[rim] = points[rim]
        host, coordinates = closest_on_surface(moved, source_vertices, source_faces)
        points = (coordinates[..., None] * source_vertices[source_faces[host]]).sum(axis=1)
    host, coordinates = closest_on_surface(points, source_vertices, source_faces)
    matrix = np.zeros((len(points), len(source_vertices)))
    np.put_along_axis(matrix, source_faces[host], coordinates, axis=1)
    return matrix, faces


def _smooth_tangentially(points, faces):
    """Half a step towards the area-weighted mean of the surrounding triangles' centres."""
    normal = _normals(points, faces)
    area = np.linalg.norm(normal, axis=1)
    centre = points[faces].mean(axis=1)
    total, weight, direction = np.zeros_like(points), np.zeros(len(points)), np.zeros_like(points)
    for corner in range(3):
        np.add.at(total, faces[:, corner], centre * area[:, None])
        np.add.at(weight, faces[:, corner], area)
        np.add.at(direction, faces[:, corner], normal)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    step = 0.5 * (total / weight[:, None] - points)
    return points + step - (step * direction).sum(axis=1, keepdims=True) * direction
