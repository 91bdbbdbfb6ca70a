"""Eq. 13: perturb and recover, each term's pull, and never worse than the start."""

import dataclasses
import time

import hand_oracle
import numpy as np
import pytest
import torch
from fitting import linearised

from dhpe_lab.synthesis import hand_poses
from dhpe_lab.synthesis.settling import pose_from_angles
from dhpe_ros.config import RefinementConfig
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import Bounds, HandParameters
from dhpe_ros.hand.pose_prior import PoseSpace
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.evidence import build_evidence, for_one_picture
from dhpe_ros.networks.layers import fuse_batch_norms
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.refinement import terms
from dhpe_ros.refinement.gauss_newton import Fit
from dhpe_ros.refinement.gradient import Descent
from dhpe_ros.refinement.objective import objective
from dhpe_ros.refinement.refine import refine
from dhpe_ros.refinement.terms import (
    HandPrior,
    JointTerm,
    Observation,
    PosedHands,
    joint_weights,
)

WITHOUT_PRIORS = dataclasses.replace(
    RefinementConfig.paper(),
    optimizer="levenberg_marquardt",
    tolerance=1e-3,
    align_camera=True,
    confidence_weighting=True,
)
JOINTS_ONLY = dataclasses.replace(WITHOUT_PRIORS, features_weight=0.0, laplacian_weight=0.0)


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
    config, start = RefinementConfig(steps=15, tolerance=0.0), _perturbed(truth)
    result = refine(start, observation, projection, evidence, config)
    before = objective(start, observation, projection, evidence, config)
    after = objective(result.parameters, observation, projection, evidence, config)
    assert (after < before).all()
    assert result.steps == 15


def test_a_joint_half_as_sure_weighs_a_quarter():
    observation = Observation(None, torch.zeros(1, 2048), torch.zeros(1, 21, 2), torch.ones(1, 21))
    observation.confidences[0, 3] = 0.5
    config = dataclasses.replace(WITHOUT_PRIORS, joints_weight=2.0)
    expected = torch.full((1, 21), 2.0)
    expected[0, 3] = 0.5
    assert torch.allclose(joint_weights(observation, config), expected)
    alike = dataclasses.replace(config, confidence_weighting=False)
    assert torch.allclose(joint_weights(observation, alike), torch.full((1, 21), 2.0))


@pytest.mark.parametrize("optimizer", ["levenberg_marquardt", "adam"])
def test_what_the_joints_leave_open_stays_as_the_network_said(projection, evidence, optimizer):
    """Unseen joints, and priors that would bend every hand to the mean one."""
    truth, observation = _scene(projection, evidence, batch=1)
    start = _perturbed(truth)
    blind = dataclasses.replace(observation, confidences=torch.zeros(1, 21))
    priors_alone = RefinementConfig(
        optimizer=optimizer, features_weight=0.0, laplacian_weight=0.0, pose_weight=1e-3,
        shape_weight=1e-3, steps=30, step_size=0.05, tolerance=0.0, align_camera=False,
    )  # fmt: skip

    def bend(weight):
        config = dataclasses.replace(priors_alone, estimate_weight=weight)
        end = refine(start, blind, projection, evidence, config).parameters
        return float((end - start)[:, 8:53].norm())

    assert bend(1.0) < 0.2 * bend(0.0)


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
        config = dataclasses.replace(
            WITHOUT_PRIORS,
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


FAST = dataclasses.replace(WITHOUT_PRIORS, steps=10, pose_weight=0.03, shape_weight=0.015)
FAST_WITHOUT_FEATURES = dataclasses.replace(FAST, features_weight=0.0)


def _value(parameters, observation, projection, evidence, config):
    with torch.no_grad():
        return objective(parameters, observation, projection, evidence, config)


def _row(observation, row):
    return Observation(
        *(None if part is None else part[row : row + 1] for part in vars(observation).values())
    )


def test_a_few_damped_steps_end_no_higher_than_fifty_of_adam(projection, evidence):
    truth, observation = _scene(projection, evidence)
    start = _perturbed(truth)
    values = []
    for optimizer, steps in (("levenberg_marquardt", 10), ("adam", 50)):
        config = dataclasses.replace(WITHOUT_PRIORS, optimizer=optimizer, steps=steps)
        result = refine(start, observation, projection, evidence, config)
        values.append(_value(result.parameters, observation, projection, evidence, config))
    assert (values[0] <= values[1]).all()


def _prior(parameters, projection, config):
    joints = projection.joints_2d(parameters)
    return HandPrior.of(projection, config).value(PosedHands(parameters, joints, None))


@pytest.mark.parametrize("compiled", [True, False])
def test_the_priors_are_what_plain_torch_says(projection, evidence, monkeypatch, compiled):
    truth, _ = _scene(projection, evidence, batch=9)
    start = _perturbed(truth)
    start[::2, 8:53] *= 6  # beyond limits, fingers in the palm
    if not compiled:
        monkeypatch.setattr(terms, "is_fit_for", lambda *_: False)
    for weights in ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.03, 0.015)):
        names = ("laplacian_weight", "pose_weight", "shape_weight")
        config = RefinementConfig(**dict(zip(names, weights, strict=True)))
        found, expected = [], []
        for function, into in ((_prior, found), (hand_oracle.hand_prior, expected)):
            moving = start.clone().requires_grad_(True)
            value = function(moving, projection, config)
            into += [value, *torch.autograd.grad(value @ torch.arange(1.0, 10.0), moving)]
        assert type(found[0].grad_fn).__name__ == "_CompiledPriorBackward" or not compiled
        size = expected[1].abs().max().item()
        torch.testing.assert_close(found[0], expected[0], atol=1e-6, rtol=2e-5)
        torch.testing.assert_close(found[1], expected[1], atol=1e-5 * size, rtol=1e-4)


def test_the_priors_derivatives_are_what_plain_torch_says(projection, evidence):
    truth, _ = _scene(projection, evidence, batch=9)
    start = _perturbed(truth)
    start[::2, 8:53] *= 6  # beyond limits, fingers in the palm
    config = RefinementConfig()
    config = dataclasses.replace(config, estimate_weight=0.0, temporal_weight=0.0)
    nothing = torch.zeros(9, 2048), torch.zeros(9, 21, 2), torch.zeros(9, 21)
    fit = Fit(Observation(None, *nothing), projection, config)
    expected = hand_oracle.hand_prior_linearised(start, projection, config)
    found = zip(*(linearised(fit, start[k : k + 1]) for k in range(9)), strict=True)
    for one, other, precision in zip(found, expected, (1e-5, 1e-5, 1e-3), strict=True):
        size = other.abs().max().item()  # single precision's differences make the last one
        one = torch.from_numpy(np.stack(one))
        torch.testing.assert_close(one, other, atol=precision * size, rtol=10 * precision)


def test_fingers_that_touch_do_not_slow_the_steps_down(projection, evidence):
    model = projection.hand_model
    angles = np.zeros((2, 15, 3))
    for finger in ("index", "middle", "ring", "little"):
        hand_poses._curl(angles, finger, 75, 92)
    hand_poses._thumb(angles, (np.array((10, 24)), np.array((10, 26)), 9), 20, 25)
    axes = PoseSpace(model).axes
    pose = pose_from_angles(torch.from_numpy(angles).float(), axes).flatten(1)
    truth, observation = _scene(projection, evidence)
    truth[:, 8:53] = torch.linalg.solve(model.hands_components.T, (pose - model.hands_mean).T).T
    joints = projection(truth).joints[..., :2]
    observation = dataclasses.replace(observation, joints=joints)
    result = refine(_perturbed(truth), observation, projection, evidence, RefinementConfig())
    assert result.steps <= 18


def test_the_joints_term_is_that_of_differences(projection, evidence):
    truth, observation = _scene(projection, evidence)
    config = dataclasses.replace(JOINTS_ONLY, outlier_distance=0.2)
    start = _perturbed(truth)
    fit = Fit(observation, projection, config)
    term = JointTerm.of(observation, projection, config)
    joints, jacobian = hand_oracle.differences(projection.joints_2d, start)
    residuals = joints - term.observed.double()
    saturated = 1 + (residuals**2).sum(2) / term.outlier_distance**2
    weights = (2 * term.weights.double() / saturated**2).repeat_interleave(2, 1)
    curvature, gradient = hand_oracle.normal_equations(
        jacobian.flatten(1, 2), residuals.flatten(1), weights
    )
    value = term.value(PosedHands(start.double(), joints, None))
    for k in range(len(start)):
        found = linearised(fit, start[k : k + 1], index=k)
        for one, other in zip(found, (value, gradient, curvature), strict=True):
            np.testing.assert_allclose(one, other[k], atol=1e-4 * other[k].abs().max().item())


def test_the_result_is_never_worse_than_the_start(projection, evidence):
    truth, observation = _scene(projection, evidence, batch=6)
    for scale in (0.0, 0.1, 1.0):
        start = truth + scale * (_perturbed(truth) - truth)
        before = _value(start, observation, projection, evidence, FAST_WITHOUT_FEATURES)
        result = refine(start, observation, projection, evidence, FAST_WITHOUT_FEATURES)
        after = _value(result.parameters, observation, projection, evidence, FAST_WITHOUT_FEATURES)
        assert (after <= before * (1 + 1e-6)).all()
        assert torch.equal(result.parameters[~result.accepted], start[~result.accepted])


def test_gradient_steps_that_only_the_features_speak_against_are_refused(
    projection, evidence, monkeypatch
):
    # The start fits the picture, the joints pull the hand off it by less than the picture minds.
    truth, observation = _scene(projection, evidence, batch=1)
    off = dataclasses.replace(observation, joints=observation.joints + 0.3)
    config = RefinementConfig(
        optimizer="adam", joints_weight=1e-4, laplacian_weight=0.0, pose_weight=0.0,
        shape_weight=0.0, features_weight=100.0,
    )  # fmt: skip
    moved = truth.clone()
    moved[:, 1:3] += 0.3
    monkeypatch.setattr(Descent, "step", lambda descent: descent.parameters.data.copy_(moved))
    before, after = (_value(h, off, projection, evidence, config) for h in (truth, moved))
    assert after > before
    result = refine(truth, off, projection, evidence, config)
    assert not result.accepted.any()
    assert torch.equal(result.parameters, truth)


def test_the_fast_way_leaves_the_features_out(projection, evidence):
    truth, observation = _scene(projection, evidence)
    ends = [
        refine(_perturbed(truth), observation, projection, evidence, config)
        for config in (FAST_WITHOUT_FEATURES, dataclasses.replace(FAST, features_weight=100.0))
    ]
    assert torch.equal(ends[0].parameters, ends[1].parameters)
    assert torch.equal(ends[0].accepted, ends[1].accepted)


@pytest.mark.parametrize(
    "config", [FAST, dataclasses.replace(WITHOUT_PRIORS, optimizer="adam", steps=3)]
)
@pytest.mark.parametrize("part", ["joints", "confidences", "start"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_gives_the_start_back(projection, evidence, config, part, value):
    truth, observation = _scene(projection, evidence)
    start = _perturbed(truth)
    if part == "start":
        start[0, 10] = value
    else:
        broken = getattr(observation, part).clone()
        broken[0, 3] = value
        observation = dataclasses.replace(observation, **{part: broken})
    result = refine(start, observation, projection, evidence, config)
    assert result.accepted.tolist() == [False, True]
    assert torch.equal(result.parameters[0].nan_to_num(9.0), start[0].nan_to_num(9.0))
    assert result.parameters[1].isfinite().all()


@pytest.mark.parametrize(
    "config", [FAST, dataclasses.replace(WITHOUT_PRIORS, optimizer="adam", steps=3)]
)
def test_no_hands_are_refined_to_no_hands(projection, evidence, config):
    truth, observation = _scene(projection, evidence, batch=1)
    none = Observation(*(None if p is None else p[:0] for p in vars(observation).values()))
    result = refine(truth[:0], none, projection, evidence, config)
    assert result.parameters.shape == (0, 63)
    assert result.accepted.shape == result.residual_after.shape == (0,)


def test_hands_together_end_where_each_ends_alone(projection, evidence):
    truth, observation = _scene(projection, evidence, batch=3)
    config = dataclasses.replace(FAST_WITHOUT_FEATURES, tolerance=0.0, steps=5)
    start = _perturbed(truth)
    together = refine(start, observation, projection, evidence, config)
    for row in range(3):
        one = slice(row, row + 1)
        alone = refine(start[one], _row(observation, row), projection, evidence, config)
        torch.testing.assert_close(alone.parameters, together.parameters[one], atol=2e-3, rtol=1e-3)
        assert alone.residual_after.item() == pytest.approx(together.residual_after[row], abs=1e-4)


def test_parameters_stay_bounded_whatever_the_joints_ask_for(projection, evidence):
    truth, observation = _scene(projection, evidence)
    torch.manual_seed(4)
    absurd = dataclasses.replace(observation, joints=torch.randn(2, 21, 2))
    result = refine(truth, absurd, projection, evidence, JOINTS_ONLY)
    p = HandParameters.split(result.parameters)
    assert (p.pose.abs() <= 5.001 * projection.hand_model.theta_std).all()
    assert (p.shape.abs() <= 5.001).all()
    assert (p.scale >= 0.499).all()
    torch.testing.assert_close(p.rotation.norm(dim=1), torch.ones(2), atol=1e-5, rtol=0)


def test_a_captured_step_finds_nothing_elsewhere_and_nothing_to_wait_for():
    """On the device ``meta``, as in test_engine_graphs; but for the silhouette, drawn elsewhere."""
    projection = Projection(HandModel(hand_model_path())).to("meta")
    network = build_evidence("full").eval().requires_grad_(False)
    fuse_batch_norms(network)
    network = for_one_picture(network.to("meta"))
    image = torch.zeros(1, 3, 224, 224, device="meta", requires_grad=True)
    (slope,) = torch.autograd.grad(network.features(image).sum(), image)
    assert slope.device.type == "meta"
    h = HandParameters.start(1, "meta").requires_grad_(True)
    one = (torch.zeros(size, device="meta") for size in ((1, 2048), (1, 21, 2), (1, 21)))
    observation = Observation(None, *one, previous=h.detach(), estimate=h.detach())
    for config in (
        WITHOUT_PRIORS,
        RefinementConfig(pose_weight=0.0),
    ):  # what poses are is looked up
        config = dataclasses.replace(config, features_weight=0.0)
        value = objective(h, observation, projection, network, config)
        (slope,) = torch.autograd.grad(value.sum(), h)
        moved = Bounds.of(projection.hand_model.theta_std).bring(h - slope)
        assert {part.device.type for part in (value, slope, moved)} == {"meta"}


def test_no_further_step_begins_when_the_time_is_over(projection, evidence):
    truth, observation = _scene(projection, evidence)
    for optimizer in ("levenberg_marquardt", "adam"):
        config = dataclasses.replace(
            JOINTS_ONLY, optimizer=optimizer, steps=1000, tolerance=0.0, time_budget=0.02
        )
        result = refine(_perturbed(truth), observation, projection, evidence, config)
        assert result.steps < 100
        assert result.accepted.all()


def test_it_ends_when_steps_hardly_help_any_more(projection, evidence):
    truth, observation = _scene(projection, evidence)
    steps = [
        refine(
            _perturbed(truth), observation, projection, evidence,
            dataclasses.replace(FAST_WITHOUT_FEATURES, steps=40, tolerance=tolerance),
        ).steps
        for tolerance in (0.5, 1e-2, 0.0)
    ]  # fmt: skip
    assert steps[0] < steps[1] < steps[2]


@pytest.mark.parametrize("optimizer", ["adam", "gradient_descent"])
def test_gradient_steps_end_when_five_of_them_hardly_help(projection, evidence, optimizer):
    truth, observation = _scene(projection, evidence)
    without_pictures = dataclasses.replace(WITHOUT_PRIORS, features_weight=0.0, steps=60)
    steps = [
        refine(
            _perturbed(truth), observation, projection, evidence,
            dataclasses.replace(without_pictures, optimizer=optimizer, tolerance=tolerance),
        ).steps
        for tolerance in (0.05, 0.0)
    ]  # fmt: skip
    assert 10 <= steps[0] < steps[1] == 60


def test_the_result_tells_how_long_it_took(projection, evidence):
    truth, observation = _scene(projection, evidence)
    begun = time.monotonic()
    result = refine(_perturbed(truth), observation, projection, evidence, JOINTS_ONLY)
    assert 0 < result.seconds <= time.monotonic() - begun


def _distance(result, truth, projection, joints):
    """Mean over some joints, in parts of the hand's size in the crop."""
    with torch.no_grad():
        there, right = (projection(h).joints[..., :2] for h in (result.parameters, truth))
    size = (right.amax(1) - right.amin(1)).amax(1)
    return ((there - right)[:, joints].norm(dim=2).mean(1) / size).max().item()


def test_joints_of_low_confidence_do_not_drag_the_hand(projection, evidence):
    truth, observation = _scene(projection, evidence)
    joints, confidences = observation.joints.clone(), observation.confidences.clone()
    joints[:, 12] += 0.8
    confidences[:, 12] = 0.01
    unsure = dataclasses.replace(observation, joints=joints, confidences=confidences)
    config = dataclasses.replace(FAST_WITHOUT_FEATURES, steps=30, tolerance=1e-5)
    result = refine(_perturbed(truth), unsure, projection, evidence, config)
    assert _distance(result, truth, projection, [j for j in range(21) if j != 12]) < 0.03
    assert _distance(result, truth, projection, [12]) < 0.2  # it went 0.8 away


@pytest.mark.parametrize("wrong", [(8,), (4, 20)])
def test_one_or_two_wrong_joints_leave_the_others_where_they_are(projection, evidence, wrong):
    truth, observation = _scene(projection, evidence)
    joints = observation.joints.clone()
    joints[:, wrong] += torch.tensor((0.7, -0.7))
    misled = dataclasses.replace(observation, joints=joints)
    right = [j for j in range(21) if j not in wrong]
    config = dataclasses.replace(FAST_WITHOUT_FEATURES, steps=30, tolerance=1e-5)
    robust = dataclasses.replace(config, outlier_distance=0.2)
    away, robust_away = (
        _distance(
            refine(_perturbed(truth), misled, projection, evidence, c), truth, projection, right
        )
        for c in (config, robust)
    )
    assert robust_away < 0.03
    assert robust_away < 0.5 * away


def test_without_options_the_objective_is_equation_13(projection, evidence):
    truth, observation = _scene(projection, evidence)
    start = _perturbed(truth)
    config = dataclasses.replace(WITHOUT_PRIORS, joints_weight=2.0, confidence_weighting=False)
    config = dataclasses.replace(config, features_weight=3.0, laplacian_weight=4.0)
    with torch.no_grad():
        hand = projection(start)
        mask = projection.silhouette(hand, observation.image.shape[-1])
        seen = evidence.features(observation.image * mask[:, None])
        expected = (
            2 * ((hand.joints[..., :2] - observation.joints) ** 2).sum((1, 2))
            + 3 * ((seen - observation.features) ** 2).mean(1)
            + 4 * (projection.laplacian @ hand.vertices).norm(dim=2).mean(1)
        )
    found = _value(start, observation, projection, evidence, config)
    torch.testing.assert_close(found, expected, atol=0, rtol=1e-5)
