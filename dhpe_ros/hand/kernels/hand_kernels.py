"""Compiled kernels of the hand layer: meshes and their gradients, hand by hand, on one core.

Affine maps are ``(3, 4)`` matrices ``[A | b]``.
"""

import math
from typing import Any

import numpy as np

from dhpe_ros.hand.kernels.layout import PARENTS
from dhpe_ros.system.compiled import kernel

TINY = 1e-16  # radians squared, added to a squared angle so that none is zero

compiled: dict[str, Any] = {
    "error_model": "numpy",
    "fastmath": {"reassoc", "contract"},
}


@kernel(**compiled)
def pose_meshes(inputs, model, out, first, step):
    """Fill ``out`` for the hands ``first``, ``first + step`` ...

    inputs: pose (B, 15, 3), shape (B, 10), frame (B, 3, 4).
    model: template (3, V), blend_shapes (3 * V, 145), weights (16, V), joint_template (16, 3),
        jointdirs (16, 3, 10), skeleton_regressor (21, V).
    out: vertices (B, V, 3); joints (B, 21, 3); v_posed (B, 3, V).
    """
    pose, shape, frame = inputs
    template, blend_shapes, weights, joint_template, jointdirs, regressor = model
    vertices, joints, v_posed = out
    coefficients = np.empty(blend_shapes.shape[1], pose.dtype)
    row, moved = np.empty_like(template[0]), np.empty_like(template[0])
    for hand in range(first, pose.shape[0], step):
        rest = rest_joints(shape[hand], joint_template, jointdirs)
        _, turns, chain = pose_bones(pose[hand], frame[hand], rest)
        blend_coefficients(shape[hand], turns, coefficients)
        v_posed[hand] = template
        offsets = v_posed[hand].reshape(-1)
        for v in range(len(offsets)):
            offsets[v] += dot(coefficients, blend_shapes[v])
        for i in range(3):
            combine(moved, chain[:, i, 3], weights)
            for j in range(3):
                combine(row, chain[:, i, j], weights)
                _add_product(moved, row, v_posed[hand, j])
            vertices[hand, :, i] = moved
            for k in range(len(regressor)):
                joints[hand, k, i] = dot(moved, regressor[k])


@kernel(**compiled)
def pose_meshes_backward(inputs, model, pull, v_posed, out, first, step):
    """Backward of ``pose_meshes``, which filled ``v_posed``.

    From the gradients ``pull`` of vertices and joints to ``out``, those of the inputs.
    """
    pose, shape, frame = inputs
    _, blend_shapes, weights, joint_template, jointdirs, regressor = model
    to_vertices, to_joints = pull
    to_pose, to_shape, to_frame = out
    to_posed = np.empty_like(v_posed[0])
    row, to_moved = np.empty_like(weights[0]), np.empty_like(weights[0])
    to_coefficients = np.empty(blend_shapes.shape[1], pose.dtype)
    to_chain = np.empty((16, 3, 4), pose.dtype)
    for hand in range(first, pose.shape[0], step):
        rest = rest_joints(shape[hand], joint_template, jointdirs)
        quaternions, turns, chain = pose_bones(pose[hand], frame[hand], rest)
        to_posed[:] = 0
        for i in range(3):
            combine(to_moved, to_joints[hand, :, i], regressor)
            to_moved += to_vertices[hand, :, i]
            for b in range(16):
                to_chain[b, i, 3] = dot(to_moved, weights[b])
            for j in range(3):
                combine(row, chain[:, i, j], weights)
                _add_product(to_posed[j], row, to_moved)
                row[:] = 0
                _add_product(row, to_moved, v_posed[hand, j])
                for b in range(16):
                    to_chain[b, i, j] = dot(row, weights[b])
        combine(to_coefficients, to_posed.reshape(-1), blend_shapes)
        to_shape[hand] = to_coefficients[:10]
        to_turns = to_coefficients[10:].reshape((15, 3, 3))
        _fk_backward(rest, turns, chain, jointdirs, to_chain, to_turns, to_shape[hand])
        to_frame[hand] = to_chain[0]
        for b in range(15):
            rotation_back(pose[hand, b], quaternions[b], to_turns[b], to_pose[hand, b])


@kernel(**compiled)
def dot(a, b):
    total = a[0] * b[0]
    for i in range(1, len(a)):
        total += a[i] * b[i]
    return total


@kernel(**compiled)
def _add_product(total, a, b):
    for i in range(len(total)):
        total[i] += a[i] * b[i]


@kernel(**compiled)
def add_scaled(total, scale, row):
    """``total += scale * row``."""
    for i in range(len(total)):
        total[i] += scale * row[i]


@kernel(**compiled)
def combine(total, scales, rows):
    """``total = scales @ rows``."""
    total[:] = 0
    for k in range(len(rows)):
        add_scaled(total, scales[k], rows[k])


@kernel(**compiled)
def rest_joints(shape, joint_template, jointdirs):
    """(16, 3) at rest."""
    rest = joint_template.copy()
    for b in range(16):
        for i in range(3):
            for k in range(10):
                rest[b, i] += jointdirs[b, i, k] * shape[k]
    return rest


@kernel(**compiled)
def blend_coefficients(shape, turns, out):
    """Fill ``out`` (145,): the shape, then ``R - I`` of each bone."""
    out[:10] = shape
    out[10:] = turns.reshape(-1)
    for b in range(15):
        for i in range(3):
            out[10 + 9 * b + 4 * i] -= 1


@kernel(**compiled)
def pose_bones(pose, frame, rest):
    """Forward kinematics: quaternions (15, 4), turns (15, 3, 3), chain (16, 3, 4)."""
    quaternions = np.empty((15, 4), pose.dtype)
    turns = np.empty((15, 3, 3), pose.dtype)
    chain = np.empty((16, 3, 4), pose.dtype)
    chain[0] = frame
    for b in range(15):
        rotation_from_vector(pose[b], quaternions[b], turns[b])
        parent, joint = chain[PARENTS[b + 1]], rest[b + 1]
        for i in range(3):
            shift = parent[i, 3]
            for j in range(3):
                entry = 0 * shift
                for k in range(3):
                    entry += parent[i, k] * turns[b, k, j]
                chain[b + 1, i, j] = entry
                shift += (parent[i, j] - entry) * joint[j]
            chain[b + 1, i, 3] = shift
    return quaternions, turns, chain


@kernel(**compiled)
def _fk_backward(rest, turns, chain, jointdirs, to_chain, to_turns, to_shape):
    """From gradients of the chain to those of the turns, of the shape and of the frame."""
    for b in range(15, 0, -1):
        above, turn, joint = PARENTS[b], turns[b - 1], rest[b]
        parent, to_parent, to_self = chain[above], to_chain[above], to_chain[b]
        for i in range(3):
            pull = to_self[i, 3]
            to_parent[i, 3] += pull
            for j in range(3):
                # entry_ij = parent_i . turn_j also moves the shift, by -entry_ij joint_j
                to_entry = to_self[i, j] - pull * joint[j]
                to_parent[i, j] += pull * joint[j]
                for k in range(3):
                    to_parent[i, k] += to_entry * turn[k, j]
                    to_turns[b - 1, k, j] += to_entry * parent[i, k]
        for j in range(3):
            to_joint = 0 * rest[0, 0]
            for i in range(3):
                to_joint += to_self[i, 3] * (parent[i, j] - chain[b, i, j])
            for k in range(10):
                to_shape[k] += to_joint * jointdirs[b, j, k]


@kernel(**compiled)
def rotation_from_vector(vector, quaternion, rotation):
    """Axis-angle to a unit quaternion w x y z and ``R = I + 2 w [u] + 2 [u]^2``."""
    x, y, z = vector
    angle = math.sqrt(x * x + y * y + z * z + TINY)
    share = math.sin(0.5 * angle) / angle
    w, x, y, z = math.cos(0.5 * angle), x * share, y * share, z * share
    quaternion[:] = (w, x, y, z)
    rotation_of(quaternion, rotation)


@kernel(**compiled)
def rotation_of(quaternion, rotation):
    """Fill ``rotation`` (3, 3) for a unit quaternion."""
    w, x, y, z = quaternion
    rotation[0] = (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y))
    rotation[1] = (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x))
    rotation[2] = (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y))


@kernel(**compiled)
def rotation_back(vector, quaternion, to_rotation, to_vector):
    """Backward of ``rotation_from_vector``; near zero no large terms cancel each other."""
    w, g = quaternion[0], to_rotation
    u = quaternion[1:]
    twist = (g[2, 1] - g[1, 2], g[0, 2] - g[2, 0], g[1, 0] - g[0, 1])
    trace = g[0, 0] + g[1, 1] + g[2, 2]
    squared = vector[0] ** 2 + vector[1] ** 2 + vector[2] ** 2 + TINY
    angle = math.sqrt(squared)
    share = math.sin(0.5 * angle) / angle
    to_w, along = 0 * w, 0 * w
    for i in range(3):
        to_w += 2 * twist[i] * u[i]
        to_u = 2 * w * twist[i] - 4 * trace * u[i]
        for j in range(3):
            to_u += 2 * (g[i, j] + g[j, i]) * u[j]
        to_vector[i] = share * to_u
        along += to_u * vector[i]
    radial = along * (0.5 * w - share) / squared - 0.5 * share * to_w
    for i in range(3):
        to_vector[i] += radial * vector[i]
