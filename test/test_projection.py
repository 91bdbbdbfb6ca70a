"""f_Proj: parameters to mesh, skeleton and silhouette."""

import pytest
import torch

from dhpe_ros.hand_model import HandModel
from dhpe_ros.hand_parameters import HandParameters
from dhpe_ros.projection import Projection
from dhpe_ros.weights import hand_model_path


@pytest.fixture(scope="module")
def projection():
    return Projection(HandModel(hand_model_path()))


def test_scale_translation_and_rotation_act_as_stated(projection):
    start = HandParameters.start(1)
    moved = start.clone()
    moved[0, 0] = 4.0  # half the size
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
