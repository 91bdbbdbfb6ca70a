"""The closed-form camera: exact where an exact answer exists, harmless where none does."""

import torch

from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.refinement.start import align_camera


def _hand():
    torch.manual_seed(0)
    projection = Projection(HandModel(hand_model_path()))
    h = HandParameters.start(3)
    h[:, 4:8] = torch.randn(3, 4)
    h[:, 1:4] = 0.2 * torch.randn(3, 3)
    h[:, 8:53] = 0.3 * torch.randn(3, 45)
    return projection, h


def test_a_scaled_shifted_and_turned_hand_is_found_exactly():
    projection, h = _hand()
    joints = projection(h).joints[..., :2]
    angle = torch.tensor(2.1)
    turn = torch.stack((angle.cos(), -angle.sin(), angle.sin(), angle.cos())).reshape(2, 2)
    observed = 1.3 * joints @ turn.T + torch.tensor((0.2, -0.4))
    aligned = align_camera(h, joints, observed, torch.ones(3, 21))
    assert torch.allclose(projection(aligned).joints[..., :2], observed, atol=1e-4)
    assert torch.equal(aligned[:, 8:], h[:, 8:])


def test_joints_without_weight_do_not_count():
    projection, h = _hand()
    joints = projection(h).joints[..., :2]
    observed, weights = joints + 0.1, torch.ones(3, 21)
    observed[:, 4], weights[:, 4] = 7.0, 0.0
    aligned = align_camera(h, joints, observed, weights)
    error = (projection(aligned).joints[..., :2] - observed)[weights > 0]
    assert error.abs().max() < 1e-4


def test_nothing_to_hold_on_to_changes_nothing():
    _, h = _hand()
    joints = torch.zeros(3, 21, 2)
    assert torch.equal(align_camera(h, joints, torch.rand(3, 21, 2), torch.ones(3, 21)), h)
    some = torch.rand(3, 21, 2)
    assert torch.equal(align_camera(h, some, some, torch.zeros(3, 21)), h)
    bad = some.clone()
    bad[1] = float("nan")
    aligned = align_camera(h, some, bad, torch.ones(3, 21))
    assert torch.equal(aligned[1], h[1])
    assert aligned.isfinite().all()
