"""Compiled kernels of points on the hand: positions and derivatives, hand by hand, on one core.

A point is linear in the posed vertices: a sum over the bones that move it, one pair of point and
bone each. A small turn ``omega`` of a bone moves what hangs on it by ``omega x (point - pivot)``.

The arrays ``model`` are those of ``LinearPoints``: pairs (P, 2) of point and bone; points (P, 4)
and blend (P, 3, 145) of each pair; joint_template (16, 3), jointdirs (16, 3, 10), components
transposed (45, 45) and mean (45,).
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

SHORTEST = 1e-6  # a quaternion below this length is not brought to length one


@kernel(**compiled)
def place_points(parameters, model, out):
    """Fill ``out`` (B, N, 3), crop coordinates, for ``parameters`` (B, 63)."""
    for hand in range(len(parameters)):
        row = parameters[hand]
        _to_crop(row, _place(model, _bones(row, model), row[53:], out.shape[1]), out[hand])


@kernel(**compiled)
def differentiate_points(parameters, model, out, slopes):
    """As ``place_points``, and ``slopes`` (B, N, 2 or 3, 63) by each of the 63 numbers."""
    directions = np.zeros((*slopes.shape[1:3], 3), np.float64)
    for k in range(slopes.shape[2]):
        directions[:, k, k] = 1
    for hand in range(len(parameters)):
        row = parameters[hand]
        bones = _bones(row, model)
        placed = _place(model, bones, row[53:], out.shape[1])
        _to_crop(row, placed, out[hand])
        _differentiate(row, model, bones, placed, directions, slopes[hand])


@kernel(**compiled)
def read_field(row, model, field, values, slopes):
    """Read a ``field`` (S, S) over the crop at N points, and its slopes by a hand's 63 numbers.

    Fills values (N,) and slopes (N, 63). Between the centres of its cells the field is linear,
    beyond the outermost ones flat.
    """
    count = len(values)
    bones = _bones(row, model)
    placed = _place(model, bones, row[53:], count)
    points, directions = np.empty((count, 3), np.float64), np.zeros((count, 1, 3), np.float64)
    _to_crop(row, placed, points)
    for n in range(count):
        values[n], directions[n, 0, 0], directions[n, 0, 1] = _read(field, points[n])
    _differentiate(row, model, bones, placed, directions, slopes.reshape((count, 1, 63)))


@kernel(**compiled)
def _read(field, point):
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
def add_normal_equations(jacobians, residuals, weights, curvatures, gradients):
    """Gauss-Newton form of ``sum of weight * residual^2 / 2``, without threads.

    jacobians (B, R, 63), residuals and weights (B, R). Adds to curvatures (B, 63, 63) and
    gradients (B, 63).
    """
    for hand in range(len(jacobians)):
        curvature, gradient = curvatures[hand], gradients[hand]
        for r in range(jacobians.shape[1]):
            slope, weight = jacobians[hand, r], weights[hand, r]
            add_scaled(gradient, weight * residuals[hand, r], slope)
            for k in range(63):
                add_scaled(curvature[k], weight * slope[k], slope)


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
def _bones(row, model):
    """Pose, joints at rest, turns and chain of a hand of scale 1 at the origin."""
    joint_template, jointdirs, components_t, mean = model[3:]
    frame = np.zeros((3, 4), np.float64)
    frame[:, :3] = unit_rotation(row[4:8])
    pose, rest = pose_of(row, components_t, mean), rest_joints(row[53:], joint_template, jointdirs)
    _, turns, chain = pose_bones(pose, frame, rest)
    return pose, rest, turns, chain


@kernel(**compiled)
def _place(model, bones, shape, count):
    """Points of that hand (N, 3), how much of each moves with the hand (N,), pairs (P, 3)."""
    pairs, points, blend = model[:3]
    _, _, turns, chain = bones
    coefficients = np.empty(blend.shape[2], np.float64)
    blend_coefficients(shape, turns, coefficients)
    placed, share = np.zeros((count, 3), np.float64), np.zeros(count, np.float64)
    moved, point = np.empty((len(pairs), 3), np.float64), np.empty(3, np.float64)
    for p in range(len(pairs)):
        n, bone = pairs[p]
        for i in range(3):
            point[i] = points[p, i] + dot(coefficients, blend[p, i])
        for i in range(3):
            moved[p, i] = dot(chain[bone, i, :3], point) + chain[bone, i, 3] * points[p, 3]
            placed[n, i] += moved[p, i]
        share[n] += points[p, 3]
    return placed, share, moved


@kernel(**compiled)
def _to_crop(row, placed, out):
    points, share, _ = placed
    for n in range(len(points)):
        for i in range(3):
            out[n, i] = row[0] * points[n, i] + row[1 + i] * share[n]


@kernel(**compiled)
def _differentiate(row, model, bones, placed, directions, slopes):
    """Fill ``slopes`` (N, K, 63): of each point along its ``directions`` (N, K, 3)."""
    pose, rest, turns, chain = bones
    points, share, _ = placed
    by_coefficients = _by_coefficients(model, chain, directions)
    arms, hangs = _arms(model, rest, chain, placed)
    by_omega, by_angle = omega_by_quaternion(row[4:8]), np.empty(45, np.float64)
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
                first = 10 + 9 * (m // 3)
                by_angle[m] = dot(by_coefficient[first : first + 9], bends[m])
            for b in range(15):
                if hangs[n, b + 1]:
                    x, y, z = cross(arms[n, b + 1], direction)
                    for m in range(3 * b, 3 * b + 3):
                        by_angle[m] += axes[m, 0] * x + axes[m, 1] * y + axes[m, 2] * z
            combine(line[8:53], by_angle, model[5])
            line[53:] = by_coefficient[:10]
            x, y, z = cross(points[n], direction)
            for m in range(4):
                line[4 + m] = by_omega[m, 0] * x + by_omega[m, 1] * y + by_omega[m, 2] * z
            for m in range(4, 63):
                line[m] *= row[0]
            line[0] = dot(direction, points[n])
            for i in range(3):
                line[1 + i] = direction[i] * share[n]


@kernel(**compiled)
def _by_coefficients(model, chain, directions):
    """(N, K, 145): by shape, through blend shapes and joints at rest, and by ``R - I``."""
    pairs, points, blend, _, jointdirs = model[:5]
    shift = np.zeros((16, 3, 10), np.float64)  # of each bone's map by the shape
    for b in range(1, 16):
        parent = PARENTS[b]
        shift[b] = shift[parent]
        for i in range(3):
            for j in range(3):
                add_scaled(shift[b, i], chain[parent, i, j] - chain[b, i, j], jointdirs[b, j])
    by = np.zeros((*directions.shape[:2], blend.shape[2]), np.float64)
    for p in range(len(pairs)):
        n, bone = pairs[p]
        a, b, c = blend[p]
        for k in range(directions.shape[1]):
            d, total = directions[n, k], by[n, k]
            x, y, z = (
                dot(d, chain[bone, :, 0]),
                dot(d, chain[bone, :, 1]),
                dot(d, chain[bone, :, 2]),
            )
            _add_three(total, x, a, y, b, z, c)
            for i in range(3):
                if d[i] != 0:
                    add_scaled(total[:10], points[p, 3] * d[i], shift[bone, i])
    return by


@kernel(**compiled)
def _add_three(total, x, a, y, b, z, c):
    for m in range(len(total)):
        total[m] += x * a[m] + y * b[m] + z * c[m]


@kernel(**compiled)
def _arms(model, rest, chain, placed):
    """(N, 16, 3): from each bone's joint to what of a point hangs on the bone; marks (N, 16)."""
    pairs, points = model[:2]
    _, share, moved = placed
    arms, hangs = np.zeros((len(share), 16, 3), np.float64), np.zeros((len(share), 16), np.bool_)
    pivots = np.empty((16, 3), np.float64)
    for b in range(1, 16):
        transform(chain[PARENTS[b]], rest[b], pivots[b])
    for p in range(len(pairs)):
        n, bone = pairs[p]
        while bone > 0:
            hangs[n, bone] = True
            for i in range(3):
                arms[n, bone, i] += moved[p, i] - points[p, 3] * pivots[bone, i]
            bone = PARENTS[bone]
    return arms, hangs
