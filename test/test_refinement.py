"""Eq. 13: perturb and recover, each term's pull, and never worse than the start."""

import dataclasses

import pytest
import torch

from dhpe_ros.config import RefinementConfig
from dhpe_ros.evidence import build_evidence
from dhpe_ros.hand_model import HandModel
from dhpe_ros.hand_parameters import HandParameters
from dhpe_ros.objective import Observation, objective
from dhpe_ros.pose_space import PoseSpace
from dhpe_ros.projection import Projection
from dhpe_ros.refinement import refine
from dhpe_ros.weights import hand_model_path

JOINTS_ONLY = RefinementConfig(features_weight=0.0, laplacian_weight=0.0)


@pytest.fixture(scope="module")
def projection():
    return Projection(HandModel(hand_model_path())).eval()


@pytest.fixture(scope="module")
def evidence():
    torch.manual_seed(0)
    network = build_evidence("lite").eval()
    return network.requires_grad_(False)


def _scene(projection, evidence, batch=2):
    """A true hand, its crop (white on grey), and what is observed of it."""
    torch.manual_seed(1)
    truth = HandParameters.start(batch)
    truth[:, 4:8] = torch.tensor((0.7, 0.7, 0.1, -0.1))
    truth[:, 8:53] = 0.3 * projection.hand_model.theta_std * torch.randn(batch, 45)
    with torch.no_grad():
        hand = projection(truth)
        mask = projection.silhouette(hand)
        crops = 0.3 + 0.6 * mask[:, None].expand(-1, 3, -1, -1)
        image = evidence.feature_input(crops)
        features = evidence.features(image)
    return truth, Observation(image, features, hand.joints[..., :2], torch.ones(batch, 21))


def _perturbed(truth):
    torch.manual_seed(2)
    start = truth.clone()
    start[:, 0] *= 1.1
    start[:, 1:3] += 0.08
    start[:, 4:8] += 0.08 * torch.randn(len(truth), 4)
    start[:, 8:53] += 0.1 * torch.randn(len(truth), 45)
    return start


def test_a_perturbed_hand_comes_back_to_its_joints(projection, evidence):
    truth, observation = _scene(projection, evidence)
    result = refine(_perturbed(truth), observation, projection, evidence, JOINTS_ONLY)
    assert result.accepted.all()
    assert (result.residual_before > 0.05).all()
    assert (result.residual_after < 0.15 * result.residual_before).all()


def test_all_three_terms_together_lower_the_objective(projection, evidence):
    truth, observation = _scene(projection, evidence)
    config, start = RefinementConfig(steps=15), _perturbed(truth)
    result = refine(start, observation, projection, evidence, config)
    before = objective(start, observation, projection, evidence, config)
    after = objective(result.parameters, observation, projection, evidence, config)
    assert (after < before).all()
    assert result.steps == 15


def test_the_feature_term_pulls_the_mask_over_the_hand(projection, evidence):
    truth, observation = _scene(projection, evidence, batch=1)
    config = RefinementConfig(joints_weight=0.0, laplacian_weight=0.0)
    shifted = truth.clone()
    shifted[:, 1] += 0.1
    shifted.requires_grad_(True)
    value = objective(shifted, observation, projection, evidence, config)
    (gradient,) = torch.autograd.grad(value.sum(), shifted)
    assert gradient.isfinite().all()
    assert gradient[:, :3].abs().min() > 0
    with torch.no_grad():
        truth_value = objective(truth, observation, projection, evidence, config)
    assert float(value.detach()) > float(truth_value)


def test_the_objective_is_the_weighted_sum_of_its_terms(projection, evidence):
    truth, observation = _scene(projection, evidence)
    start = _perturbed(truth)

    def value(joints, features, laplacian, pose=0.0):
        config = RefinementConfig(
            joints_weight=joints,
            features_weight=features,
            laplacian_weight=laplacian,
            pose_weight=pose,
        )
        with torch.no_grad():
            return objective(start, observation, projection, evidence, config)

    parts = 2 * value(1.0, 0.0, 0.0) + 3 * value(0.0, 1.0, 0.0) + 4 * value(0.0, 0.0, 1.0)
    assert torch.allclose(value(2.0, 3.0, 4.0), parts, rtol=1e-5)
    with torch.no_grad():
        squared = ((projection(start).joints[..., :2] - observation.joints) ** 2).sum((1, 2))
    assert torch.allclose(value(1.0, 0.0, 0.0), squared, rtol=1e-5)
    with torch.no_grad():
        unlikely = PoseSpace(projection.hand_model)(HandParameters.split(start).pose)
    assert torch.allclose(value(1.0, 0.0, 0.0, pose=0.5), squared + 0.5 * unlikely, rtol=1e-5)


def test_the_pose_term_brings_an_impossible_hand_back(projection, evidence):
    truth, observation = _scene(projection, evidence, batch=1)
    blind = dataclasses.replace(observation, confidences=torch.zeros(1, 21))
    start = truth.clone()
    start[:, 8:53] = 2 * projection.hand_model.theta_std
    config = dataclasses.replace(JOINTS_ONLY, pose_weight=1.0, align_camera=False)
    result = refine(start, blind, projection, evidence, config)
    space = PoseSpace(projection.hand_model)
    before, after = (space(HandParameters.split(h).pose).item() for h in (start, result.parameters))
    assert after < 0.5 * before


def test_joints_without_confidence_do_not_pull(projection, evidence):
    truth, observation = _scene(projection, evidence, batch=1)
    joints, confidences = observation.joints.clone(), observation.confidences.clone()
    joints[:, 8], confidences[:, 8] = 5.0, 0.0
    blind = dataclasses.replace(observation, joints=joints, confidences=confidences)
    result = refine(_perturbed(truth), blind, projection, evidence, JOINTS_ONLY)
    found = projection(result.parameters).joints[..., :2]
    others = [j for j in range(21) if j != 8]
    assert (found - observation.joints)[:, others].norm(dim=-1).mean() < 0.02


def test_no_steps_change_nothing(projection, evidence):
    truth, observation = _scene(projection, evidence)
    start = _perturbed(truth)
    result = refine(start, observation, projection, evidence, RefinementConfig(steps=0))
    assert torch.equal(result.parameters, start)
    assert torch.equal(result.residual_before, result.residual_after)


def test_a_diverging_fit_returns_the_start(projection, evidence):
    truth, observation = _scene(projection, evidence)
    wild = dataclasses.replace(
        JOINTS_ONLY, optimizer="gradient_descent", step_size=1.0, joints_weight=1e6, steps=5
    )
    start = _perturbed(truth)
    result = refine(start, observation, projection, evidence, wild)
    assert not result.accepted.any()
    assert torch.equal(result.parameters, start)


def test_one_hopeless_hand_does_not_harm_the_other(projection, evidence):
    truth, observation = _scene(projection, evidence)
    joints = observation.joints.clone()
    joints[1] = float("nan")
    mixed = dataclasses.replace(observation, joints=joints)
    result = refine(_perturbed(truth), mixed, projection, evidence, JOINTS_ONLY)
    assert result.parameters.isfinite().all()
    assert result.accepted.tolist() == [True, False]


def test_plain_gradient_descent_is_an_option(projection, evidence):
    truth, observation = _scene(projection, evidence)
    config = dataclasses.replace(JOINTS_ONLY, optimizer="gradient_descent", step_size=1e-3)
    result = refine(_perturbed(truth), observation, projection, evidence, config)
    assert (result.residual_after < result.residual_before).all()
