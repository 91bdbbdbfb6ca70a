"""The pose space: no penalty for what a hand can do, a growing one beyond; and settled hands."""

import numpy as np
import pytest
import torch
from self_penetration import VISIBLE_M, hand_parts, penetration_depths

from dhpe_lab.synthesis import hand_poses
from dhpe_lab.synthesis.settling import deepest_overlap_m, pose_from_angles, settled
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.pose_prior import FINGERS, PoseSpace, pose_axes, pose_limits
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.types import ANGLE_NAMES, BONES


@pytest.fixture(scope="module")
def model():
    return HandModel(hand_model_path())


@pytest.fixture(scope="module")
def space(model):
    return PoseSpace(model)


@pytest.fixture(scope="module")
def crossed(space):
    """Fists whose thumbs start inside the fingers, ``(40, 15, 3)`` axis-angle."""
    angles = np.zeros((40, 15, 3))
    for finger in ("index", "middle", "ring", "little"):
        hand_poses._curl(angles, finger, 75, 92)
    hand_poses._thumb(angles, (np.linspace(-4, 24, 40), np.linspace(-6, 26, 40), 9), 20, 25)
    return _pose(space, torch.from_numpy(hand_poses.make_plausible(angles)).float())


def _pose(space, angles):
    return pose_from_angles(angles, space.axes)


def visibly_inside(model, pose):
    """``(B,)`` bool, measured on the mesh."""
    with torch.no_grad():
        skin = model(pose, torch.zeros(len(pose), 10)).double().numpy()
    with np.load(hand_model_path()) as file:
        parts = hand_parts(file["f"], file["weights"])
    return penetration_depths(skin, parts).max((1, 2)) > VISIBLE_M


def test_angles_agree_with_numpy_and_invert(space, model):
    axes = np.asarray(model.extras["pose_axes"], np.float64)
    angles = hand_poses.sample_angles(np.random.default_rng(0), 50)
    pose = torch.from_numpy(hand_poses.pose_from_angles(angles, axes)).float()
    assert torch.allclose(_pose(space, torch.from_numpy(angles).float()), pose, atol=1e-5)
    assert np.allclose(space.angles(pose), angles, atol=1e-5)


def test_nothing_is_wrong_with_the_rest_hand_the_mean_hand_and_those_within_limits(space):
    within = space.lower + torch.rand(30, 15, 3) * (space.upper - space.lower)
    poses = torch.cat((torch.zeros(1, 15, 3), space.mean.reshape(1, 15, 3), _pose(space, within)))
    assert space.beyond_limits(poses).max() < 1e-8
    assert space.penetration(poses[:2]).max() == 0
    assert space(torch.zeros(1, 45)).item() == pytest.approx(0.0, abs=1e-8)


@pytest.mark.parametrize("joint", range(15))
def test_beyond_a_limit_the_penalty_is_the_square_of_the_excess(space, joint):
    angles = torch.zeros(3, 15, 3)
    angles[:, joint, 0] = space.upper[joint, 0] + torch.tensor((0.1, 0.2, 0.4))
    value = space.beyond_limits(_pose(space, angles))
    assert value.tolist() == pytest.approx([0.01, 0.04, 0.16], rel=1e-3)


def test_gaussian_is_the_mean_square_in_standard_deviations(space):
    assert space.gaussian(2 * space.theta_std[None]).item() == pytest.approx(4.0)


def test_penetration_sees_what_the_mesh_shows(space, model, crossed):
    inside = visibly_inside(model, crossed)
    assert 10 < inside.sum() < 40
    overlap = deepest_overlap_m(space, crossed).numpy()
    assert overlap[inside].min() > 0.5e-3
    assert (space.penetration(crossed).numpy()[overlap > 0] > 0).all()


def test_settled_hands_are_clear_of_themselves_and_close_to_what_was_asked(space, model, crossed):
    poses, left = settled(space, crossed)
    assert left.max() < 2e-3
    assert visibly_inside(model, poses).mean() < 0.05
    assert (space.angles(poses) - space.angles(crossed)).abs().max() < np.radians(45)
    clear = space.mean.reshape(1, 15, 3)
    assert torch.allclose(settled(space, clear)[0], clear, atol=1e-5)


def test_settled_families_hardly_ever_pass_through_themselves(space, model):
    axes = np.asarray(model.extras["pose_axes"], np.float64)
    poses = hand_poses.sample_poses(np.random.default_rng(5), 150, axes)
    raw = torch.from_numpy(poses).float()
    assert visibly_inside(model, raw).mean() > 0.1
    assert visibly_inside(model, settled(space, raw)[0]).mean() <= 0.04


def test_gradient_agrees_with_finite_differences(model):
    space = PoseSpace(model).double()
    theta = torch.randn(4, 45, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    theta = (2.0 * theta * space.theta_std).requires_grad_(True)
    value = space(theta)
    assert space.penetration(space.pose_from_theta(theta)).max() > 0.01
    (gradient,) = torch.autograd.grad(value.sum(), theta)
    # Smooth but for the hinges' second derivative: central differences of 1e-6 are exact to 1e-6.
    direction = torch.randn(4, 45, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    with torch.no_grad():
        ahead, behind = (space(theta + step * direction) for step in (1e-6, -1e-6))
    expected = (ahead - behind) / 2e-6
    assert torch.allclose((gradient * direction).sum(1), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [0.0, 1e-8, 1.0, 1e3, 1e8])
def test_value_and_gradient_are_finite_everywhere(space, size):
    theta = size * torch.randn(8, 45, generator=torch.Generator().manual_seed(2))
    theta[0] = 0.0
    theta.requires_grad_(True)
    value = space(theta)
    (gradient,) = torch.autograd.grad(value.sum(), theta)
    assert value.isfinite().all()
    assert gradient.isfinite().all()


@pytest.mark.parametrize("which", [0, 1, 2])
def test_a_joint_turned_by_right_angles_has_finite_gradients(space, which):
    turn = torch.zeros(3, 15, 3)
    turn[..., which] = torch.tensor((np.pi / 2, np.pi, -np.pi / 2))[:, None]
    pose = (turn[..., None, :] @ space.axes)[..., 0, :].requires_grad_(True)  # about the own axes
    value = space.beyond_limits(pose) + space.penetration(pose)
    (gradient,) = torch.autograd.grad(value.sum(), pose)
    assert gradient.isfinite().all()


def test_a_file_without_axes_gets_them_from_its_skeleton(model, tmp_path):
    with np.load(hand_model_path()) as file:
        plain = {k: v for k, v in file.items() if k not in ("pose_axes", "pose_limits")}
        np.savez(tmp_path / "plain.npz", **plain)
        joints = file["J_regressor"] @ file["v_template"]
        own = pose_axes(joints, file["v_template"][file["tips"]])
        turned = np.degrees(np.arccos(np.clip((own * file["pose_axes"]).sum(-1), -1, 1)))
    assert turned.max() < 0.5
    derived, stored = PoseSpace(HandModel(tmp_path / "plain.npz")), PoseSpace(model)
    theta = 2 * stored.theta_std * torch.randn(5, 45, generator=torch.Generator().manual_seed(0))
    beyond = [s.beyond_limits(s.pose_from_theta(theta)).tolist() for s in (derived, stored)]
    assert beyond[0] == pytest.approx(beyond[1], rel=0.05)


def test_limits_leave_room_for_the_rest_hand_and_none_turned_round():
    limits = pose_limits()
    assert limits.shape == (15, 3, 2)
    assert (limits[..., 0] <= 0).all()
    assert (limits[..., 1] >= 0).all()
    knuckles = [FINGERS[finger] for finger in ("index", "middle", "ring", "little")]
    assert (np.ptp(limits[knuckles, 0], axis=-1) > 3 * np.ptp(limits[knuckles, 1], axis=-1)).all()


def test_joint_angles_are_named_after_what_bends(model):
    space = PoseSpace(model)
    for name, joint, angle in (
        ("thumb_cmc_abduction", FINGERS["thumb"], 1),
        ("thumb_ip_flexion", FINGERS["thumb"] + 2, 0),
        ("index_mcp_flexion", FINGERS["index"], 0),
        ("little_mcp_abduction", FINGERS["little"], 1),
        ("ring_pip_flexion", FINGERS["ring"] + 1, 0),
    ):
        angles = torch.zeros(1, 15, 3)
        angles[0, joint, angle] = 0.4
        found = space.joint_angles(_pose(space, angles))[0]
        assert found[ANGLE_NAMES.index(name)] == pytest.approx(0.4, abs=1e-4)
        assert found.abs().sum() == pytest.approx(0.4, abs=1e-3), name


def test_frames_lie_along_the_bones_and_turn_about_y_as_fingers_flex(model):
    space = PoseSpace(model)
    angles = np.random.default_rng(1).uniform(0, 0.6, (8, 15, 3)) * (1, 0.2, 0)
    pose = _pose(space, torch.from_numpy(angles).float())
    frames = space.frames(pose)
    torch.testing.assert_close(torch.det(frames), torch.ones(8, 21))
    joints = model.pivots(model(pose, torch.zeros(8, 10)))
    for start, end in BONES:
        if start == 0:
            continue
        bone = torch.nn.functional.normalize(joints[:, end] - joints[:, start], dim=1)
        assert ((bone * frames[:, start, :, 0]).sum(1) > np.cos(np.radians(12))).all()
    torch.testing.assert_close(frames[:, 8], frames[:, 7])  # a tip has the last bone's
    # The PIP's frame against the MCP's: a turn about y by the angle of flexion.
    flat = space.frames(_pose(space, torch.zeros(1, 15, 3)))[0]
    bend = (flat[5].T @ flat[6]).T @ (frames[:, 5].mT @ frames[:, 6])
    named = space.joint_angles(pose)[:, ANGLE_NAMES.index("index_pip_flexion")]
    turn = torch.atan2(bend[:, 0, 2], bend[:, 2, 2])
    torch.testing.assert_close(turn, named, atol=0.1, rtol=0.1)
    assert flat[5, :, 2] @ torch.tensor((0.0, 1.0, 0.0)) > 0.9, "z points out of the back"
    assert flat[0].T.tolist() == [[-1, 0, 0], [0, 0, 1], [0, 1, 0]]
