"""Compiled kernels of the priors: values and derivatives by the 63 numbers; and of the bounds.

They compute ``HandPrior`` and ``ParameterPrior``, hand by hand, on one core: the mesh in its own
precision, the few numbers of the pose in double.
"""

import math

import numpy as np

from dhpe_ros.hand.kernels.hand_kernels import (
    add_scaled,
    compiled,
    dot,
    pose_meshes,
    pose_meshes_backward,
    rotation_back,
    rotation_from_vector,
)
from dhpe_ros.hand.kernels.layout import PARENTS
from dhpe_ros.hand.kernels.skeleton_kernels import (
    SHORTEST,
    left_jacobian,
    omega_by_quaternion,
    pose_of,
    unit_rotation,
)
from dhpe_ros.system.compiled import kernel


@kernel(**compiled)
def add_smoothness(parameters, weight, components, hand_model, rings, values, gradients):
    """Add the mean norm of the mesh's Laplacian to ``values`` (B,) and ``gradients`` (B, 63).

    components: (45, 45), its transpose and the mean (45,). hand_model: as in ``pose_meshes``.
    rings: where the neighbours of each vertex begin (V + 1,), and the neighbours.
    """
    template = hand_model[0]
    batch, count, kind = len(parameters), template.shape[1], template.dtype
    pose, shape = np.empty((batch, 15, 3), kind), np.empty((batch, 10), kind)
    frame = np.empty((batch, 3, 4), kind)
    for hand in range(batch):
        row = parameters[hand]
        pose[hand] = pose_of(row, components[1], components[2])
        shape[hand] = row[53:]
        frame[hand, :, :3] = row[0] * unit_rotation(row[4:8])
        frame[hand, :, 3] = row[1:4]
    vertices, joints = np.empty((batch, count, 3), kind), np.zeros((batch, 21, 3), kind)
    v_posed = np.empty((batch, 3, count), kind)
    pose_meshes(pose, shape, frame, hand_model, 0, 1, (vertices, joints, v_posed))
    pull = np.empty((batch, count, 3), kind)
    for hand in range(batch):
        values[hand] += weight * _laplacian(vertices[hand], rings, pull[hand])
    joints[:] = 0
    out = np.empty_like(pose), np.empty_like(shape), np.empty_like(frame)
    pose_meshes_backward(pose, shape, frame, hand_model, 0, 1, (pull, joints), v_posed, out)
    for hand in range(batch):
        gradient, row = np.zeros(63, np.float64), parameters[hand]
        _frame_back(row, out[2][hand], gradient)
        to_pose = out[0][hand].reshape(45)
        for k in range(45):
            gradient[8 + k] = dot(components[0][k], to_pose)
        gradient[53:] = out[1][hand]
        gradients[hand] += weight * gradient


@kernel(**compiled)
def _laplacian(vertices, rings, pull):
    """The mean norm; ``pull`` (V, 3) becomes its gradient."""
    starts, neighbours = rings
    count = len(vertices)
    unit = np.empty_like(vertices)
    total = 0.0
    for v in range(count):
        share = 1 / max(starts[v + 1] - starts[v], 1)
        x, y, z = 0.0, 0.0, 0.0
        for n in neighbours[starts[v] : starts[v + 1]]:
            x, y, z = x + vertices[n, 0], y + vertices[n, 1], z + vertices[n, 2]
        x, y, z = vertices[v, 0] - share * x, vertices[v, 1] - share * y, vertices[v, 2] - share * z
        norm = math.sqrt(x * x + y * y + z * z)
        total += norm
        scale = 1 / (count * norm) if norm != 0 else 0.0
        unit[v, 0], unit[v, 1], unit[v, 2] = scale * x, scale * y, scale * z
        pull[v] = unit[v]
    for v in range(count):
        share = 1 / max(starts[v + 1] - starts[v], 1)
        for n in neighbours[starts[v] : starts[v + 1]]:
            for i in range(3):
                pull[n, i] -= share * unit[v, i]
    return total / count


@kernel(**compiled)
def _frame_back(row, to_frame, gradient):
    """From the gradient of ``[scale * R(q) | t]`` to those of scale, translation and ``q``."""
    rotation, by_omega = unit_rotation(row[4:8]), omega_by_quaternion(row[4:8])
    torque = np.zeros(3, np.float64)
    for j in range(3):
        for i in range(3):
            i1, i2 = (i + 1) % 3, (i + 2) % 3
            gradient[0] += to_frame[i, j] * rotation[i, j]
            torque[i] += rotation[i1, j] * to_frame[i2, j] - rotation[i2, j] * to_frame[i1, j]
    for i in range(3):
        gradient[1 + i] = to_frame[i, 3]
    for k in range(4):
        gradient[4 + k] = row[0] * dot(by_omega[k], torque)


@kernel(**compiled)
def add_pose_space(parameters, weight, components, limits, spheres, values, gradients, curvatures):
    """Add ``PoseSpace`` to ``values`` (B,) and ``gradients`` (B, 63).

    ``curvatures`` (B, 63, 63) get ``PoseSpace.curvature``; (0, 0, 0) where nobody asks.

    components: (45, 45), its transpose and the mean (45,). limits: theta_std (45,), axes
        (15, 3, 3), lower and upper (15, 3), the weight of going beyond. spheres: the wrist (3,),
        offsets (5, 3, 3), centres (N, 3), bones (N,), the pairs (P, 2) that may touch, how near
        (P,), and the weight.
    """
    quaternions, turns = np.empty((15, 4), np.float64), np.empty((15, 3, 3), np.float64)
    to_turns, to_pose = np.empty((15, 3, 3), np.float64), np.empty((15, 3), np.float64)
    nothing = np.empty((0, 0), np.float64)
    for hand in range(len(parameters)):
        theta, gradient = parameters[hand, 8:53], gradients[hand, 8:53]
        curvature = curvatures[hand, 8:53, 8:53] if len(curvatures) else nothing
        pose = pose_of(parameters[hand], components[1], components[2])
        to_turns[:] = 0
        for b in range(15):
            rotation_from_vector(pose[b], quaternions[b], turns[b])
        value = _beyond_limits(turns, limits, to_turns)
        for b in range(15):
            rotation_back(pose[b], quaternions[b], to_turns[b], to_pose[b])
        to_angles = to_pose.reshape(45)
        value += _penetration(pose, turns, spheres, to_angles, weight, components[0], curvature)
        for k in range(45):
            deviation = theta[k] / limits[0][k]
            value += deviation**2 / 45
            slope = 2 * deviation / limits[0][k] / 45 + dot(components[0][k], to_angles)
            gradient[k] += weight * slope
            if len(curvature):
                curvature[k, k] += weight * 2 / 45 / limits[0][k] ** 2
        values[hand] += weight * value


@kernel(**compiled)
def _beyond_limits(turns, limits, to_turns):
    """Squared radians beyond the limits; its gradient is added to ``to_turns`` (15, 3, 3)."""
    _, axes, lower, upper, weight = limits
    local, to_local = np.empty((3, 3), np.float64), np.zeros((3, 3), np.float64)
    half = np.empty(3, np.float64)
    total = 0.0
    for b in range(15):
        for i in range(3):
            for j in range(3):
                half[j] = dot(axes[b, i], turns[b, :, j])
            for j in range(3):
                local[i, j] = dot(half, axes[b, j])
        to_local[:] = 0
        across = local[0, 2]
        squared = 1 - across * across
        along = math.sqrt(max(squared, 1e-9))
        over = _excess(math.atan2(across, along), lower[b, 1], upper[b, 1])
        total += weight * over**2
        grows = across / along if squared >= 1e-9 else 0.0  # along shrinks as across grows
        to_local[0, 2] = 2 * weight * over * (along + across * grows) / (across**2 + along**2)
        for angle, (i, j, k) in enumerate(((1, 2, 2), (0, 1, 0))):
            y, x = -local[i, j], local[k, k]
            size = x * x + y * y
            nowhere = size < 1e-12
            x, size = (1.0, 1.0 + y * y) if nowhere else (x, size)
            over = _excess(math.atan2(y, x), lower[b, 2 * angle], upper[b, 2 * angle])
            total += weight * over**2
            to_local[i, j] -= 2 * weight * over * x / size
            if not nowhere:
                to_local[k, k] -= 2 * weight * over * y / size
        for i in range(3):
            for j in range(3):
                for k in range(3):
                    for m in range(3):
                        to_turns[b, i, j] += axes[b, k, i] * to_local[k, m] * axes[b, m, j]
    return total


@kernel(**compiled)
def _excess(angle, lower, upper):
    return angle - min(max(angle, lower), upper)


@kernel(**compiled)
def _penetration(pose, turns, spheres, to_angles, weight, components, curvature):
    """Squared overlaps of the spheres; their gradient is added to ``to_angles`` (45,).

    ``curvature`` (45, 45), by the components, gets that of the squares, times ``weight``.
    """
    wrist, offsets, centers, bones, pairs, contact, cost = spheres
    rotations, positions = np.zeros((16, 3, 3), np.float64), np.empty((16, 3), np.float64)
    rotations[0, 0, 0] = rotations[0, 1, 1] = rotations[0, 2, 2] = 1
    positions[0] = wrist
    for b in range(1, 16):
        above = PARENTS[b]
        for i in range(3):
            shift = dot(rotations[above, i], offsets[(b - 1) // 3, (b - 1) % 3])
            positions[b, i] = positions[above, i] + shift
            for j in range(3):
                rotations[b, i, j] = dot(rotations[above, i], turns[b - 1, :, j])
    placed, known = np.empty_like(centers), np.zeros(16, np.bool_)
    for s in range(len(centers)):
        for i in range(3):
            placed[s, i] = positions[bones[s], i] + dot(rotations[bones[s], i], centers[s])
    axes = np.empty((16, 3, 3), np.float64)
    away, slope, by_component = np.empty(3), np.empty(45), np.empty(45)
    total = 0.0
    for p in range(len(pairs)):
        one, other = pairs[p]
        for i in range(3):
            away[i] = placed[one, i] - placed[other, i]
        squared = dot(away, away)
        if squared != squared:
            total = squared
        if not squared < contact[p] * contact[p]:
            continue
        distance = math.sqrt(max(squared, 1e-9))
        overlap = max(contact[p] - distance, 0.0)
        total += cost * overlap**2
        if squared < 1e-9:
            continue
        slope[:] = 0
        for sphere, sign in ((one, -1 / distance), (other, 1 / distance)):
            bone = bones[sphere]
            while bone > 0:
                above = PARENTS[bone]
                if not known[bone]:
                    by_angle, known[bone] = left_jacobian(pose[bone - 1]), True
                    for k in range(3):
                        for i in range(3):
                            axes[bone, k, i] = dot(rotations[above, i], by_angle[k])
                x, y, z = placed[sphere] - positions[bone]
                for k in range(3):
                    axis = axes[bone, k]
                    slope[3 * (bone - 1) + k] += sign * (
                        away[0] * (axis[1] * z - axis[2] * y)
                        + away[1] * (axis[2] * x - axis[0] * z)
                        + away[2] * (axis[0] * y - axis[1] * x)
                    )
                bone = above
        add_scaled(to_angles, 2 * cost * overlap, slope)
        if len(curvature):
            for k in range(45):
                by_component[k] = dot(components[k], slope)
            for k in range(45):
                add_scaled(curvature[k], 2 * weight * cost * by_component[k], by_component)
    return total


@kernel(**compiled)
def add_parameter_prior(parameters, centers, weights, stds, outlier, values, gradients, curvatures):
    """Add ``ParameterPrior`` to ``values`` (B,), ``gradients`` (B, 63), ``curvatures`` (B, 63, 63).

    centers: (A, B, 59). weights: (A, B). stds: (59,). outlier: difference in standard deviations at
    which a square is halved.
    """
    count, others = centers.shape[2], len(centers)
    now, pull = np.empty(count, np.float64), np.empty(count, np.float64)
    for hand in range(len(parameters)):
        row = parameters[hand]
        length = max(math.sqrt(dot(row[4:8], row[4:8])), SHORTEST)
        now[:] = row[4:]
        _to_length_one(now[:4])
        pull[:] = 0
        for a in range(others):
            weight, other = weights[a, hand] / count, centers[a, hand]
            if weight == 0:
                continue
            turned = -1.0 if dot(now[:4], other[:4]) < 0 else 1.0  # q and -q: the same rotation
            for n in range(count):
                residual = (now[n] - (turned if n < 4 else 1.0) * other[n]) / stds[n]
                saturated = 1 + (residual / outlier) ** 2
                slope = 2 * weight / (saturated**2 * stds[n])
                values[hand] += weight * residual**2 / saturated
                pull[n] += slope * residual
                curvatures[hand, 4 + n, 4 + n] += slope / stds[n]
        along = dot(now[:4], pull[:4])
        for n in range(count):
            outwards = along * now[n] if n < 4 else 0.0
            gradients[hand, 4 + n] += (pull[n] - outwards) / (length if n < 4 else 1.0)


@kernel(**compiled)
def bring_within(parameters, lowest, highest):
    """``Bounds.bring`` in place: ``parameters`` (B, 63)."""
    for row in parameters:
        for k in range(len(row)):
            if row[k] < lowest[k]:
                row[k] = lowest[k]
            elif row[k] > highest[k]:
                row[k] = highest[k]
        _to_length_one(row[4:8])


@kernel(**compiled)
def _to_length_one(quaternion):
    """In place; one too short for it becomes no turn at all."""
    length = math.sqrt(dot(quaternion, quaternion))
    if length > SHORTEST:
        for k in range(4):
            quaternion[k] /= length
    else:
        quaternion[:] = (1.0, 0.0, 0.0, 0.0)
