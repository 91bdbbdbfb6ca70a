"""The mesh's outline on the seen hand's: distances, slopes, and a hand that fits better."""

import dataclasses

import numpy as np
import pytest
import torch

from dhpe_ros.config import RefinementConfig
from dhpe_ros.evidence import build_evidence
from dhpe_ros.hand_layer.surface_points import surface_points_of
from dhpe_ros.hand_model import HandModel
from dhpe_ros.hand_parameters import HandParameters
from dhpe_ros.projection import Projection
from dhpe_ros.refinement.mask_term import mask_derivatives, mask_term, signed_distances
from dhpe_ros.refinement.objective import Observation
from dhpe_ros.refinement.refine import refine
from dhpe_ros.rendering import outline_lengths
from dhpe_ros.weights import hand_model_path

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


def test_distances_are_those_to_the_outline_and_negative_inside():
    (distances,) = signed_distances(_disc(64, 0.5))
    assert distances[64, 64].item() == pytest.approx(-0.5, abs=0.03)
    assert distances[64, 127].item() == pytest.approx(0.5, abs=0.03)
    assert distances[64, 96].item() == pytest.approx(0.0, abs=0.03)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_a_crop_without_a_hand_or_with_nothing_else_tells_nothing(projection, hand, value):
    distances = signed_distances(torch.full((1, 64, 64), value))
    assert distances.isnan().all()
    for part in mask_derivatives(hand, distances, projection, CONFIG):
        assert (part == 0).all()


def test_vertices_move_as_automatic_differentiation_says(projection, hand):
    double = Projection(HandModel(hand_model_path()).double())
    draws = np.random.default_rng(0)
    vertices, directions = draws.permutation(778)[:40], draws.normal(size=(40, 2))

    def along(parameters):
        points = double(parameters).vertices[0, vertices, :2]
        return (points * torch.from_numpy(directions)).sum(1)

    expected = torch.autograd.functional.jacobian(along, hand.double())[:, 0]
    surface = surface_points_of(projection.hand_model)
    found = surface.slopes(hand[0].double().numpy(), vertices, directions)
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_the_gradient_is_that_of_the_value_where_the_outline_stays(projection, hand):
    """Under scale and shift it is made of the same vertices."""
    other = hand.clone()
    other[:, 53] = 2.0
    other[:, 1] += 0.03
    distances = signed_distances(_mask(projection, other))
    value, gradient, curvature = mask_derivatives(hand, distances, projection, CONFIG)
    assert torch.allclose(value, mask_term(hand, distances, projection, CONFIG))
    assert torch.linalg.eigvalsh(curvature[0]).min() > -1e-9
    for number, step in ((0, 2e-3), (1, 2e-4), (2, 2e-4)):
        moved = hand.repeat(2, 1)
        moved[0, number] += step
        moved[1, number] -= step
        up, down = mask_term(moved, distances.repeat(2, 1, 1), projection, CONFIG)
        slope = (up - down) / (moved[0, number] - moved[1, number])
        assert gradient[0, number].item() == pytest.approx(slope.item(), abs=0.02)


def test_a_far_outline_hardly_pulls(projection, hand):
    near, far = (
        mask_derivatives(hand, signed_distances(_disc(64, radius)), projection, CONFIG)[1]
        for radius in (0.75, 0.02)
    )
    assert far.norm() < 0.5 * near.norm()


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


def test_the_outline_of_two_squares_is_where_they_do_not_hide_each_other():
    vertices = np.array(
        ((0, 0), (2, 0), (2, 2), (0, 2), (0.5, 0.5), (1, 0.5), (1, 1), (0.5, 1)), float
    )
    square = np.array(((0, 1, 2), (0, 2, 3)))
    lengths = outline_lengths(vertices, np.concatenate((square, square + 4)))
    assert lengths.tolist() == [2, 2, 2, 2, 0, 0, 0, 0]
