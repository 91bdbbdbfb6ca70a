"""The mesh's outline on the seen hand's: distances, slopes, and a hand that fits better."""

import dataclasses

import numpy as np
import pytest
import torch
from fitting import fit_to, linearised, outline_of

from dhpe_ros.config import RefinementConfig
from dhpe_ros.hand.kernels.skeleton_kernels import read_at
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.evidence import build_evidence
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.refinement.outline_term import signed_distances
from dhpe_ros.refinement.refine import refine
from dhpe_ros.refinement.terms import Observation
from dhpe_ros.rendering import outline_lengths

CONFIG = RefinementConfig()


@pytest.fixture(scope="module")
def projection():
    return Projection(HandModel(hand_model_path())).eval()


@pytest.fixture
def hand(projection):
    """One ordinary hand seen from the side, ``(1, 63)``."""
    generator = torch.Generator().manual_seed(1)
    hand = HandParameters.start(1)
    hand[:, 0] *= 0.8
    hand[:, 4:8] = torch.tensor((0.7, 0.6, 0.2, -0.3))
    hand[:, 8:53] = 0.5 * projection.hand_model.theta_std * torch.randn(45, generator=generator)
    return hand


def _disc(size, radius):
    middle = (np.arange(size) + 0.5) * (2 / size) - 1
    return torch.from_numpy(np.hypot(middle, middle[:, None]) < radius)[None].float()


def _mask(projection, parameters):
    with torch.no_grad():
        return projection.silhouette(projection(parameters), 64)


def _pull(projection, hand, radius, saturation):
    """Length of the gradient towards a disc."""
    fit = fit_to(projection, signed_distances(_disc(64, radius)))
    return np.linalg.norm(linearised(fit, hand, outline_of(fit, hand), saturation)[1])


def test_distances_are_those_to_the_outline_and_negative_inside():
    (distances,) = signed_distances(_disc(64, 0.5))
    assert distances[64, 64].item() == pytest.approx(-0.5, abs=0.03)
    assert distances[64, 127].item() == pytest.approx(0.5, abs=0.03)
    assert distances[64, 96].item() == pytest.approx(0.0, abs=0.03)


@pytest.mark.parametrize("radius", [0.50, 0.51, 0.52])
def test_distances_tell_where_between_two_cells_the_outline_runs(radius):
    cell = 2 / 128
    from_middle = np.hypot(*np.meshgrid(*2 * [(np.arange(64) + 0.5) * (2 / 64) - 1]))
    soft = torch.from_numpy(1 / (1 + np.exp((from_middle - radius) / (1.5 * cell)))).float()
    (distances,) = signed_distances(soft[None])
    middle = (np.arange(128) + 0.5) * cell - 1
    off = distances.numpy() - (np.hypot(middle, middle[:, None]) - radius)
    assert abs(off[abs(distances) < 0.1].mean()) < 0.05 * cell
    assert off[abs(distances) < 0.1].std() < 0.2 * cell


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_crop_without_a_hand_or_with_nothing_else_tells_nothing(projection, hand, value):
    distances = signed_distances(torch.full((1, 64, 64), value))
    assert distances.isnan().all()
    fit = fit_to(projection, distances)
    assert not outline_of(fit, hand).any()


def test_beyond_the_crop_a_field_is_flat():
    field = np.arange(128.0) + np.zeros((128, 1))
    assert read_at(field, np.array((5.0, 0.2, 0.0))) == (127, 0, 0)


def test_the_gradient_is_that_of_the_value(projection, hand):
    other = hand.clone()
    other[:, 53] = 2.0
    other[:, 1] += 0.03
    distances = signed_distances(_mask(projection, other))
    fit = fit_to(projection, distances)
    shares, hand = outline_of(fit, hand), hand.double()
    value, gradient, curvature = linearised(fit, hand, shares, 0.05)
    assert 0 < value < CONFIG.mask_weight * 0.03**2
    assert np.linalg.eigvalsh(curvature).min() > -1e-9
    steps = 1e-7 * torch.eye(63, dtype=torch.float64)
    values = [[linearised(fit, hand + k * s, shares, 0.05)[0] for k in (1, -1)] for s in steps]
    slopes = [(more - less) / 2e-7 for more, less in values]
    np.testing.assert_allclose(gradient, slopes, atol=1e-3 * abs(gradient).max())


def test_a_far_outline_hardly_pulls(projection, hand):
    near, far = (_pull(projection, hand, radius, 0.05) for radius in (0.5, 0.95))
    assert 0 < far < 0.5 * near


def test_refinement_brings_the_outline_onto_the_mask(projection, hand):
    """A thicker hand than the joints tell of, some of them seen in the wrong place."""
    truth = hand.clone()
    truth[:, 53:55] = torch.tensor((2.5, -2.0))
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        joints = projection(truth).joints[..., :2]
    joints = joints + 0.02 * torch.randn(joints.shape, generator=generator)
    mask = _mask(projection, truth)
    evidence = build_evidence("lite").eval().requires_grad_(False)
    seen = Observation(None, torch.zeros(1, 2048), joints, torch.full((1, 21), 0.7))

    def overlap(observation, config=CONFIG):
        result = refine(hand, observation, projection, evidence, config)
        assert result.accepted.all()
        found = _mask(projection, result.parameters)
        return ((found * mask).sum() / (found + mask).clamp(max=1).sum()).item()

    masked = dataclasses.replace(seen, distances=signed_distances(mask))
    alone, with_mask = overlap(seen), overlap(masked)
    assert with_mask > alone + 0.02
    assert with_mask > 0.93
    without = dataclasses.replace(CONFIG, mask_weight=0.0)
    assert overlap(masked, without) == pytest.approx(alone, abs=1e-6)


def test_the_farther_the_reach_the_more_pulls_what_is_seen_some_way_off(projection, hand):
    wide, narrow = (_pull(projection, hand, 0.75, saturation) for saturation in (0.1, 0.05))
    assert wide > 2 * narrow > 0


def test_hands_that_are_refined_together_end_where_each_would_alone(projection, hand):
    config = dataclasses.replace(CONFIG, tolerance=0.0, steps=12)
    hands = hand.repeat(3, 1)
    hands[1:, 8:20] += 0.3
    with torch.no_grad():
        joints = projection(hands).joints[..., :2]
    masks = torch.cat([_mask(projection, other[None]) for other in hands.roll(1, 0)])
    evidence = build_evidence("lite").eval().requires_grad_(False)

    def refined(rows):
        seen = Observation(
            None, torch.zeros(3, 2048), joints, torch.ones(3, 21), distances=signed_distances(masks)
        )
        parts = {name: part[rows] for name, part in vars(seen).items() if part is not None}
        start = hand.expand(len(joints[rows]), -1)
        return refine(start, Observation(**{"image": None} | parts), projection, evidence, config)

    together = refined(slice(None)).parameters
    for k in range(3):
        alone = refined(slice(k, k + 1)).parameters
        torch.testing.assert_close(together[k : k + 1], alone, atol=1e-4, rtol=1e-4)


def test_the_outline_of_two_squares_is_where_they_do_not_hide_each_other():
    vertices = np.array(
        ((0, 0), (2, 0), (2, 2), (0, 2), (0.5, 0.5), (1, 0.5), (1, 1), (0.5, 1)), float
    )
    square = np.array(((0, 1, 2), (0, 2, 3)))
    lengths = outline_lengths(vertices, np.concatenate((square, square + 4)))
    assert lengths.tolist() == [2, 2, 2, 2, 0, 0, 0, 0]
