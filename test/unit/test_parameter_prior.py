"""Proximal and temporal prior of the refinement."""

import pytest
import torch

from dhpe_ros.hand.kernels.prior_kernels import OUTLIER_STDS, add_parameter_prior
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.refinement.terms import ParameterPrior, PosedHands

THETA_STD = torch.linspace(0.2, 1.5, 45)
NOBODY = torch.full((3, 63), torch.nan)


def hands(seed):
    torch.manual_seed(seed)
    parameters = HandParameters.start(3) + 0.2 * torch.randn(3, 63)
    parameters[:, 4:8] *= 1.7  # of any length
    return parameters


def held_to(*others, weight=1.0):
    return ParameterPrior.of([(other, weight) for other in others], THETA_STD)


def linearised(prior, parameters):
    """Value, gradient and curvature, as the fit has them."""
    parts = prior.centers, prior.weights[..., 0], prior.stds
    arrays = [part.double().contiguous().numpy() for part in parts]
    out = [torch.zeros(3, *shape).double() for shape in ((), (63,), (63, 63))]
    rows, into = parameters.double().numpy(), [part.numpy() for part in out]
    add_parameter_prior(rows, *arrays, OUTLIER_STDS, *into)
    return out


def distance(prior, parameters):
    return prior.value(PosedHands(parameters, torch.zeros(3, 21, 2), None))


def test_the_distance_by_hand():
    now = HandParameters.start(3)
    other = now.clone()
    other[0, 8] += THETA_STD[0]  # one standard deviation: 1 / (1 + 1 / 9)
    other[1, 53] += 3.0  # as far as a swift hand: half of the square is left
    other[2] = torch.nan
    expected = torch.tensor([0.9, 4.5, 0.0]) / 59
    assert torch.allclose(distance(held_to(other), now), expected)
    assert torch.allclose(distance(held_to(other, other, weight=2.0), now), 4 * expected)


@pytest.mark.parametrize("others", [(hands(1),), (hands(1), hands(2)), (NOBODY, hands(2))])
def test_the_derivatives_are_those_of_the_distance(others):
    prior, parameters = held_to(*others, weight=0.7), hands(3).requires_grad_(True)
    (expected,) = torch.autograd.grad(distance(prior, parameters).sum(), parameters)
    value, gradient, _ = linearised(prior, parameters.detach())
    assert torch.allclose(value.float(), distance(prior, parameters), atol=1e-7)
    assert torch.allclose(gradient.float(), expected, atol=1e-7)


def test_the_curvature_is_that_of_the_distance_where_it_is_least():
    parameters = hands(1)
    prior = held_to(parameters)
    curvature = linearised(prior, parameters)[2]
    step = 1e-3
    for number in (10, 40, 55):
        shift = step * torch.eye(63)[number]
        second = 2 * distance(prior, parameters + shift) / step**2
        assert torch.allclose(curvature[:, number, number].float(), second, rtol=1e-2)
    assert (curvature[:, :4] == 0).all()
    assert (linearised(held_to(hands(9)), hands(4))[2] >= 0).all()
    assert torch.equal(curvature, torch.diag_embed(curvature.diagonal(dim1=1, dim2=2)))


def test_nobody_holds_nothing():
    value, gradient, curvature = linearised(held_to(NOBODY), hands(1))
    assert not value.any() and not gradient.any() and not curvature.any()


def test_opposite_quaternions_are_no_change():
    parameters = hands(1)
    turned = parameters.clone()
    turned[:, 4:8] *= -2
    assert torch.allclose(distance(held_to(turned), parameters), torch.zeros(3), atol=1e-9)


def test_moving_through_the_image_is_not_held_back():
    parameters = hands(1)
    moved = parameters.clone()
    moved[:, :4] = moved[:, :4] * 1.5 + 0.3
    assert not distance(held_to(moved), parameters).any()
