"""f_Proj: parameters to mesh, skeleton and silhouette."""

import pytest
import torch

from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters, normalize_parameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.weights import hand_model_path


@pytest.fixture(scope="module")
def projection():
    return Projection(HandModel(hand_model_path()))


def test_scale_translation_and_rotation_act_as_stated(projection):
    start = HandParameters.start(1)
    moved = start.clone()
    moved[0, 0] /= 2
    moved[0, 1:4] = torch.tensor((0.3, -0.2, 0.1))
    moved[0, 4:8] = torch.tensor((1.0, 0.0, 0.0, 1.0))  # a quarter turn about z, not normalised
    before, after = projection(start), projection(moved)
    turned = torch.stack((-before.vertices[0, :, 1], before.vertices[0, :, 0]), -1) / 2
    expected = turned + torch.tensor((0.3, -0.2))
    assert torch.allclose(after.vertices[0, :, :2], expected, atol=1e-5)


def test_joints_are_those_of_the_projected_vertices(projection):
    hand = projection(HandParameters.start(2) + 0.05 * torch.randn(2, 63))
    joints = projection.hand_model.skeleton_regressor @ hand.vertices
    assert torch.allclose(hand.joints, joints)


def test_silhouette_covers_the_joints(projection):
    start = HandParameters.start(1)
    start[0, 4:8] = torch.tensor((0.7071, 0.7071, 0.0, 0.0))  # the palm towards the viewer
    hand = projection(start)
    mask = projection.silhouette(hand, 224)[0]
    cells = ((hand.joints[0, :, :2] + 1) / 2 * 224 - 0.5).round().long()
    inside = mask[cells[:, 1], cells[:, 0]]
    assert inside[[0, 5, 6, 7, 9, 10, 11, 13, 14, 17]].min() == 1
    assert 0.05 < float(mask.mean()) < 0.6


def test_smoothness_is_zero_for_a_point_and_grows_with_scale(projection):
    start = HandParameters.start(1)
    twice = start.clone()
    twice[0, 0] *= 2
    one, two = projection.smoothness(projection(start)), projection.smoothness(projection(twice))
    assert float(two) == pytest.approx(2 * float(one), rel=1e-4)
    assert float(one) > 0


def test_gradients_match_finite_differences(projection):
    exact = Projection(HandModel(hand_model_path()).double()).double()
    torch.manual_seed(0)
    h = HandParameters.start(1).double() + 0.2 * torch.randn(1, 63).double()
    h.requires_grad_(True)
    weights = torch.randn(1, 21, 3).double()
    (grad,) = torch.autograd.grad((exact(h).joints * weights).sum(), h)
    direction, step = torch.randn_like(h), 1e-5
    with torch.no_grad():
        ahead = (exact(h + step * direction).joints * weights).sum()
        behind = (exact(h - step * direction).joints * weights).sum()
    slope = float((grad * direction).sum())
    assert slope == pytest.approx(float((ahead - behind) / (2 * step)), rel=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("part", "size"),
    [
        *((slice(4, 8), length) for length in (0.0, 1e-30, 1e-12, 1e-7, 1e-6, 1e6)),  # quaternion
        *((slice(8, 53), angle) for angle in (0.0, 1e-12, 1e-8, 6.2831853, 1e4, 1e12)),  # pose
        *((slice(53, 63), shape) for shape in (10.0, -10.0, 1e3)),
        (slice(0, 1), 0.0),
        (slice(0, 1), -1e3),
    ],
)
def test_extreme_parameters_give_finite_hands_and_gradients(part, size, dtype):
    projection = Projection(HandModel(hand_model_path())).to(dtype)
    h = HandParameters.start(2).to(dtype)
    h[:, part] = size
    h.requires_grad_()
    for parameters in (h, normalize_parameters(h)):
        hand = projection(parameters)
        assert hand.vertices.isfinite().all()
        total = hand.joints.square().sum() + hand.vertices.sum()
        assert torch.autograd.grad(total, h, retain_graph=True)[0].isfinite().all()


@pytest.mark.parametrize("length", [0.0, 1e-9])
def test_a_quaternion_without_direction_is_set_upright(length):
    h = HandParameters.start(1)
    h[:, 4:8] = length
    upright = torch.tensor([[1.0, 0.0, 0.0, 0.0]])
    assert torch.equal(HandParameters.split(normalize_parameters(h)).rotation, upright)
