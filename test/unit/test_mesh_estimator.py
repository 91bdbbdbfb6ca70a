"""f_E3D and f_Ref: sizes of the paper, three iterations, a start near the start."""

import copy
from dataclasses import replace

import pytest
import torch

from dhpe_ros.hand import parameters
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import START_SCALE, HandParameters, normalize_parameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.evidence import Evidence
from dhpe_ros.networks.mesh_estimator import MeshEstimator
from dhpe_ros.networks.weights import hand_model_path


@pytest.fixture(scope="module")
def projection():
    return Projection(HandModel(hand_model_path()))


def _evidence(batch=2):
    torch.manual_seed(0)
    joints = torch.rand(batch, 21, 2) * 2 - 1
    return Evidence(torch.rand(batch, 2048), joints, torch.ones(batch, 21), torch.ones(batch))


def test_the_papers_layers():
    estimator = MeshEstimator(hidden=0)
    assert estimator.regressor.weight.shape == (63, 2153)
    assert estimator.refiner.weight.shape == (42, 2216)


@pytest.mark.parametrize("hidden", [0, 64])
def test_three_iterations_from_the_mean_hand(projection, hidden):
    estimates = MeshEstimator(hidden).eval()(_evidence(), projection)
    assert len(estimates) == 3
    for estimate in estimates:
        assert estimate.parameters.shape == (2, 63)
        assert estimate.joints_2d.shape == (2, 21, 2)
        quaternion = HandParameters.split(estimate.parameters).rotation
        assert torch.allclose(quaternion.norm(dim=1), torch.ones(2), atol=1e-5)


def test_untrained_residual_heads_stay_near_the_start(projection):
    evidence = _evidence()
    last = MeshEstimator(64).eval()(evidence, projection)[-1]
    assert (last.parameters - HandParameters.start(2)).abs().max() < 0.5
    assert (last.joints_2d - evidence.joints).abs().max() < 0.5


def test_canonical_networks_follow_a_hand_that_is_moved_enlarged_and_turned(projection):
    evidence, estimator = _evidence(64), MeshEstimator(64, canonical=True).eval()
    before = estimator(evidence, projection)
    torch.manual_seed(1)
    angle = 2 * torch.pi * torch.rand(64)
    angle[0] = -torch.atan2(*(_palm(evidence.joints)[0]))  # the half turn, but for rounding
    cosine, sine = angle.cos(), angle.sin()
    turn = torch.stack((cosine, -sine, sine, cosine), 1).unflatten(1, (2, 2))
    moved = replace(evidence, joints=1.3 * evidence.joints @ turn.mT + torch.tensor((0.2, -0.1)))
    for old, new in zip(before, estimator(moved, projection), strict=True):
        expected = 1.3 * old.hand.joints[..., :2] @ turn.mT + torch.tensor((0.2, -0.1))
        torch.testing.assert_close(new.hand.joints[..., :2], expected, atol=1e-4, rtol=0)
        torch.testing.assert_close(new.hand.joints[..., 2], 1.3 * old.hand.joints[..., 2])
        placed = projection(new.parameters)
        torch.testing.assert_close(placed.joints, new.hand.joints, atol=1e-5, rtol=0)
        torch.testing.assert_close(placed.vertices, new.hand.vertices, atol=1e-5, rtol=0)


def _palm(joints):
    return joints[:, [5, 9, 13, 17]].mean(1) - joints[:, 0]


def test_joints_in_one_point_have_some_canonical_view(projection):
    evidence = _evidence(1)
    last = MeshEstimator(64, canonical=True).eval()(
        replace(evidence, joints=0.3 + 0 * evidence.joints), projection
    )[-1]
    assert last.parameters.isfinite().all() and last.hand.vertices.isfinite().all()


@pytest.mark.parametrize("hidden", [0, 64])
def test_features_count_only_in_networks_that_see_them(projection, hidden):
    evidence = _evidence()
    other = replace(evidence, features=evidence.features + 1)
    for features in (True, False):
        estimator = MeshEstimator(hidden, features=features).eval()
        one, two = (estimator(seen, projection)[-1].parameters for seen in (evidence, other))
        assert (one == two).all() != features


@pytest.mark.parametrize("hidden", [0, 64])
def test_networks_that_learnt_with_a_smaller_hand_give_the_same_picture(
    projection, hidden, monkeypatch
):
    evidence, estimator = _evidence(), MeshEstimator(hidden).eval()
    before = estimator(evidence, projection)[-1]
    larger = copy.deepcopy(projection)
    for name in ("template", "blend_shapes", "joint_template", "jointdirs"):
        getattr(larger.hand_model, name).mul_(1.25)
    monkeypatch.setattr(parameters, "START_SCALE", START_SCALE / 1.25)
    estimator.change_scale(1 / 1.25)
    after = estimator(evidence, larger)[-1]
    torch.testing.assert_close(after.hand.joints, before.hand.joints, atol=1e-5, rtol=0)
    torch.testing.assert_close(after.joints_2d, before.joints_2d, atol=1e-5, rtol=0)
    torch.testing.assert_close(1.25 * after.parameters[:, 0], before.parameters[:, 0])


def test_parameters_split_and_join():
    vector = torch.arange(126.0).reshape(2, 63)
    p = HandParameters.split(vector)
    assert p.scale.tolist() == [[0.0], [63.0]]
    assert p.rotation[0].tolist() == [4.0, 5.0, 6.0, 7.0]
    assert p.shape[0].tolist() == list(range(53, 63))
    assert torch.equal(p.join(), vector)
    with pytest.raises(ValueError, match=r"must be \(B, 63\), got \(63,\)"):
        HandParameters.split(vector[0])


def test_normalising_mends_scale_and_quaternion():
    vector = HandParameters.start(1)
    vector[0, 0], vector[0, 4:8] = -3.0, 0.0
    mended = normalize_parameters(vector)
    assert mended[0, 0] > 0
    assert mended[0, 4:8].tolist() == [1.0, 0.0, 0.0, 0.0]
    vector[0, 4:8] = torch.tensor((0.0, 3.0, 0.0, 4.0))
    assert normalize_parameters(vector)[0, 4:8].tolist() == pytest.approx([0.0, 0.6, 0.0, 0.8])
