"""The hand layer against analytic answers, finite differences, and hostile input."""

import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from dhpe_ros.hand.kernels.layout import PARENTS
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.rotations import rotation_from_axis_angle, rotation_from_quaternion
from dhpe_ros.networks.weights import hand_model_path


@pytest.fixture(scope="module")
def model():
    return HandModel(hand_model_path()).double()


def _zeros(batch=1):
    return torch.zeros(batch, 15, 3).double(), torch.zeros(batch, 10).double()


def test_rest_pose_is_the_template(model):
    pose, shape = _zeros()
    assert torch.allclose(model(pose, shape)[0], model.v_template, atol=1e-9)


def test_shape_moves_the_template_linearly(model):
    pose, shape = _zeros()
    shape[0, 3] = 1.5
    expected = model.v_template + 1.5 * model.blend_shapes[:, 3].reshape(3, 778).T
    assert torch.allclose(model(pose, shape)[0], expected, atol=1e-9)


@pytest.mark.parametrize("bone", range(1, 16))
def test_a_bone_turns_what_hangs_on_it_and_nothing_else(model, bone):
    pose, shape = _zeros()
    pose[0, bone - 1] = torch.tensor((0.3, -0.5, 0.2))
    rigid = HandModel(hand_model_path()).double()
    rigid.blend_shapes.zero_()
    descendants, chain = {bone}, [bone]
    while chain:
        parent = chain.pop()
        children = [child for child, above in enumerate(PARENTS) if above == parent]
        descendants |= set(children)
        chain += children
    part = rigid.weights[:, sorted(descendants)].sum(1)
    moved = rigid(pose, shape)[0]
    rotation = rotation_from_axis_angle(pose[0, bone - 1][None])[0]
    joint = rigid.joint_template[bone]
    turned = (rigid.v_template - joint) @ rotation.T + joint
    whole, none = part > 1 - 1e-6, part < 1e-6
    assert torch.allclose(moved[whole], turned[whole], atol=1e-6)
    assert torch.allclose(moved[none], rigid.v_template[none], atol=1e-6)


def test_pivots_at_rest_are_the_regressed_joints_in_openpose_order(model):
    joints = model.pivots(model.v_template[None])[0]
    assert torch.allclose(joints[0], model.joint_template[0])
    assert torch.allclose(joints[5], model.joint_template[1])  # index MCP
    assert torch.allclose(joints[17], model.joint_template[7])  # little MCP, MANO's third finger
    assert torch.allclose(joints[1], model.joint_template[13])  # thumb CMC, MANO's last
    lengths = [float((joints[4 * f + 4] - joints[0]).norm()) for f in range(5)]
    assert int(np.argmax(lengths)) == 2  # the middle finger reaches furthest


def test_the_skeleton_is_the_landmarks_of_the_pivots_and_near_them(model):
    torch.manual_seed(2)
    vertices = model(0.3 * torch.randn(4, 15, 3).double(), torch.randn(4, 10).double())
    skeleton, pivots = model.skeleton(vertices), model.pivots(vertices)
    landmarks = torch.from_numpy(model.extras["landmarks"]).double()
    torch.testing.assert_close(skeleton, landmarks @ pivots, atol=1e-6, rtol=0)
    away_m = (skeleton - pivots).norm(dim=2)
    assert away_m.max() < 0.025
    assert away_m.mean() > 0.002  # it is not the same point by another name


def test_landmarks_move_with_the_hand(model):
    shift = torch.tensor((0.3, -2.0, 5.0)).double()
    vertices = model.v_template[None]
    moved = model.skeleton(vertices + shift)
    torch.testing.assert_close(moved, model.skeleton(vertices) + shift, atol=1e-5, rtol=0)


def test_without_landmarks_the_skeleton_is_the_pivots(tmp_path):
    with np.load(hand_model_path()) as file:
        arrays = {key: value for key, value in file.items() if key != "landmarks"}
    np.savez(tmp_path / "plain.npz", **arrays)
    plain = HandModel(tmp_path / "plain.npz")
    pose, shape = torch.full((1, 15, 3), 0.2), torch.ones(1, 10)
    vertices, skeleton = plain.pose_hand(pose, shape, torch.eye(3, 4)[None])
    assert torch.equal(plain.skeleton_regressor, plain.pivot_regressor)
    torch.testing.assert_close(skeleton, plain.pivots(vertices), atol=1e-6, rtol=0)


def test_theta_and_pose_are_inverse(model):
    theta = torch.randn(4, 45).double()
    assert torch.allclose(model.theta_from_pose(model.pose_from_theta(theta)), theta, atol=1e-6)


ANGLES = [0.0, 1e-30, 1e-12, 1e-8, 1e-6, 1e-4, 1.0, 3.1415, math.pi, 3.1417, 2 * math.pi, 1e4, 1e12]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", ANGLES)
def test_rotations_are_rotations_with_finite_gradients(angle, dtype):
    axis = functional.normalize(torch.tensor([[0.6, -0.7, 0.39], [0.0, 1.0, 0.0]], dtype=dtype))
    vector = (angle * axis).requires_grad_()
    rotation = rotation_from_axis_angle(vector)
    identity = torch.eye(3, dtype=dtype).expand(2, 3, 3)
    torch.testing.assert_close(rotation @ rotation.mT, identity, atol=1e-6, rtol=0)
    (grad,) = torch.autograd.grad(rotation, vector, torch.randn(2, 3, 3, dtype=dtype))
    assert grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("angle", [0.0, 1e-12, 1e-8, 1e-6, 1e-4])
def test_the_slope_of_a_small_rotation_is_that_of_its_cross_matrix(angle, dtype):
    vector = (angle * torch.tensor([0.6, -0.7, 0.39], dtype=dtype)).requires_grad_()
    pull = torch.randn(3, 3, dtype=dtype)
    (grad,) = torch.autograd.grad((rotation_from_axis_angle(vector) * pull).sum(), vector)
    twist = pull - pull.T
    expected = torch.stack((twist[2, 1], twist[0, 2], twist[1, 0]))
    torch.testing.assert_close(grad, expected, atol=10 * angle + 1e-5, rtol=0)


def test_axis_angle_matches_the_matrix_exponential():
    vector = torch.tensor([[0.4, -1.1, 0.7], [1e-5, 2e-5, -1e-5]]).double()
    x, y, z = vector.unbind(1)
    zero = torch.zeros_like(x)
    skew = torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), 1).reshape(-1, 3, 3)
    assert torch.allclose(rotation_from_axis_angle(vector), torch.matrix_exp(skew), atol=1e-9)


@pytest.mark.parametrize("length", [1e-3, 1.0, 50.0])
def test_a_quaternion_of_any_length_is_the_same_rotation(length):
    quaternion = torch.tensor([[0.5, 0.5, -0.5, 0.5]]).double()
    expected = rotation_from_quaternion(quaternion)
    assert torch.allclose(rotation_from_quaternion(length * quaternion), expected, atol=1e-9)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("length", [0.0, 1e-30, 1e-12, 1e-7, 1e-6, 1e-5, 1e6])
def test_a_quaternion_of_nearly_no_length_gives_finite_values_and_gradients(length, dtype):
    direction = torch.tensor([[0.5, 0.5, -0.5, 0.5], [0.0, 0.0, 1.0, 0.0]], dtype=dtype)
    quaternion = (length * direction).requires_grad_()
    rotation = rotation_from_quaternion(quaternion)
    (grad,) = torch.autograd.grad(rotation, quaternion, torch.randn(2, 3, 3, dtype=dtype))
    assert rotation.isfinite().all()
    assert rotation.abs().max() < 1 + 1e-5
    assert grad.isfinite().all()


def test_gradients_match_finite_differences(model):
    torch.manual_seed(0)
    pose, shape = (0.3 * torch.randn(1, 15, 3)).double(), torch.randn(1, 10).double()
    weights = torch.randn(1, 778, 3).double()

    def value(p, s):
        return (model(p, s) * weights).sum()

    pose.requires_grad_(True)
    shape.requires_grad_(True)
    grad_pose, grad_shape = torch.autograd.grad(value(pose, shape), (pose, shape))
    to_pose, to_shape, step = torch.randn_like(pose), torch.randn_like(shape), 1e-5
    with torch.no_grad():
        ahead = value(pose + step * to_pose, shape + step * to_shape)
        behind = value(pose - step * to_pose, shape - step * to_shape)
    slope = (grad_pose * to_pose).sum() + (grad_shape * to_shape).sum()
    assert float(slope) == pytest.approx(float((ahead - behind) / (2 * step)), rel=1e-5)


def test_a_batch_is_its_hands_one_by_one(model):
    torch.manual_seed(1)
    pose, shape = (0.4 * torch.randn(3, 15, 3)).double(), torch.randn(3, 10).double()
    together = model(pose, shape)
    for k in range(3):
        assert torch.allclose(together[k], model(pose[k : k + 1], shape[k : k + 1])[0])


def test_saving_and_loading_keeps_the_hand(tmp_path, model):
    path = tmp_path / "copy.npz"
    HandModel(hand_model_path()).save(path)
    copy = HandModel(path).double()
    pose, shape = _zeros()
    pose += 0.2
    assert torch.equal(copy(pose, shape), model(pose, shape))
    assert torch.equal(copy.skeleton_regressor, model.skeleton_regressor)
    assert torch.equal(copy.pivot_regressor, model.pivot_regressor)
    assert np.array_equal(copy.extras["landmarks"], model.extras["landmarks"])
