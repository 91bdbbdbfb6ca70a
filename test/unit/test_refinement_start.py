"""State of a hand from frame to frame: carried exactly, held steady, given up when it must be."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dhpe_ros.config import RefinementConfig
from dhpe_ros.geometry.crop import crop_image
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.refinement.objective import objective
from dhpe_ros.refinement.refine import refine
from dhpe_ros.refinement.start import carry, choose_start
from dhpe_ros.refinement.terms import Observation
from dhpe_ros.types import Box, Side

CONFIG = RefinementConfig(
    features_weight=0.0, pose_weight=0.03, shape_weight=0.015, steps=10, temporal_weight=1.0
)
IMAGE = np.zeros((480, 640, 3), np.uint8)
NOBODY = torch.full((1, 63), torch.nan)


@pytest.fixture(scope="module")
def projection():
    return Projection(HandModel(hand_model_path())).eval()


def hand(projection, seed=1, size=0.5):
    """``(1, 63)``: a hand that fills a good part of its crop, seen from a side of its own."""
    torch.manual_seed(seed)
    parameters = HandParameters.start(1)
    parameters[:, 4:8] = torch.tensor((0.7, 0.7, 0.1, -0.1)) + 0.05 * torch.randn(4)
    parameters[:, 4:8] /= parameters[:, 4:8].norm()
    parameters[:, 8:53] = size * projection.hand_model.theta_std * torch.randn(45)
    parameters[:, 53:] = 0.3 * torch.randn(10)
    return parameters


def seen(projection, truth, noise=0.0, previous=None):
    """Observation of ``truth``."""
    joints = projection(truth).joints[..., :2].detach()
    joints = joints + noise * torch.randn_like(joints)
    nothing = torch.zeros(1, 3, 8, 8), torch.zeros(1, 2048)
    return Observation(*nothing, joints, torch.ones(1, 21), previous)


def estimate(truth, projection):
    """As a mesh network would err, anew in every frame."""
    start = truth.clone()
    start[:, :3] *= 1 + 0.05 * torch.randn(3)
    start[:, 4:8] += 0.05 * torch.randn(4)
    start[:, 8:53] += 0.5 * projection.hand_model.theta_std * torch.randn(45)
    start[:, 53:] += 0.3 * torch.randn(10)
    return start


def follow(projection, truths, config, noise=0.01):
    """The mesh's joints ``(T, 21, 3)`` over a video whose crop stands still; no weight, no past."""
    torch.manual_seed(3)
    previous, found = None, []
    for truth in truths:
        observation = seen(projection, truth, noise, previous if config.temporal_weight else None)
        start = estimate(truth, projection)
        previous = refine(start, observation, projection, None, config).parameters
        found.append(projection(previous).joints[0].detach())
    return torch.stack(found)


def jitter(joints):
    return float(joints.diff(n=2, dim=0).norm(dim=2).mean())


@pytest.mark.parametrize("side", list(Side))
def test_a_mesh_carried_to_another_crop_stays_where_it_is_in_the_image(projection, side):
    before = crop_image(IMAGE, Box(200, 100, 150, 150), mirrored=side is Side.LEFT)
    after = crop_image(IMAGE, Box(210.3, 87.1, 181, 181), mirrored=side is Side.LEFT)
    parameters = hand(projection)
    past = SimpleNamespace(side=side, box=before.box, parameters=parameters[0].numpy())
    carried = carry([past], [after])
    old, new = (projection(p).vertices[0].numpy() for p in (parameters, carried))
    assert np.abs(before.to_image(old[:, :2]) - after.to_image(new[:, :2])).max() < 0.01
    assert np.allclose(old[:, 2] * 150, new[:, 2] * 181, atol=0.01)


def test_a_hand_that_jumped_or_changed_its_side_has_no_past(projection):
    crop = crop_image(IMAGE, Box(200, 100, 150, 150))
    near = SimpleNamespace(side=Side.RIGHT, box=crop.box, parameters=hand(projection)[0].numpy())
    far = SimpleNamespace(**{**vars(near), "box": Box(320, 100, 150, 150)})
    left = SimpleNamespace(**{**vars(near), "side": Side.LEFT})
    rows = carry([near, far, left, None], [crop] * 4)
    assert rows.isfinite().all(1).tolist() == [True, False, False, False]


def test_two_hands_keep_their_own_past(projection):
    crops = [crop_image(IMAGE, Box(x, 100, 150, 150)) for x in (0, 300)]
    hands = [
        SimpleNamespace(side=Side.RIGHT, box=crop.box, parameters=hand(projection, seed)[0].numpy())
        for seed, crop in enumerate(crops)
    ]
    rows = carry(hands, crops).numpy()
    for row, one in zip(rows, hands, strict=True):
        assert np.allclose(row, one.parameters, atol=1e-5)


def test_without_a_past_the_temporal_term_is_nothing(projection):
    parameters = hand(projection)
    values = [
        objective(
            parameters, seen(projection, hand(projection, 2), previous=p), projection, None, c
        )
        for p, c in ((None, CONFIG), (NOBODY, CONFIG), (None, replace(CONFIG, temporal_weight=0.0)))
    ]
    assert values[0] == values[1] == values[2]


def test_a_past_that_is_not_finite_is_ignored(projection):
    truth = hand(projection)
    start = estimate(truth, projection)
    broken = hand(projection, 2)
    broken[0, 20] = torch.nan
    alone, with_broken = (
        refine(start, seen(projection, truth, previous=p), projection, None, CONFIG).parameters
        for p in (None, broken)
    )
    assert torch.allclose(alone, with_broken, atol=1e-6)


def test_a_video_begins_at_the_estimate_too_however_well_the_past_fits(projection):
    truth = hand(projection)
    start = estimate(truth, projection)
    with_past, without = (
        choose_start(start, seen(projection, truth, previous=p), projection, CONFIG)[0]
        for p in (truth, None)
    )
    assert torch.equal(with_past, without)


def test_a_past_that_does_not_fit_at_all_is_dropped(projection):
    truth, other = hand(projection), hand(projection, 8, size=2.0)
    other[:, 4:8] = torch.tensor((0.7, -0.7, 0.1, 0.1))
    _, observation = choose_start(
        truth, seen(projection, truth, previous=other), projection, CONFIG
    )
    assert observation.previous.isnan().all()


def test_a_still_hand_with_noisy_evidence_jitters_less(projection):
    still = [hand(projection)] * 8
    alone = replace(CONFIG, temporal_weight=0.0)
    held, free = (jitter(follow(projection, still, config)[2:]) for config in (CONFIG, alone))
    assert held < 0.6 * free


def test_a_sudden_change_of_pose_is_followed_within_two_frames(projection):
    before, after = hand(projection, 1, size=0.3), hand(projection, 6, size=1.0)
    moved = float(
        (projection(before).joints - projection(after).joints)[..., :2].norm(dim=2).mean()
    )
    truth = projection(after).joints[0, :, :2]
    held, free = (
        follow(projection, [before] * 5 + [after] * 2, replace(CONFIG, temporal_weight=w), 0.0)
        for w in (CONFIG.temporal_weight, 0.0)
    )
    rest, rest_free = ((f[-1, :, :2] - truth).norm(dim=1).mean() for f in (held, free))
    assert moved > 0.1
    assert rest_free < 0.1 * moved
    assert rest < 0.15 * moved
