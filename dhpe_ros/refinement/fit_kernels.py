"""Compiled kernels of the fit: the objective about a hand's 63 numbers, and the damped steps.

One call fits one hand, on one core and without the interpreter. Derivatives are by the raw numbers;
all is in double precision but for the mesh.

``hand_model`` is ``Projection.fit_arrays``: the joints as in ``skeleton_kernels``; the
arrays of the priors as in ``prior_kernels``, among them the mesh; its triangles, edges,
triangle_edges and triangle_edge_signs; scales, lowest and highest of the numbers (63,); and the
standard deviations of ``ParameterPrior`` (59,).

``seen`` is what the hand is fitted to: joints (21, 2) and their weights (21,), other hands (A, 1,
59) and their weights (A, 1), and the field of ``signed_distances``, (0, 0) without a mask.

``weights`` are numbers: outlier distance, Laplacian, pose, shape and mask.
"""

import math

import numpy as np

from dhpe_ros.hand.kernels.hand_kernels import add_scaled, compiled, dot, pose_meshes
from dhpe_ros.hand.kernels.prior_kernels import (
    OUTLIER_STDS,
    add_parameter_prior,
    add_pose_space,
    add_smoothness,
    bring_within,
)
from dhpe_ros.hand.kernels.skeleton_kernels import (
    LINE,
    blend_points,
    blend_vertices,
    bones_of,
    differentiate,
    place,
    place_vertices,
    pose_of,
    read_at,
    to_crop,
    unit_rotation,
)
from dhpe_ros.rendering.kernels import edge_weights
from dhpe_ros.rendering.outline import add_lengths
from dhpe_ros.system.compiled import kernel

_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e-4, 1e5
_ACCEPTED, _REJECTED = 0.2, 20.0  # factors of the damping
# After which steps the mesh's outline is found, and its saturation from then on, in half-sides of
# the crop: a wide one first brings the mesh near, a narrow one then ignores what stayed far.
_FIRST_OUTLINE, _WIDE = 1, 0.1
_LAST_OUTLINE, _NARROW = 3, 0.05
_ARM_END = 0.05  # of the way from the wrist to the middle MCP: nearer, the arm has no outline
_LEAST_WEIGHT = 1e-6  # of a bone that moves a vertex
_MIDDLE_MCP = 9
DAMPING, SATURATION, VALUE, ENDED, TANGENT = range(5)  # places in ``state``; TANGENT is the first
STATE = TANGENT + 127


@kernel(**compiled)
def begin_state(state):
    """Fill ``state`` (STATE,) of a hand before its first step."""
    state[:] = 0
    state[DAMPING] = _FIRST_DAMPING


@kernel(**compiled)
def descend(row, state, shares, first, count, tolerance, hand_model, seen, weights):
    """Take ``count`` steps at most, after ``first`` others; returns how many were taken.

    ``row`` (63,), ``state`` (STATE,) and ``shares`` (V,), those of the vertices in the outline, are
    where the hand is, and go on.
    """
    scales, lowest, highest = hand_model[3]
    masked = seen[4].size > 0
    tangent = state[TANGENT:]
    if first == 0:
        find_tangent(row, hand_model, weights, tangent)
    outline = select(hand_model[1][1], shares)
    gradient, curvature = np.empty(63, np.float64), np.empty((63, 63), np.float64)
    factor, step, trial = np.empty_like(curvature), np.empty_like(row), np.empty((1, 63))
    value = linearise(
        row, outline, state[SATURATION], tangent, hand_model, seen, weights, gradient, curvature
    )
    taken = 0
    while taken < count and state[ENDED] == 0:
        taken += 1
        _damped_step(gradient, curvature, scales, state[DAMPING], factor, step)
        for k in range(63):
            trial[0, k] = row[k] + step[k]
        bring_within(trial, lowest, highest)
        next_value = evaluate(
            trial[0], outline, state[SATURATION], tangent, hand_model, seen, weights
        )
        lower = next_value < value
        enough = lower and value - next_value > tolerance * value
        if lower:
            row[:], value = trial[0], next_value
        state[DAMPING] = max(state[DAMPING] * (_ACCEPTED if lower else _REJECTED), _LEAST_DAMPING)
        may_fall = not lower and state[DAMPING] < _MOST_DAMPING and math.isfinite(value)
        number = first + taken
        anew = masked and number in (_FIRST_OUTLINE, _LAST_OUTLINE)
        if anew:
            find_outline(row, hand_model, seen[4], shares)
            outline = select(hand_model[1][1], shares)
            state[SATURATION] = _WIDE if number == _FIRST_OUTLINE else _NARROW
            if number == _LAST_OUTLINE:
                find_tangent(row, hand_model, weights, tangent)
        elif not (masked and number < _LAST_OUTLINE) and not (enough or may_fall):
            state[ENDED] = 1
        if anew or (lower and state[ENDED] == 0):
            value = linearise(
                row, outline, state[SATURATION], tangent, hand_model, seen, weights,
                gradient, curvature,
            )  # fmt: skip
    state[VALUE] = value
    return taken


@kernel(**compiled)
def value_of(row, state, shares, hand_model, seen, weights):
    """The objective at another place, with the outline and the tangent that are known."""
    outline = select(hand_model[1][1], shares)
    known = outline, state[SATURATION], state[TANGENT:]
    return evaluate(row, *known, hand_model, seen, weights)


@kernel(**compiled)
def evaluate(row, outline, saturation, tangent, hand_model, seen, weights):
    """Value of the objective alone, at a third of the work."""
    gradient, curvature = np.empty(63, np.float64), np.empty((63, 63), np.float64)
    lines = np.empty((0, LINE), np.float64)
    return _objective(
        row, outline, saturation, tangent, hand_model, seen, weights, lines, gradient, curvature
    )


@kernel(**compiled)
def linearise(
    row, outline, saturation, tangent, hand_model, seen, weights, gradient, curvature
):  # fmt: skip
    """Returns the value; fills ``gradient`` (63,) and ``curvature`` (63, 63), Gauss-Newton's."""
    lines = np.empty((42 + len(outline[0]), LINE), np.float64)
    return _objective(
        row, outline, saturation, tangent, hand_model, seen, weights, lines, gradient, curvature
    )


@kernel(**compiled)
def _objective(
    row, outline, saturation, tangent, hand_model, seen, weights, lines, gradient, curvature
):  # fmt: skip
    """``linearise`` by ``lines`` (42 + N, 64), those of derivatives; without lines ``evaluate``."""
    components, _, _, limits, spheres = hand_model[1]
    outlier, _, pose, shape, mask = weights
    bones, count = bones_of(row, hand_model[0]), 42 + len(outline[0])
    residuals, scales = np.empty(count, np.float64), np.empty(count, np.float64)
    value = _see_joints(
        row, bones, hand_model[0], seen[0], seen[1], outlier, lines[:42], residuals, scales
    )
    if count > 42:
        value += mask * _see_outline(
            row, bones, hand_model, outline, seen[4], saturation,
            lines[42:], residuals[42:], scales[42:],
        )  # fmt: skip
        for n in range(42, count):
            scales[n] *= mask
    if len(lines):
        _normal_equations(lines, residuals, scales, components, gradient, curvature)
    values, one = np.zeros(1, np.float64), row.reshape((1, 63))
    gradients, curvatures = gradient.reshape((1, 63)), curvature.reshape((1, 63, 63))
    if pose > 0:
        add_pose_space(
            one, pose, components, limits, spheres, values, gradients, curvatures
        )  # fmt: skip
    add_parameter_prior(
        one, seen[2], seen[3], hand_model[4], OUTLIER_STDS, values, gradients, curvatures
    )
    value += values[0] + tangent[0]
    for k in range(53, 63):
        value += shape / 10 * row[k] ** 2
        gradient[k] += shape / 5 * row[k]
        curvature[k, k] += shape / 5
    for k in range(63):
        value += tangent[1 + k] * (row[k] - tangent[64 + k])
        gradient[k] += tangent[1 + k]
    return value


@kernel(**compiled)
def _see_joints(row, bones, model, observed, weights, outlier, lines, residuals, scales):
    """``JointTerm``: its value, and its residuals as half sums of ``scale * residual^2``.

    The scales are the weights that saturation leaves here.
    """
    placed = place(model, bones, row[53:], 21)
    joints, directions = np.empty((21, 3), np.float64), np.zeros((21, 2, 3), np.float64)
    directions[:, 0, 0] = directions[:, 1, 1] = 1
    to_crop(row, placed, joints)
    if len(lines):
        by_coefficients = blend_points(model, bones, directions)
        slopes = lines.reshape((21, 2, LINE))
        differentiate(row, bones, placed, model[0], directions, by_coefficients, slopes)
    value = 0.0
    for j in range(21):
        x, y = joints[j, 0] - observed[j, 0], joints[j, 1] - observed[j, 1]
        squared = x * x + y * y
        saturated = 1 + squared / outlier**2 if outlier > 0 else 1.0
        value += weights[j] * squared / saturated
        residuals[2 * j], residuals[2 * j + 1] = x, y
        scales[2 * j] = scales[2 * j + 1] = 2 * weights[j] / saturated**2
    return value


@kernel(**compiled)
def _see_outline(row, bones, hand_model, outline, field, saturation, lines, residuals, scales):
    """As ``_see_joints``: mean squared distance, saturated, of the mesh's outline to the mask's."""
    vertices, pairs, bone_shares, shares = outline
    mesh, jointdirs, count = hand_model[1][1], hand_model[0][4], len(vertices)
    placed = place_vertices(vertices, pairs, bone_shares, mesh, bones, row[53:])
    points, directions = np.empty((count, 3), np.float64), np.zeros((count, 1, 3), np.float64)
    to_crop(row, placed, points)
    value = 0.0
    for n in range(count):
        residuals[n], directions[n, 0, 0], directions[n, 0, 1] = read_at(field, points[n])
        saturated = 1 + (residuals[n] / saturation) ** 2
        value += shares[n] * residuals[n] ** 2 / saturated
        scales[n] = 2 * shares[n] / saturated**2
    if len(lines):
        by = blend_vertices(vertices, pairs, bone_shares, mesh, bones, jointdirs, directions)
        slopes = lines.reshape((count, 1, LINE))
        differentiate(row, bones, placed, pairs, directions, by, slopes)
    return value


@kernel(**compiled)
def _normal_equations(lines, residuals, scales, components, gradient, curvature):
    """Fill ``gradient`` and ``curvature`` from ``lines`` (N, 64) of ``differentiate``."""
    square, right = np.zeros((LINE, LINE), np.float64), np.zeros(LINE, np.float64)
    for r in range(len(lines)):
        line, scale = lines[r], scales[r] * residuals[r]
        for m in range(LINE):
            right[m] += scale * line[m]
    whole = len(lines) // 4 * 4
    for r in range(0, whole, 4):
        one, two, three, four = lines[r], lines[r + 1], lines[r + 2], lines[r + 3]
        for k in range(LINE):
            a, b = scales[r] * one[k], scales[r + 1] * two[k]
            c, d = scales[r + 2] * three[k], scales[r + 3] * four[k]
            total = square[k]
            for m in range(k // 16 * 16, LINE):  # the rest is the same, mirrored
                total[m] += a * one[m] + b * two[m] + c * three[m] + d * four[m]
    for r in range(whole, len(lines)):
        for k in range(LINE):
            add_scaled(square[k], scales[r] * lines[r, k], lines[r])
    for k in range(LINE):
        for m in range(k):
            square[k, m] = square[m, k]
    # From axis-angles to the components of the pose.
    half, across = np.empty((LINE, LINE), np.float64), np.zeros((45, LINE), np.float64)
    across[:, 8:53] = components[1]
    _multiply(square[:, 8:53], across, half)
    half[:, :8], half[:, 53:] = square[:, :8], square[:, 53:]
    square[:] = half
    _multiply(components[0], half[8:53], square[8:53])
    curvature[:] = square[:63, :63]
    gradient[:] = right[:63]
    for k in range(45):
        gradient[8 + k] = dot(components[0][k], right[8:53])


@kernel(**compiled)
def _multiply(left, right, out):
    """``out = left @ right``, (K, 45) by (45, N)."""
    out[:] = 0
    for r in range(0, 45, 3):
        for k in range(len(left)):
            a, b, c = left[k, r], left[k, r + 1], left[k, r + 2]
            for m in range(right.shape[1]):
                out[k, m] += a * right[r, m] + b * right[r + 1, m] + c * right[r + 2, m]


@kernel(**compiled)
def find_tangent(row, hand_model, weights, tangent):
    """The mesh Laplacian about ``row``: value, gradient (63,) and where that is (63,).

    It is smooth and small beside the other terms, and takes as long as all of them.
    """
    components, mesh, rings, _, _ = hand_model[1]
    tangent[:] = 0
    tangent[64:] = row
    if weights[1] > 0:
        one, value, gradient = row.reshape((1, 63)), tangent[:1], tangent[1:64].reshape((1, 63))
        add_smoothness(one, weights[1], components, mesh, rings, value, gradient)


@kernel(**compiled)
def find_outline(row, hand_model, field, shares):
    """Fill ``shares`` (V,): of the outline's length, each vertex's; 0 where it is no part of it.

    Kept is what lies within the crop and off the arm.
    """
    components, mesh, _, _, _ = hand_model[1]
    triangles, edges, triangle_edges, triangle_edge_signs = hand_model[2]
    count, dtype = len(shares), mesh[0].dtype
    pose, shape = np.empty((1, 15, 3), dtype), np.empty((1, 10), dtype)
    frame, v_posed = np.empty((1, 3, 4), dtype), np.empty((1, 3, count), dtype)
    vertices, joints = np.empty((1, count, 3), dtype), np.empty((1, 21, 3), dtype)
    pose[0], shape[0] = pose_of(row, components[1], components[2]), row[53:]
    frame[0, :, :3], frame[0, :, 3] = row[0] * unit_rotation(row[4:8]), row[1:4]
    pose_meshes((pose, shape, frame), mesh, (vertices, joints, v_posed), 0, 1)
    points, lines = np.empty((count, 2), np.float64), np.empty(len(edges), np.int64)
    points[:] = vertices[0, :, :2]
    shares[:] = 0
    if math.isnan(field[0, 0]):
        return
    edge_weights(points, triangles, triangle_edges, triangle_edge_signs, lines)
    add_lengths(points, edges, lines, shares)
    wrist, middle = joints[0, 0], joints[0, _MIDDLE_MCP]
    x, y, total = middle[0] - wrist[0], middle[1] - wrist[1], 0.0
    for v in range(count):
        along = (points[v, 0] - wrist[0]) * x + (points[v, 1] - wrist[1]) * y
        within = max(abs(points[v, 0]), abs(points[v, 1])) < 1
        if not (within and along > _ARM_END * (x * x + y * y)):
            shares[v] = 0
        total += shares[v]
    for v in range(count):
        shares[v] /= max(total, 1e-9)


@kernel(**compiled)
def select(mesh, shares):
    """Vertices that have a share (N,), pairs (P, 2) of these and their bones, and the bones' shares
    (P,) and the vertices' (N,).
    """
    (vertices,) = shares.nonzero()
    weights, count = mesh[2], 0
    pairs = np.empty((16 * len(vertices), 2), np.int64)
    bone_shares = np.empty(len(pairs), np.float64)
    for n in range(len(vertices)):
        for bone in range(16):
            if weights[bone, vertices[n]] > _LEAST_WEIGHT:
                pairs[count, 0], pairs[count, 1] = n, bone
                bone_shares[count] = weights[bone, vertices[n]]
                count += 1
    return vertices, pairs[:count].copy(), bone_shares[:count].copy(), shares[vertices]


@kernel(**compiled)
def _damped_step(gradient, curvature, scales, damping, factor, step):
    """Solve for ``step`` (63,), in units of ``scales``; NaN where the curvature is not finite."""
    count = len(step)
    _factorise(curvature, scales, damping, factor)
    for i in range(count):
        step[i] = -gradient[i] * scales[i]
    _solve_lower(factor, step)
    for i in range(count - 1, -1, -1):
        step[i] /= factor[i, i]
        add_scaled(step[:i], -step[i], factor[i])
    for i in range(count):
        step[i] *= scales[i]


@kernel(**compiled)
def fill_variances(curvature, ridge, rows, variances):
    """Fill ``variances`` (N,) of ``rows`` (N, 63): ``r C^-1 r``, ``ridge`` on C's diagonal.

    LAPACK would wake threads, which then spin for longer than this takes.
    """
    factor, half, ones = np.empty((63, 63), np.float64), np.empty(63, np.float64), np.ones(63)
    _factorise(curvature, ones, ridge, factor)
    for n in range(len(rows)):
        half[:] = rows[n]
        _solve_lower(factor, half)
        variances[n] = dot(half, half)


@kernel(**compiled)
def _factorise(curvature, scales, damping, factor):
    """Cholesky factor, below the diagonal, of the scaled ``curvature`` and ``damping``."""
    for i in range(len(factor)):
        for j in range(i + 1):
            total = curvature[i, j] * scales[i] * scales[j]
            if i == j:
                total += damping
            for k in range(j):
                total -= factor[i, k] * factor[j, k]
            factor[i, j] = math.sqrt(total) if i == j else total / factor[j, j]


@kernel(**compiled)
def _solve_lower(factor, vector):
    """Solve ``factor @ x = vector`` in place."""
    for i in range(len(vector)):
        total = vector[i]
        for k in range(i):
            total -= factor[i, k] * vector[k]
        vector[i] = total / factor[i, i]
