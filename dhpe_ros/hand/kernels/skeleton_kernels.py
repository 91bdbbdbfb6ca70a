"""Compiled kernels of the skeleton alone: joints and their derivatives, hand by hand, on one core.

They are ``SkeletonLayer``, with derivatives in closed form. A small turn
``omega`` of a bone moves what hangs on it by ``omega x (point - pivot)``.
"""

import math

import numpy as np

from dhpe_ros.hand.kernels.hand_kernels import (
    add_scaled,
    combine,
    compiled,
    dot,
    pose_bones,
    rotation_of,
)
from dhpe_ros.hand.kernels.layout import PARENTS
from dhpe_ros.system.compiled import kernel

SHORTEST = 1e-6  # a quaternion below this length is not brought to length one


@kernel(**compiled)
def place_joints(parameters, model, joints):
    """Fill ``joints`` (B, 21, 3) for ``parameters`` (B, 63).

    model: pairs (P, 2) of joint and bone, points (P, 4) and blend (P, 3, 145) of each pair;
        joint_template (16, 3), jointdirs (16, 3, 10), components transposed (45, 45), mean (45,).
    """
    nothing = np.zeros((21, 0, 145), np.float64)
    for hand in range(len(parameters)):
        placed, share, _, _, _, _ = _place(parameters[hand], model, nothing)
        _to_crop(parameters[hand], placed, share, joints[hand])


@kernel(**compiled)
def differentiate_joints(parameters, model, joints, slopes):
    """As ``place_joints``, and ``slopes`` (B, 21, 2 or 3, 63) by each of the 63 numbers."""
    components_t, mean = model[5:]
    by_coefficients = np.empty((21, slopes.shape[2], 145), np.float64)
    for hand in range(len(parameters)):
        row, slope = parameters[hand], slopes[hand]
        placed, share, moved, rest, turns, chain = _place(row, model, by_coefficients)
        _to_crop(row, placed, share, joints[hand])
        jacobians = _left_jacobians(pose_of(row, components_t, mean))
        by_angles = _by_angles(jacobians, model, moved, rest, chain, len(placed))
        by_omega = omega_by_quaternion(row[4:8])
        from_bends = _bends(jacobians, turns)
        for j in range(len(placed)):
            for i in range(slopes.shape[2]):
                line, by_angle = slope[j, i], by_angles[j, i]
                line[:] = 0
                for m in range(45):
                    first = 10 + 9 * (m // 3)
                    bend = by_coefficients[j, i, first : first + 9]
                    by_angle[m] += dot(bend, from_bends[m])
                combine(line[8:53], by_angle, components_t)
                line[53:] = by_coefficients[j, i, :10]
                i1, i2 = (i + 1) % 3, (i + 2) % 3
                for k in range(4):
                    line[4 + k] = by_omega[k, i1] * placed[j, i2] - by_omega[k, i2] * placed[j, i1]
                for k in range(4, 63):
                    line[k] *= row[0]
                line[0] = placed[j, i]
                line[1 + i] = share[j]


@kernel(**compiled)
def read_field(row, model, field, values, slopes):
    """Read a ``field`` (S, S) over the crop at N points, and its slopes by a hand's 63 numbers.

    Fills values (N,) and slopes (N, 63). Between the centres of its cells the field is linear,
    beyond the outermost ones flat. model: as in ``place_joints``, its pairs of N points and bones.
    """
    components_t, mean = model[5:]
    by_coefficients = np.empty((len(values), 2, 145), np.float64)
    placed, share, moved, rest, turns, chain = _place(row, model, by_coefficients)
    jacobians = _left_jacobians(pose_of(row, components_t, mean))
    by_angles = _by_angles(jacobians, model, moved, rest, chain, len(placed))
    by_omega = omega_by_quaternion(row[4:8])
    from_bends = _bends(jacobians, turns)
    by_angle, by_coefficient = np.empty(45, np.float64), np.empty(145, np.float64)
    point = np.empty((1, 3), np.float64)
    for n in range(len(values)):
        line, (x, y, z) = slopes[n], placed[n]
        _to_crop(row, placed[n : n + 1], share[n : n + 1], point)
        values[n], u, v = _read(field, point[0, 0], point[0, 1])
        line[:] = 0
        for k in range(145):
            by_coefficient[k] = u * by_coefficients[n, 0, k] + v * by_coefficients[n, 1, k]
        for m in range(45):
            first = 10 + 9 * (m // 3)
            by_angle[m] = u * by_angles[n, 0, m] + v * by_angles[n, 1, m]
            by_angle[m] += dot(by_coefficient[first : first + 9], from_bends[m])
        combine(line[8:53], by_angle, components_t)
        line[53:] = by_coefficient[:10]
        for k in range(4):
            across = by_omega[k, 1] * z - by_omega[k, 2] * y
            down = by_omega[k, 2] * x - by_omega[k, 0] * z
            line[4 + k] = u * across + v * down
        for k in range(4, 63):
            line[k] *= row[0]
        line[0] = u * x + v * y
        line[1], line[2] = u * share[n], v * share[n]


@kernel(**compiled)
def _read(field, x, y):
    """Value of the field at a point of the crop, and its slopes to the right and down."""
    size = len(field)
    column, row = (x + 1) * (size / 2) - 0.5, (y + 1) * (size / 2) - 0.5
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
    squared = dot(quaternion, quaternion)
    unit = quaternion / max(math.sqrt(squared), SHORTEST)
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
def _place(row, model, by):
    """Joints of a hand of scale 1 at the origin (J, 3), and what they were made of.

    ``by`` (J, N, 145) is filled for the first N coordinates: by shape, through blend shapes and
    joints at rest, and by ``R - I``.
    """
    pairs, points, blend, joint_template, jointdirs, components_t, mean = model
    frame = np.zeros((3, 4), np.float64)
    frame[:, :3] = unit_rotation(row[4:8])
    pose = pose_of(row, components_t, mean)
    rest, _, turns, chain = pose_bones(pose, row[53:], frame, joint_template, jointdirs)
    coefficients = np.empty(blend.shape[2], np.float64)
    coefficients[:10] = row[53:]
    coefficients[10:] = turns.reshape(-1)
    for b in range(15):
        for i in range(3):
            coefficients[10 + 9 * b + 4 * i] -= 1  # R - I
    shift = _shift_by_shape(jointdirs, chain)
    by[:] = 0
    placed, share = np.zeros((len(by), 3), np.float64), np.zeros(len(by), np.float64)
    moved = np.empty((len(pairs), 3), np.float64)
    point = np.empty(3, np.float64)
    for p in range(len(pairs)):
        joint, bone = pairs[p]
        for i in range(3):
            point[i] = points[p, i] + dot(coefficients, blend[p, i])
        for i in range(3):
            moved[p, i] = dot(chain[bone, i, :3], point) + chain[bone, i, 3] * points[p, 3]
            placed[joint, i] += moved[p, i]
        share[joint] += points[p, 3]
        for i in range(by.shape[1]):
            _add_three(by[joint, i], chain[bone, i], blend[p])
            add_scaled(by[joint, i, :10], points[p, 3], shift[bone, i])
    return placed, share, moved, rest, turns, chain


@kernel(**compiled)
def _add_three(total, scales, rows):
    x, y, z, a, b, c = scales[0], scales[1], scales[2], rows[0], rows[1], rows[2]
    for i in range(len(total)):
        total[i] += x * a[i] + y * b[i] + z * c[i]


@kernel(**compiled)
def _to_crop(row, placed, share, joints):
    for j in range(len(placed)):
        for i in range(3):
            joints[j, i] = row[0] * placed[j, i] + row[1 + i] * share[j]


@kernel(**compiled)
def _shift_by_shape(jointdirs, chain):
    """(16, 3, 10): shift by the shape of each bone's affine map, through the joints at rest."""
    shift = np.zeros((16, 3, 10), np.float64)
    for b in range(1, 16):
        parent = PARENTS[b]
        shift[b] = shift[parent]
        for i in range(3):
            for j in range(3):
                add_scaled(shift[b, i], chain[parent, i, j] - chain[b, i, j], jointdirs[b, j])
    return shift


@kernel(**compiled)
def _by_angles(jacobians, model, moved, rest, chain, count):
    """(J, 3, 45): by the bones' axis-angles, through what hangs on each bone."""
    pairs, points = model[:2]
    hanging, share = np.zeros((count, 16, 3), np.float64), np.zeros((count, 16), np.float64)
    for p in range(len(pairs)):
        joint, bone = pairs[p]
        while bone > 0:
            for i in range(3):
                hanging[joint, bone, i] += moved[p, i]
            share[joint, bone] += points[p, 3]
            bone = PARENTS[bone]
    by = np.zeros((count, 3, 45), np.float64)
    for b in range(1, 16):
        above = chain[PARENTS[b]]
        pivot = np.empty(3, np.float64)
        for i in range(3):
            pivot[i] = dot(above[i, :3], rest[b]) + above[i, 3]
        for k in range(3):
            axis = np.empty(3, np.float64)
            for i in range(3):
                axis[i] = dot(above[i, :3], jacobians[b - 1, k])
            for j in range(count):
                if share[j, b] != 0:
                    arm = hanging[j, b] - share[j, b] * pivot
                    m = 3 * (b - 1) + k
                    by[j, 0, m] = axis[1] * arm[2] - axis[2] * arm[1]
                    by[j, 1, m] = axis[2] * arm[0] - axis[0] * arm[2]
                    by[j, 2, m] = axis[0] * arm[1] - axis[1] * arm[0]
    return by


@kernel(**compiled)
def _bends(jacobians, turns):
    """(45, 9): change of each bone's rotation matrix with its axis-angle, ``[omega]x R``."""
    by = np.empty((45, 9), np.float64)
    for b in range(15):
        for k in range(3):
            omega = jacobians[b, k]
            for j in range(3):
                x, y, z = turns[b, :, j]
                by[3 * b + k, j] = omega[1] * z - omega[2] * y
                by[3 * b + k, 3 + j] = omega[2] * x - omega[0] * z
                by[3 * b + k, 6 + j] = omega[0] * y - omega[1] * x
    return by


@kernel(**compiled)
def _left_jacobians(pose):
    by = np.empty((15, 3, 3), np.float64)
    for b in range(15):
        by[b] = left_jacobian(pose[b])
    return by


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
