"""Compiled kernels of the refinement's priors: values and derivatives by the 63 numbers.

They compute ``HandPrior`` and ``ParameterPrior``, hand by hand, on one core: the mesh in its own
precision, the few numbers of the pose in double.
"""

import math

import numpy as np

from dhpe_ros.hand.kernels.hand_kernels import (
    add_scaled,
    compiled,
    dot,
    pose_bones,
    pose_meshes,
    pose_meshes_backward,
    rotation_back,
)
from dhpe_ros.hand.kernels.layout import PARENTS
from dhpe_ros.hand.kernels.skeleton_kernels import (
    SHORTEST,
    cross,
    left_jacobian,
    omega_by_quaternion,
    pose_of,
    transform,
    unit_rotation,
)
from dhpe_ros.system.compiled import kernel

OUTLIER_STDS = 3.0  # two frames' hands this far apart have moved, or an estimate is wrong


@kernel(**compiled)
def add_smoothness(parameters, weight, components, hand_model, rings, values, gradients):
    """Add the mean norm of the mesh's Laplacian to ``values`` (B,) and ``gradients`` (B, 63).

    components: (45, 45), its transpose and the mean (45,). hand_model: as in ``pose_meshes``.
    rings: where the neighbours of each vertex begin (V + 1,), and the neighbours.
    """
    count, dtype = hand_model[0].shape[1], hand_model[0].dtype
    pose, shape = np.empty((1, 15, 3), dtype), np.empty((1, 10), dtype)
    inputs = pose, shape, np.empty((1, 3, 4), dtype)
    out = np.empty_like(pose), np.empty_like(shape), np.empty_like(inputs[2])
    v_posed, vertices = np.empty((1, 3, count), dtype), np.empty((1, count, 3), dtype)
    pull, joints = np.empty_like(vertices), np.empty((1, 21, 3), dtype)
    for hand in range(len(parameters)):
        row, gradient = parameters[hand], gradients[hand]
        pose[0] = pose_of(row, components[1], components[2])
        shape[0] = row[53:]
        rotation = unit_rotation(row[4:8])
        inputs[2][0, :, :3], inputs[2][0, :, 3] = row[0] * rotation, row[1:4]
        pose_meshes(inputs, hand_model, (vertices, joints, v_posed), 0, 1)
        values[hand] += weight * _laplacian(vertices[0], rings, pull[0])
        joints[:] = 0
        pose_meshes_backward(inputs, hand_model, (pull, joints), v_posed, out, 0, 1)
        to_pose, to_frame = out[0].reshape(45), out[2][0]
        by_omega = omega_by_quaternion(row[4:8])
        for j in range(3):
            gradient[0] += weight * dot(to_frame[:, j], rotation[:, j])
            gradient[1 + j] += weight * to_frame[j, 3]
            x, y, z = cross(rotation[:, j], to_frame[:, j])
            for k in range(4):
                torque = by_omega[k, 0] * x + by_omega[k, 1] * y + by_omega[k, 2] * z
                gradient[4 + k] += weight * row[0] * torque
        for k in range(45):
            gradient[8 + k] += weight * dot(components[0][k], to_pose)
        for k in range(10):
            gradient[53 + k] += weight * out[1][0, k]


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
        for k in range(starts[v], starts[v + 1]):
            n = neighbours[k]
            x, y, z = x + vertices[n, 0], y + vertices[n, 1], z + vertices[n, 2]
        x, y, z = vertices[v, 0] - share * x, vertices[v, 1] - share * y, vertices[v, 2] - share * z
        norm = math.sqrt(x * x + y * y + z * z)
        total += norm
        scale = 1 / (count * norm) if norm != 0 else 0.0
        unit[v, 0], unit[v, 1], unit[v, 2] = scale * x, scale * y, scale * z
        pull[v] = unit[v]
    for v in range(count):
        share = 1 / max(starts[v + 1] - starts[v], 1)
        for k in range(starts[v], starts[v + 1]):
            n = neighbours[k]
            for i in range(3):
                pull[n, i] -= share * unit[v, i]
    return total / count


@kernel(**compiled)
def add_pose_space(parameters, weight, components, limits, spheres, values, gradients, curvatures):
    """Add ``PoseSpace`` to ``values`` (B,) and ``gradients`` (B, 63).

    ``curvatures`` (B, 63, 63) get Gauss-Newton's, but for the limits; (0, 0, 0): nobody asks. With
    that of the limits the refinement ends no lower and no sooner (docs/explanation/refinement.md).

    components: (45, 45), its transpose and the mean (45,). limits: theta_std (45,), axes
        (15, 3, 3), lower and upper (15, 3), the weight of going beyond. spheres: joints at rest
        (16, 3), centres (N, 3), bones (N,), the pairs (P, 2) that may touch, how near (P,), and
        the weight.
    """
    to_turns, to_pose = np.empty((15, 3, 3), np.float64), np.empty((15, 3), np.float64)
    frame, nothing = np.eye(3, 4), np.empty((0, 0), np.float64)
    for hand in range(len(parameters)):
        theta, gradient = parameters[hand, 8:53], gradients[hand, 8:53]
        curvature = curvatures[hand, 8:53, 8:53] if len(curvatures) else nothing
        pose = pose_of(parameters[hand], components[1], components[2])
        quaternions, turns, chain = pose_bones(pose, frame, spheres[0])
        to_turns[:] = 0
        value = _beyond_limits(turns, limits, to_turns)
        for b in range(15):
            rotation_back(pose[b], quaternions[b], to_turns[b], to_pose[b])
        to_angles = to_pose.reshape(45)
        value += _penetration(pose, chain, spheres, to_angles, weight, components[0], curvature)
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
def _penetration(pose, chain, spheres, to_angles, weight, components, curvature):
    """Squared overlaps of the spheres; their gradient is added to ``to_angles`` (45,).

    ``curvature`` (45, 45), by the components, gets that of the squares, times ``weight``.
    """
    rest, centers, bones, pairs, contact, cost = spheres
    placed, pivots = np.empty_like(centers), np.empty_like(rest)
    for s in range(len(centers)):
        transform(chain[bones[s]], centers[s], placed[s])
    jacobians = np.empty((15, 3, 3), np.float64)
    for b in range(1, 16):
        transform(chain[PARENTS[b]], rest[b], pivots[b])
        jacobians[b - 1] = left_jacobian(pose[b - 1])
    away, arm, slope, by_component = np.empty(3), np.empty(3), np.empty(45), np.empty(45)
    total = 0.0
    for p in range(len(pairs)):
        one, other = pairs[p, 0], pairs[p, 1]
        x, y, z = (
            placed[one, 0] - placed[other, 0],
            placed[one, 1] - placed[other, 1],
            placed[one, 2] - placed[other, 2],
        )
        squared = x * x + y * y + z * z
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
        away[:] = (x, y, z)
        for sphere, sign in ((one, -1 / distance), (other, 1 / distance)):
            bone = bones[sphere]
            while bone > 0:
                above, by_angle = chain[PARENTS[bone]], jacobians[bone - 1]
                for i in range(3):
                    arm[i] = placed[sphere, i] - pivots[bone, i]
                x, y, z = cross(arm, away)
                for i in range(3):
                    torque = sign * (above[0, i] * x + above[1, i] * y + above[2, i] * z)
                    for k in range(3):
                        slope[3 * (bone - 1) + k] += torque * by_angle[k, i]
                bone = PARENTS[bone]
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
