"""Standard deviations of joints."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from fake_tracker import make_hand

from dhpe_ros.config import RefinementConfig
from dhpe_ros.geometry.scale import scaled
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.refinement.gauss_newton import Fit
from dhpe_ros.refinement.terms import Observation
from dhpe_ros.refinement.uncertainty import CALIBRATION, joint_stds
from dhpe_ros.types import JOINT_NAMES, Scale

TIP, MIDDLE_TIP = (JOINT_NAMES.index(name) for name in ("index4", "middle4"))


@pytest.fixture(scope="module")
def projection():
    return Projection(HandModel(hand_model_path()))


def stds(projection, confidences, hands=1):
    start = HandParameters.start(hands)
    start[:, 4:8] = torch.tensor((0.7, 0.7, 0.1, 0.0))  # the palm is seen
    joints = projection(start).joints[..., :2]
    seen = Observation(None, torch.zeros(hands, 0), joints, confidences)
    return joint_stds(start, seen, projection).numpy()


def test_joints_that_are_seen_less_surely_deviate_more(projection):
    sure, unsure = torch.full((1, 21), 0.9), torch.full((1, 21), 0.3)
    assert (stds(projection, sure) < stds(projection, unsure)).all()
    one = sure.clone()
    one[0, TIP] = 0.02
    ratio = stds(projection, one) / stds(projection, sure)
    assert ratio.argmax() == TIP
    assert ratio[0, MIDDLE_TIP] < 0.5 * (1 + ratio[0, TIP])


def test_deviations_are_those_of_draws_from_the_curvature(projection):
    """The joints of parameters drawn with the covariance of the least-squares problem."""
    start, confidences = HandParameters.start(1), torch.full((1, 21), 0.8)
    joints = projection(start).joints[..., :2]
    seen = Observation(None, torch.zeros(1, 0), joints, confidences)
    config = RefinementConfig(laplacian_weight=0.0)
    curvature = Fit(seen, projection, config).curvature(start)[0] + 1e-6 * torch.eye(63)
    generator = torch.Generator().manual_seed(0)
    noise = 1e-6 * torch.randn(4000, 63, generator=generator, dtype=torch.float64)
    drawn = start + torch.linalg.solve(torch.linalg.cholesky(curvature).T, noise.T).T
    moved = projection.skeleton.place(drawn) - projection.skeleton.place(start)
    moved[..., 2] -= moved[..., 2].mean(1, keepdim=True)
    sampled = CALIBRATION * 1e6 * moved.square().sum(2).mean(0).sqrt()
    found = joint_stds(start, seen, projection)[0]
    torch.testing.assert_close(found, sampled, rtol=0.06, atol=0)


def test_no_hand_has_no_deviation(projection):
    assert stds(projection, torch.ones(0, 21), hands=0).shape == (0, 21)


def test_deviations_grow_with_the_distance_and_what_the_size_rests_on():
    hand = replace(make_hand(), scale=Scale.DEPTH)
    guessed = replace(hand, scale=Scale.ESTIMATED)
    assert (guessed.joint_stds_m > hand.joint_stds_m).all()
    assert (hand.joint_stds_m > hand.fit_stds_m).all()
    far = scaled(hand, 2.0, Scale.DEPTH)
    np.testing.assert_allclose(far.joint_stds_m, 2 * hand.joint_stds_m, rtol=1e-5)
    assert np.isnan(replace(hand, intrinsics_known=False).joint_stds_m).all()
