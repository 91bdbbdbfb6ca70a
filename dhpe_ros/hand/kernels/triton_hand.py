"""The hand layer on a GPU: three Triton kernels forward, three backward.

Same functions as `compiled_hand`. Every sum has one order, so that results are the same at every
run. Nothing waits for the device. Sizes depend on the batch alone, so that a CUDA graph can capture
the calls; call once before with tensors of the same type, to compile. The kernels ran interpreted
and on an H200. For cards of compute capability 8.7 they were compiled only. Needs Triton 3.4, which
torch 2.8 brings, or later.

Between kernels, a hand is its blend coefficients (145: the shape, then R - I of each bone) and its
chain (16, 3, 4): the affine map from rest to posed of each bone. Sizes in kernels are padded to
powers of two.

Program axis 0 is the hand: programs that run side by side read the same blend shapes.
"""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor

from dhpe_ros.hand.kernels import hand_kernels, layout
from dhpe_ros.hand.kernels.layout import HandTensors

_VERTICES = tl.constexpr(layout.VERTEX_COUNT)
_TURNS = tl.constexpr(layout.BONE_COUNT - 1)  # of five fingers, three bones each
_SHAPES, _JOINTS = tl.constexpr(10), tl.constexpr(21)
_BLEND = tl.constexpr(10 + 9 * 15)
_CHAIN = tl.constexpr(12 * 16)
_PULLS = tl.constexpr(_BLEND.value + _CHAIN.value)  # on the coefficients, then on the chain
_TINY = tl.constexpr(hand_kernels.TINY)
_BLOCK = 16  # vertices of a program: one hand alone keeps 49 multiprocessors reading
_BLOCK_COUNT = triton.cdiv(layout.VERTEX_COUNT, _BLOCK)


def pose_hands(
    model: HandTensors, pose: Tensor, shape: Tensor, frame: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Vertices (B, 778, 3), joints (B, 21, 3), and what the backward pass needs."""
    batch = len(pose)
    coefficients, chain = pose.new_empty(batch, _BLEND.value), pose.new_empty(batch, _CHAIN.value)
    at_rest, vertices = (pose.new_empty(batch, _VERTICES.value, 3) for _ in range(2))
    joints = pose.new_empty(batch, _JOINTS.value, 3)
    with torch.cuda.device_of(pose):
        fk[(batch,)](
            pose, shape, frame, model.joint_template, model.jointdirs, coefficients, chain,
            num_warps=1,
        )  # fmt: skip
        lbs[batch, _BLOCK_COUNT](
            coefficients, chain, model.template, model.blend_shapes, model.bone_weights,
            at_rest, vertices, BLOCK=_BLOCK,
        )  # fmt: skip
        regress[batch, _JOINTS.value](vertices, model.skeleton_regressor, joints)
    return vertices, joints, (at_rest, chain)


def pose_hands_backward(
    model: HandTensors, inputs: list[Tensor], kept: list[Tensor], pull: list[Tensor]
) -> tuple[Tensor, ...]:
    """Gradients of the inputs (pose, shape, frame) from those of vertices and joints."""
    at_rest, chain = kept
    batch = len(at_rest)
    parts = at_rest.new_empty(batch, _BLOCK_COUNT, _PULLS.value)
    pulls = at_rest.new_empty(batch, _PULLS.value)
    gradients = tuple(torch.empty_like(t) for t in inputs)
    with torch.cuda.device_of(at_rest):
        lbs_backward[batch, _BLOCK_COUNT](
            *pull, at_rest, chain,
            model.blend_shapes, model.bone_weights, model.skeleton_regressor, parts, BLOCK=_BLOCK,
        )  # fmt: skip
        total[batch, triton.cdiv(_PULLS.value, 32)](parts, pulls, _BLOCK_COUNT, PADDED=64)
        fk_backward[(batch,)](
            *inputs[:2], model.joint_template, model.jointdirs, chain, pulls, *gradients,
            num_warps=1,
        )  # fmt: skip
    return gradients


# --- forward --------------------------------------------------------------------------------------


@triton.jit
def fk(
    pose, shape, frame,  # (B, 15, 3), (B, 10), (B, 3, 4)
    joint_template, jointdirs,  # (16, 3), (16, 3, 10)
    coefficients, chain,  # out: (B, 145), (B, 16, 3, 4)
):  # fmt: skip
    """Forward kinematics: the chain from wrist to finger tips, five fingers at a time."""
    hand = tl.program_id(0).to(tl.int64)
    pose += hand * 3 * _TURNS
    shape += hand * _SHAPES
    coefficients += hand * _BLEND
    chain += hand * _CHAIN
    finger, row = _lanes()
    ax, ay, az, shift = _load_columns(frame + hand * 12 + 4 * row, row < 3)
    _store_columns(chain + 4 * row, ax, ay, az, shift, row < 3)
    for level in tl.static_range(3):
        turn = 3 * finger + level
        is_turn = turn < _TURNS
        vx, vy, vz = _load_vector(pose + 3 * turn, is_turn)
        w, share, _ = _half_angle(vx, vy, vz)
        xx, xy, xz, yx, yy, yz, zx, zy, zz = _bend(w, share * vx, share * vy, share * vz)
        bend = coefficients + _SHAPES + 9 * turn
        _store_vector(bend, xx, xy, xz, is_turn)
        _store_vector(bend + 3, yx, yy, yz, is_turn)
        _store_vector(bend + 6, zx, zy, zz, is_turn)
        jx, jy, jz, _, _, _ = _joint(joint_template, jointdirs, shape, turn)
        # above (I + bend), about the joint
        dx = ax * xx + ay * yx + az * zx
        dy = ax * xy + ay * yy + az * zy
        dz = ax * xz + ay * yz + az * zz
        ax, ay, az, shift = ax + dx, ay + dy, az + dz, shift - (dx * jx + dy * jy + dz * jz)
        entry = chain + 12 * (turn + 1) + 4 * row
        _store_columns(entry, ax, ay, az, shift, is_turn & (row < 3))
    k = tl.arange(0, 16)
    tl.store(coefficients + k, tl.load(shape + k, k < _SHAPES), k < _SHAPES)


@triton.jit
def lbs(
    coefficients, chain,
    template, blend_shapes, weights,  # (3, V), (3 V, 145), (16, V)
    at_rest, vertices,  # out: (B, V, 3), before and after the chain moves them
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Linear blend skinning: blend the shapes of a block of vertices, and move it by the chain."""
    hand = tl.program_id(0).to(tl.int64)
    vertex, axis, inside = _block(BLOCK)
    k = tl.arange(0, 32)[None, None, :]
    offset = tl.zeros([BLOCK, 4, 32], at_rest.dtype.element_ty)
    for first in tl.static_range(0, _BLEND, 32):
        coefficient = tl.load(coefficients + hand * _BLEND + first + k, first + k < _BLEND, 0.0)
        offset += coefficient * _load_shapes(blend_shapes, vertex, axis, first + k)
    point = tl.load(template + axis * _VERTICES + vertex, inside, 0.0)
    point += tl.sum(offset, 2, keep_dims=True)
    weight = _load_weights(weights, vertex)
    moved = _product(_blended(chain + hand * _CHAIN, weight), tl.where(axis == 3, 1.0, point))
    entry = (hand * _VERTICES + vertex) * 3 + axis
    tl.store(at_rest + entry, point, inside)
    tl.store(vertices + entry, moved, inside)


@triton.jit
def regress(vertices, regressor, joints):
    """A joint (of B, 21, 3) from the vertices (B, V, 3), by its row of the regressor (21, V)."""
    hand, joint = tl.program_id(0).to(tl.int64), tl.program_id(1)
    vertex, axis = tl.arange(0, 1024), tl.arange(0, 4)
    share = tl.load(regressor + joint * _VERTICES + vertex, vertex < _VERTICES, 0.0)
    inside = (vertex < _VERTICES)[:, None] & (axis < 3)[None, :]
    entry = (hand * _VERTICES + vertex)[:, None] * 3 + axis[None, :]
    place = tl.sum(share[:, None] * tl.load(vertices + entry, inside, 0.0), 0)
    tl.store(joints + (hand * _JOINTS + joint) * 3 + axis, place, axis < 3)


# --- backward -------------------------------------------------------------------------------------


@triton.jit
def lbs_backward(
    to_vertices, to_joints,  # (B, V, 3), (B, 21, 3)
    at_rest, chain, blend_shapes, weights, regressor,
    parts,  # out: (B, blocks, 337)
    BLOCK: tl.constexpr,
):  # fmt: skip
    """Backward of `lbs`: the pull of a block of vertices on blend coefficients and chain."""
    hand = tl.program_id(0).to(tl.int64)
    parts += (hand * tl.num_programs(1) + tl.program_id(1)) * _PULLS
    vertex, axis, inside = _block(BLOCK)
    entry = (hand * _VERTICES + vertex) * 3 + axis
    joint = tl.arange(0, 32)[None, None, :]
    is_share = (joint < _JOINTS) & (vertex < _VERTICES)
    share = tl.load(regressor + joint * _VERTICES + vertex, is_share, 0.0)
    in_joint = (joint < _JOINTS) & (axis < 3)
    to_joint = tl.load(to_joints + (hand * _JOINTS + joint) * 3 + axis, in_joint, 0.0)
    to_moved = tl.load(to_vertices + entry, inside, 0.0)
    to_moved += tl.sum(share * to_joint, 2, keep_dims=True)

    point = tl.where(axis == 3, 1.0, tl.load(at_rest + entry, inside, 0.0))
    weight = _load_weights(weights, vertex)
    to_map = _product(to_moved, _transposed(point))
    to_chain = tl.sum(to_map[:, :, :, None] * weight, 0)[None]
    bone, row, column = _chain_lanes()
    tl.store(parts + _BLEND + 12 * bone + 4 * row + column, to_chain, row < 3)

    to_point = _product(_transposed(_blended(chain + hand * _CHAIN, weight)), to_moved)
    for first in tl.static_range(0, _BLEND, 32):
        k = first + tl.arange(0, 32)
        shapes = _load_shapes(blend_shapes, vertex, axis, k[None, None, :])
        tl.store(parts + k, tl.sum(tl.sum(shapes * to_point, 1), 0), k < _BLEND)


@triton.jit
def total(parts, pulls, count: tl.constexpr, PADDED: tl.constexpr):
    """pulls (B, 337): the sums of parts (B, count, 337)."""
    hand = tl.program_id(0).to(tl.int64)
    column = tl.program_id(1) * 32 + tl.arange(0, 32)
    row = tl.arange(0, PADDED)[:, None]
    entry = parts + (hand * count + row) * _PULLS + column[None, :]
    part = tl.load(entry, (row < count) & (column < _PULLS)[None, :], 0.0)
    tl.store(pulls + hand * _PULLS + column, tl.sum(part, 0), column < _PULLS)


@triton.jit
def fk_backward(
    pose, shape, joint_template, jointdirs, chain, pulls,
    to_pose, to_shape, to_frame,  # out
):  # fmt: skip
    """Backward of `fk`, from finger tips to wrist."""
    hand = tl.program_id(0).to(tl.int64)
    pose += hand * 3 * _TURNS
    to_pose += hand * 3 * _TURNS
    shape += hand * _SHAPES
    chain += hand * _CHAIN
    pulls += hand * _PULLS
    finger, row = _lanes()
    gx = tl.zeros([8, 4], to_pose.dtype.element_ty)
    gy, gz, gs = gx, gx, gx
    to_shapes = tl.zeros([8, 16], to_pose.dtype.element_ty)
    for back in tl.static_range(3):
        turn = 3 * finger + (2 - back)
        is_turn = turn < _TURNS
        in_map = is_turn & (row < 3)
        vx, vy, vz = _load_vector(pose + 3 * turn, is_turn)
        w, share, squared = _half_angle(vx, vy, vz)
        ux, uy, uz = share * vx, share * vy, share * vz
        xx, xy, xz, yx, yy, yz, zx, zy, zz = _bend(w, ux, uy, uz)
        jx, jy, jz, dirs_x, dirs_y, dirs_z = _joint(joint_template, jointdirs, shape, turn)
        parent = turn if back < 2 else tl.zeros_like(turn)
        ax, ay, az, _ = _load_columns(chain + 12 * parent + 4 * row, in_map)

        # The pull on this bone's map: what its child sent, and what vertices did.
        to_map = pulls + _BLEND + 12 * (turn + 1) + 4 * row
        px, py, pz, ps = _load_columns(to_map, in_map)
        gx, gy, gz, gs = gx + px, gy + py, gz + pz, gs + ps
        # above bend, by which the map differs from the one above, also moves the shift.
        ex, ey, ez = gx - gs * jx, gy - gs * jy, gz - gs * jz
        to_joint_x = -_over_rows(gs * (ax * xx + ay * yx + az * zx))
        to_joint_y = -_over_rows(gs * (ax * xy + ay * yy + az * zy))
        to_joint_z = -_over_rows(gs * (ax * xz + ay * yz + az * zz))
        to_shapes += to_joint_x * dirs_x + to_joint_y * dirs_y + to_joint_z * dirs_z
        gx += ex * xx + ey * xy + ez * xz
        gy += ex * yx + ey * yy + ez * yz
        gz += ex * zx + ey * zy + ez * zz

        to_bend = pulls + _SHAPES + 9 * turn
        xx, xy, xz = _load_vector(to_bend, is_turn)
        yx, yy, yz = _load_vector(to_bend + 3, is_turn)
        zx, zy, zz = _load_vector(to_bend + 6, is_turn)
        tx, ty, tz = _turn_back(
            xx + _over_rows(ax * ex), xy + _over_rows(ax * ey), xz + _over_rows(ax * ez),
            yx + _over_rows(ay * ex), yy + _over_rows(ay * ey), yz + _over_rows(ay * ez),
            zx + _over_rows(az * ex), zy + _over_rows(az * ey), zz + _over_rows(az * ez),
            vx, vy, vz, w, share, squared,
        )  # fmt: skip
        _store_vector(to_pose + 3 * turn, tx, ty, tz, is_turn)
    k = tl.arange(0, 16)
    to_shapes = tl.load(pulls + k, k < _SHAPES, 0.0) + tl.sum(to_shapes, 0)
    tl.store(to_shape + hand * _SHAPES + k, to_shapes, k < _SHAPES)
    px, py, pz, ps = _load_columns(pulls + _BLEND + 4 * row, row < 3)
    px, py = px + _over_fingers(gx), py + _over_fingers(gy)
    pz, ps = pz + _over_fingers(gz), ps + _over_fingers(gs)
    _store_columns(to_frame + hand * 12 + 4 * row, px, py, pz, ps, row < 3)


# --- bones: fingers (8 lanes, of which five are) by rows of matrices (4, three are) ---------------


@triton.jit
def _lanes():
    """Indices of fingers (8, 1) and of rows (1, 4)."""
    return tl.arange(0, 8)[:, None], tl.arange(0, 4)[None, :]


@triton.jit
def _over_rows(value):
    return tl.sum(value, 1, keep_dims=True)


@triton.jit
def _over_fingers(value):
    return tl.sum(value, 0, keep_dims=True)


@triton.jit
def _load_vector(pointer, valid):
    x, y = tl.load(pointer, valid, 0.0), tl.load(pointer + 1, valid, 0.0)
    return x, y, tl.load(pointer + 2, valid, 0.0)


@triton.jit
def _store_vector(pointer, x, y, z, valid):
    tl.store(pointer, x, valid)
    tl.store(pointer + 1, y, valid)
    tl.store(pointer + 2, z, valid)


@triton.jit
def _load_columns(pointer, valid):
    """The four columns of an affine map, by pointers to its rows."""
    x, y, z = _load_vector(pointer, valid)
    return x, y, z, tl.load(pointer + 3, valid, 0.0)


@triton.jit
def _store_columns(pointer, x, y, z, shift, valid):
    _store_vector(pointer, x, y, z, valid)
    tl.store(pointer + 3, shift, valid)


@triton.jit
def _half_angle(x, y, z):
    """Of an axis-angle vector: w and the factor to u of its unit quaternion; its square."""
    squared = x * x + y * y + z * z + _TINY
    angle = tl.sqrt(squared)
    return tl.cos(0.5 * angle), tl.sin(0.5 * angle) / angle, squared


@triton.jit
def _bend(w, x, y, z):
    """R - I of a unit quaternion, row by row."""
    wx, wy, wz = 2.0 * w * x, 2.0 * w * y, 2.0 * w * z
    xx, yy, zz = 2.0 * x * x, 2.0 * y * y, 2.0 * z * z
    xy, xz, yz = 2.0 * x * y, 2.0 * x * z, 2.0 * y * z
    return -(yy + zz), xy - wz, xz + wy, xy + wz, -(xx + zz), yz - wx, xz - wy, yz + wx, -(xx + yy)


@triton.jit
def _turn_back(xx, xy, xz, yx, yy, yz, zx, zy, zz, vx, vy, vz, w, share, squared):
    """From the pull on R to that on the axis-angle vector v: `hand_kernels.rotation_back`."""
    ux, uy, uz = share * vx, share * vy, share * vz
    twist_x, twist_y, twist_z = zy - yz, xz - zx, yx - xy
    to_w = 2.0 * (twist_x * ux + twist_y * uy + twist_z * uz)
    to_x = 2.0 * (w * twist_x + (xy + yx) * uy + (xz + zx) * uz) - 4.0 * (yy + zz) * ux
    to_y = 2.0 * (w * twist_y + (xy + yx) * ux + (yz + zy) * uz) - 4.0 * (xx + zz) * uy
    to_z = 2.0 * (w * twist_z + (xz + zx) * ux + (yz + zy) * uy) - 4.0 * (xx + yy) * uz
    along = to_x * vx + to_y * vy + to_z * vz
    radial = along * (0.5 * w - share) / squared - 0.5 * share * to_w
    return share * to_x + radial * vx, share * to_y + radial * vy, share * to_z + radial * vz


@triton.jit
def _joint(joint_template, jointdirs, shape, turn):
    """Joints at rest, about which bones turn: x, y, z, and how each moves with the shape."""
    k = tl.arange(0, 16)[None, :]
    coefficient = tl.load(shape + k, k < _SHAPES, 0.0)
    x, y, z = _load_vector(joint_template + 3 * (turn + 1), turn < _TURNS)
    valid = (turn < _TURNS) & (k < _SHAPES)
    dirs = jointdirs + 3 * (turn + 1) * _SHAPES + k
    dirs_x = tl.load(dirs, valid, 0.0)
    dirs_y = tl.load(dirs + _SHAPES, valid, 0.0)
    dirs_z = tl.load(dirs + 2 * _SHAPES, valid, 0.0)
    x += _over_rows(dirs_x * coefficient)
    y += _over_rows(dirs_y * coefficient)
    z += _over_rows(dirs_z * coefficient)
    return x, y, z, dirs_x, dirs_y, dirs_z


# --- blocks of vertices ---------------------------------------------------------------------------


@triton.jit
def _product(a, b):
    return tl.sum(a[:, :, :, None] * b[:, None, :, :], 2)


@triton.jit
def _transposed(a):
    return tl.permute(a, (0, 2, 1))


@triton.jit
def _block(BLOCK: tl.constexpr):
    """The program's vertices (BLOCK, 1, 1), their axes (1, 4, 1), and what of these there is."""
    vertex = tl.program_id(1) * BLOCK + tl.arange(0, BLOCK)[:, None, None]
    axis = tl.arange(0, 4)[None, :, None]
    return vertex, axis, (vertex < _VERTICES) & (axis < 3)


@triton.jit
def _load_shapes(blend_shapes, vertex, axis, k):
    """Blend shapes k of a block's vertices, (BLOCK, 4, 32)."""
    valid = (vertex < _VERTICES) & (axis < 3) & (k < _BLEND)
    return tl.load(blend_shapes + (axis * _VERTICES + vertex) * _BLEND + k, valid, 0.0)


@triton.jit
def _chain_lanes():
    """Indices of bone, row and column in (1, 4, 4, 16)."""
    lane = tl.arange(0, 4)
    bone = tl.arange(0, 16)[None, None, None, :]
    return bone, lane[None, :, None, None], lane[None, None, :, None]


@triton.jit
def _load_weights(weights, vertex):
    """(BLOCK, 1, 1, 16)."""
    bone, _, _ = _chain_lanes()
    vertex = vertex[:, :, :, None]
    return tl.load(weights + bone * _VERTICES + vertex, vertex < _VERTICES, 0.0)


@triton.jit
def _blended(chain, weight):
    """The maps (BLOCK, 4, 4), without their last row, that move vertices."""
    bone, row, column = _chain_lanes()
    entry = tl.load(chain + 12 * bone + 4 * row + column, row < 3, 0.0)
    return tl.sum(entry * weight, 3)
