"""The joints alone: the projection's, at any pose, and with the derivatives that they have."""

import copy

import hand_oracle
import numpy as np
import pytest
import torch

from dhpe_ros.hand.kernels.skeleton_kernels import bones_of, place_vertices, to_crop
from dhpe_ros.hand.linear_points import LinearPoints
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.refinement import fit_kernels


@pytest.fixture(scope="module", params=["open hand", "MANO file"])
def model(request, tmp_path_factory):
    """The hand that ships; and one without landmarks, with a mean pose, in its own components."""
    if request.param == "open hand":
        return HandModel(hand_model_path())
    rng = np.random.default_rng(0)
    with np.load(hand_model_path()) as file:
        arrays = {k: v for k, v in file.items() if k not in ("landmarks", "theta_std")}
    arrays["hands_components"] = np.linalg.qr(rng.normal(size=(45, 45)))[0]
    arrays["hands_mean"] = rng.normal(0, 0.2, 45)
    path = tmp_path_factory.mktemp("mano") / "mano.npz"
    np.savez(path, **arrays)
    return HandModel(path)


@pytest.fixture(scope="module")
def skeleton(model):
    return LinearPoints(model, model.skeleton_regressor)


def _hands(model, batch=3):
    generator = torch.Generator().manual_seed(batch)

    def normal(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    hands = HandParameters.start(batch).double()
    hands[:, 1:4] = 0.2 * normal(batch, 3)
    hands[:, 4:8] = normal(batch, 4)  # of any length
    hands[:, 8:53] = model.theta_std * normal(batch, 45)
    hands[:, 53:] = normal(batch, 10)
    return hands


def _jacobian(model, hands):
    """Of the projection's joints, ``(B, 21, 3, 63)``, by autograd in double precision."""
    whole = Projection(copy.deepcopy(model)).double()
    return torch.autograd.functional.jacobian(lambda h: whole(h).joints.sum(0), hands).permute(
        2, 0, 1, 3
    )


def test_the_joints_are_those_of_the_projection(model, skeleton):
    hands = _hands(model).float()
    with torch.no_grad():
        expected = Projection(model)(hands).joints.double()
    for joints in (skeleton.place(hands), skeleton.derivatives(hands)[0]):
        torch.testing.assert_close(joints, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("batch", [0, 1, 4])
def test_derivatives_are_the_differences(model, skeleton, batch):
    hands = _hands(model, batch)
    joints, slopes = skeleton.derivatives(hands)
    expected, differences = hand_oracle.differences(skeleton.place, hands)
    assert slopes.shape == (batch, 21, 3, 63)
    assert torch.equal(joints, expected)
    torch.testing.assert_close(slopes, differences, atol=1e-5, rtol=1e-6)


def test_derivatives_are_those_of_autograd(model, skeleton):
    hands = _hands(model, 2)
    slopes = skeleton.derivatives(hands)[1]
    torch.testing.assert_close(slopes, _jacobian(model, hands), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("bend", [0.0, 1e-12, 1e-4, 0.00999, 0.01001, 3.1416, 6.2832])
def test_derivatives_hold_for_flat_and_for_far_turned_bones(model, skeleton, bend):
    hands = _hands(model, 2)
    pose = bend * torch.nn.functional.normalize(hands[:, 8:53].reshape(2, 15, 3), dim=-1)
    components = model.hands_components.double()
    hands[:, 8:53] = (pose.flatten(1) - model.hands_mean.double()) @ components.T
    slopes = skeleton.derivatives(hands)[1]
    torch.testing.assert_close(slopes, _jacobian(model, hands), atol=1e-6, rtol=1e-6)


def test_what_is_not_finite_stays_with_its_hand(model, skeleton):
    hands = _hands(model, 2)
    hands[0, 20] = float("nan")
    joints, slopes = skeleton.derivatives(hands)
    alone = skeleton.derivatives(hands[1:])
    assert torch.equal(joints[1:], alone[0])
    assert torch.equal(slopes[1:], alone[1])
    assert not joints[0].isfinite().all()
    assert skeleton.derivatives(torch.zeros(1, 63))[1].isfinite().all()


def test_of_two_coordinates_the_derivatives_are_the_same(model, skeleton):
    hands = _hands(model, 3)
    (joints, slopes), (same, whole) = skeleton.derivatives(hands, 2), skeleton.derivatives(hands)
    assert slopes.shape == (3, 21, 2, 63)
    torch.testing.assert_close(slopes, whole[:, :, :2], atol=1e-12, rtol=0)
    assert torch.equal(joints, same)


def test_some_of_the_vertices_are_those_of_the_mesh(model):
    projection, hands, vertices = Projection(model), _hands(model).float(), np.array((700, 3, 44))
    with torch.no_grad():
        expected = projection(hands).vertices.double()
    mesh, shares = projection.prior_arrays[1], np.zeros(778)
    shares[vertices] = 1
    chosen, pairs, bone_shares, _ = fit_kernels.select(mesh, shares)
    assert list(chosen) == sorted(vertices)
    for row, places in zip(hands.double().numpy(), expected, strict=True):
        bones, out = bones_of(row, projection.skeleton.arrays), np.empty((3, 3))
        to_crop(row, place_vertices(chosen, pairs, bone_shares, mesh, bones, row[53:]), out)
        np.testing.assert_allclose(out, places[chosen], atol=1e-5)
