"""Compiled kernels of points on the hand: positions and derivatives, hand by hand, on one core.

A point is linear in the posed vertices: a sum over the bones that move it, one pair of point and
bone each. A small turn ``omega`` of a bone moves what hangs on it by ``omega x (point - pivot)``.

The arrays ``model`` are those of ``LinearPoints``: pairs (P, 2) of point and bone; points (P, 4)
and blend (P, 3, 145) of each pair; joint_template (16, 3), jointdirs (16, 3, 10), components
transposed (45, 45) and mean (45,).

Inner loops take numbers by their indices: a row taken out of an array, or taken apart into numbers,
costs more than the arithmetic on it.
"""

import math

import numpy as np

from dhpe_ros.hand.kernels.hand_kernels import (
    add_scaled,
    blend_coefficients,
    combine,
    compiled,
    dot,
    pose_bones,
    rest_joints,
    rotation_of,
)
from dhpe_ros.hand.kernels.layout import PARENTS
from dhpe_ros.system.compiled import kernel

LINE = 64  # numbers of a line of derivatives: 63, and one so that vectors fill
SHORTEST = 1e-6  # a quaternion below this length is not brought to length one


@kernel(**compiled)
def place_points(parameters, model, out):
    """Fill ``out`` (B, N, 3), crop coordinates, for ``parameters`` (B, 63)."""
    for hand in range(len(parameters)):
        row = parameters[hand]
        to_crop(row, place(model, bones_of(row, model), row[53:], out.shape[1]), out[hand])


@kernel(**compiled)
def differentiate_points(parameters, model, out, slopes):
    """As ``place_points``, and ``slopes`` (B, N, 2 or 3, 63) by each of the 63 numbers."""
    count, coordinates = slopes.shape[1], slopes.shape[2]
    directions = np.zeros((count, coordinates, 3), np.float64)
    for k in range(coordinates):
        directions[:, k, k] = 1
    by_angles = np.empty((count, coordinates, LINE), np.float64)
    for hand in range(len(parameters)):
        row = parameters[hand]
        bones = bones_of(row, model)
        placed = place(model, bones, row[53:], count)
        to_crop(row, placed, out[hand])
        by_coefficients = blend_points(model, bones, directions)
        differentiate(row, bones, placed, model[0], directions, by_coefficients, by_angles)
        for n in range(count):
            for k in range(coordinates):
                slope, line = slopes[hand, n, k], by_angles[n, k]
                slope[:8], slope[53:] = line[:8], line[53:63]
                combine(slope[8:53], line[8:53], model[5])


@kernel(**compiled)
def read_at(field, point):
    """Value of the field at a point of the crop, and its slopes to the right and down."""
    size = len(field)
    column, row = (point[0] + 1) * (size / 2) - 0.5, (point[1] + 1) * (size / 2) - 0.5
    flat_across = column < 0 or column > size - 1
    flat_down = row < 0 or row > size - 1
    column, row = min(max(column, 0.0), size - 1.0), min(max(row, 0.0), size - 1.0)
    j, i = min(int(column), size - 2), min(int(row), size - 2)
    u, v = column - j, row - i
    a, b, c, d = field[i, j], field[i, j + 1], field[i + 1, j], field[i + 1, j + 1]
    value = (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d)
    across = 0.0 if flat_across else ((1 - v) * (b - a) + v * (d - c)) * (size / 2)
    down = 0.0 if flat_down else ((1 - u) * (c - a) + u * (d - b)) * (size / 2)
    return value, across, down


@kernel(**compiled)
def pose_of(row, components_t, mean):
    """(15, 3) axis-angle of a row of parameters."""
    pose = np.empty(45, np.float64)
    for m in range(45):
        pose[m] = mean[m] + dot(row[8:53], components_t[m])
    return pose.reshape((15, 3))


@kernel(**compiled)
def unit_rotation(quaternion):
    """(3, 3) of a quaternion of any length."""
    unit = quaternion / max(math.sqrt(dot(quaternion, quaternion)), SHORTEST)
    rotation = np.empty((3, 3), unit.dtype)
    rotation_of(unit, rotation)
    return rotation


@kernel(**compiled)
def omega_by_quaternion(quaternion):
    """(4, 3): the turn that a change of each number of a quaternion is, whatever its length."""
    w, x, y, z = quaternion
    scale = 2 / max(w * w + x * x + y * y + z * z, SHORTEST**2)
    by = np.empty((4, 3), np.float64)
    by[0] = (-x, -y, -z)
    by[1] = (w, z, -y)
    by[2] = (-z, w, x)
    by[3] = (y, -x, w)
    return by * scale


@kernel(**compiled)
def left_jacobian(vector):
    """(3, 3), row ``k``: the turn, seen from the parent, that a change of ``vector[k]`` is."""
    x, y, z = vector
    squared = x * x + y * y + z * z
    if squared < 1e-4:
        a, b = 0.5 - squared / 24, 1 / 6 - squared / 120
    else:
        angle = math.sqrt(squared)
        a = 2 * math.sin(0.5 * angle) ** 2 / squared
        b = (angle - math.sin(angle)) / (angle * squared)
    by = np.empty((3, 3), np.float64)  # I + a [v]x + b (v v' - v.v I), transposed
    c = 1 - b * squared
    by[0] = (c + b * x * x, a * z + b * x * y, -a * y + b * x * z)
    by[1] = (-a * z + b * x * y, c + b * y * y, a * x + b * y * z)
    by[2] = (a * y + b * x * z, -a * x + b * y * z, c + b * z * z)
    return by


@kernel(**compiled)
def cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@kernel(**compiled)
def transform(affine, point, out):
    """``out = affine @ [point, 1]``."""
    for i in range(3):
        out[i] = dot(affine[i, :3], point) + affine[i, 3]


@kernel(**compiled)
def bones_of(row, model):
    """Pose, joints at rest, turns and chain of a hand of scale 1 at the origin."""
    joint_template, jointdirs, components_t, mean = model[3:]
    frame = np.zeros((3, 4), np.float64)
    frame[:, :3] = unit_rotation(row[4:8])
    pose, rest = pose_of(row, components_t, mean), rest_joints(row[53:], joint_template, jointdirs)
    _, turns, chain = pose_bones(pose, frame, rest)
    return pose, rest, turns, chain


@kernel(**compiled)
def place(model, bones, shape, count):
    """Points of that hand (N, 3), how much of each moves with the hand (N,), pairs (P, 3)."""
    pairs, points, blend = model[:3]
    _, _, turns, chain = bones
    coefficients = np.empty(blend.shape[2], np.float64)
    blend_coefficients(shape, turns, coefficients)
    placed, share = np.zeros((count, 3), np.float64), np.zeros(count, np.float64)
    moved, point = np.empty((len(pairs), 3), np.float64), np.empty(3, np.float64)
    for p in range(len(pairs)):
        n, bone = pairs[p, 0], pairs[p, 1]
        for i in range(3):
            point[i] = points[p, i] + dot(coefficients, blend[p, i])
        for i in range(3):
            moved[p, i] = chain[bone, i, 3] * points[p, 3]
            for j in range(3):
                moved[p, i] += chain[bone, i, j] * point[j]
            placed[n, i] += moved[p, i]
        share[n] += points[p, 3]
    return placed, share, moved, points[:, 3].copy()


@kernel(**compiled)
def place_vertices(vertices, pairs, shares, mesh, bones, shape):
    """As ``place``, of vertices (N,) of ``mesh``, as in ``pose_meshes``.

    ``pairs`` (P, 2) are those of a vertex's place in ``vertices`` and a bone that moves it, by its
    share (P,).
    """
    template, blend_shapes = mesh[0], mesh[1]
    _, _, turns, chain = bones
    count, all_vertices = len(vertices), template.shape[1]
    coefficients = np.empty(blend_shapes.shape[1], np.float64)
    blend_coefficients(shape, turns, coefficients)
    posed, placed = np.empty((count, 3), np.float64), np.zeros((count, 3), np.float64)
    for n in range(count):
        for i in range(3):
            offset = dot(coefficients, blend_shapes[i * all_vertices + vertices[n]])
            posed[n, i] = template[i, vertices[n]] + offset
    moved = np.empty((len(pairs), 3), np.float64)
    for p in range(len(pairs)):
        n, bone = pairs[p, 0], pairs[p, 1]
        for i in range(3):
            moved[p, i] = chain[bone, i, 3]
            for j in range(3):
                moved[p, i] += chain[bone, i, j] * posed[n, j]
            moved[p, i] *= shares[p]
            placed[n, i] += moved[p, i]
    return placed, np.ones(count, np.float64), moved, shares


@kernel(**compiled)
def to_crop(row, placed, out):
    points, share, _, _ = placed
    for n in range(len(points)):
        for i in range(3):
            out[n, i] = row[0] * points[n, i] + row[1 + i] * share[n]


@kernel(**compiled)
def differentiate(row, bones, placed, pairs, directions, by_coefficients, slopes):
    """Fill ``slopes`` (N, K, 64): of each point along its ``directions`` (N, K, 3).

    By the 63 numbers, but with the bones' axis-angles for the 45 of the pose, and a last zero.
    ``by_coefficients`` (N, K, 145) is that of ``blend_points`` or ``blend_vertices``.
    """
    pose, rest, turns, chain = bones
    points, share, _, _ = placed
    arms, hangs = _arms(rest, chain, placed, pairs)
    by_omega = omega_by_quaternion(row[4:8])
    bends = np.empty((45, 9), np.float64)  # change of each rotation R with its axis-angle
    axes = np.empty((45, 3), np.float64)  # the turn that each number is, its parent posed
    for b in range(15):
        by = left_jacobian(pose[b])
        for k in range(3):
            for i in range(3):
                axes[3 * b + k, i] = dot(chain[PARENTS[b + 1], i, :3], by[k])
                x, y, z = cross(by[k], turns[b, :, i])
                bend = bends[3 * b + k]
                bend[i], bend[3 + i], bend[6 + i] = x, y, z
    for n in range(len(points)):
        for k in range(directions.shape[1]):
            line, direction, by_coefficient = slopes[n, k], directions[n, k], by_coefficients[n, k]
            for m in range(45):
                total, first = 0.0, 10 + 9 * (m // 3)
                for i in range(9):
                    total += by_coefficient[first + i] * bends[m, i]
                line[8 + m] = total
            for b in range(15):
                if hangs[n, b + 1]:
                    x, y, z = cross(arms[n, b + 1], direction)
                    for m in range(3 * b, 3 * b + 3):
                        line[8 + m] += axes[m, 0] * x + axes[m, 1] * y + axes[m, 2] * z
            for m in range(10):
                line[53 + m] = by_coefficient[m]
            x, y, z = cross(points[n], direction)
            for m in range(4):
                line[4 + m] = by_omega[m, 0] * x + by_omega[m, 1] * y + by_omega[m, 2] * z
            for m in range(LINE):
                line[m] *= row[0]
            line[0], line[63] = dot(direction, points[n]), 0
            for i in range(3):
                line[1 + i] = direction[i] * share[n]


@kernel(**compiled)
def blend_points(model, bones, directions):
    """(N, K, 145): by shape, through blend shapes and joints at rest, and by ``R - I``."""
    pairs, points, blend, _, jointdirs = model[:5]
    chain = bones[3]
    shift, along = _shift(chain, jointdirs), np.empty(3, np.float64)
    by = np.zeros((*directions.shape[:2], blend.shape[2]), np.float64)
    for p in range(len(pairs)):
        n, bone = pairs[p, 0], pairs[p, 1]
        for k in range(directions.shape[1]):
            along[:] = 0
            for i in range(3):
                scale = points[p, 3] * directions[n, k, i]
                for j in range(3):
                    along[j] += directions[n, k, i] * chain[bone, i, j]
                for m in range(10):
                    by[n, k, m] += scale * shift[bone, i, m]
            x, y, z = along
            for m in range(blend.shape[2]):
                by[n, k, m] += x * blend[p, 0, m] + y * blend[p, 1, m] + z * blend[p, 2, m]
    return by


@kernel(**compiled)
def blend_vertices(vertices, pairs, shares, mesh, bones, jointdirs, directions):
    """As ``blend_points``, of vertices (N,) along one direction each."""
    count, blend, chain = len(vertices), mesh[1], bones[3]
    shift, along = _shift(chain, jointdirs), np.zeros((count, 3), np.float64)
    by = np.zeros((count, 1, blend.shape[1]), np.float64)
    for p in range(len(pairs)):
        n, bone = pairs[p, 0], pairs[p, 1]
        for i in range(3):
            scale = shares[p] * directions[n, 0, i]
            for j in range(3):
                along[n, j] += scale * chain[bone, i, j]
            for m in range(10):
                by[n, 0, m] += scale * shift[bone, i, m]
    for n in range(count):
        x, y, z = along[n, 0], along[n, 1], along[n, 2]
        a = vertices[n]
        b, c = a + mesh[0].shape[1], a + 2 * mesh[0].shape[1]
        for m in range(blend.shape[1]):
            by[n, 0, m] += x * blend[a, m] + y * blend[b, m] + z * blend[c, m]
    return by


@kernel(**compiled)
def _shift(chain, jointdirs):
    """(16, 3, 10): of each bone's map by the shape."""
    shift = np.zeros((16, 3, 10), np.float64)
    for b in range(1, 16):
        parent = PARENTS[b]
        shift[b] = shift[parent]
        for i in range(3):
            for j in range(3):
                add_scaled(shift[b, i], chain[parent, i, j] - chain[b, i, j], jointdirs[b, j])
    return shift


@kernel(**compiled)
def _arms(rest, chain, placed, pairs):
    """(N, 16, 3): from each bone's joint to what of a point hangs on the bone; marks (N, 16)."""
    _, share, moved, shares = placed
    arms, hangs = np.zeros((len(share), 16, 3), np.float64), np.zeros((len(share), 16), np.bool_)
    pivots = np.empty((16, 3), np.float64)
    for b in range(1, 16):
        transform(chain[PARENTS[b]], rest[b], pivots[b])
    for p in range(len(pairs)):
        n, bone = pairs[p, 0], pairs[p, 1]
        while bone > 0:
            hangs[n, bone] = True
            for i in range(3):
                arms[n, bone, i] += moved[p, i] - shares[p] * pivots[bone, i]
            bone = PARENTS[bone]
    return arms, hangs
