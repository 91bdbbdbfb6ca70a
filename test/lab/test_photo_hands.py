"""Poses and skins of photographed hands: within limits, sets alike, and what cannot be had."""

from dataclasses import replace

import numpy as np
import photographs
import pytest

from dhpe_lab.synthesis import synthesis
from dhpe_lab.synthesis.hand_poses import angles_from_pose, pose_from_angles
from dhpe_lab.synthesis.hand_surface import surface_of
from dhpe_lab.synthesis.photo_hands import PhotoBank, PhotoHand, skin_of
from dhpe_lab.synthesis.synthesis import random_hands, random_samples, write_synthetic
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path


@pytest.fixture(scope="module")
def model():
    return HandModel(hand_model_path())


@pytest.fixture(scope="module")
def axes(model):
    return np.asarray(model.extras["pose_axes"], np.float64)


@pytest.fixture(scope="module")
def photos(model):
    return [photo.photo_hand("room") for photo in photographs.take(model, 6, seed=8)]


def pose_of(axes, flexion_deg):
    """(15, 3): every finger joint but the thumb's bent alike."""
    angles = np.zeros((1, 15, 3))
    angles[0, :12, 0] = np.radians(flexion_deg)
    return pose_from_angles(angles, axes)[0]


def unseen(pose, source):
    """A picture that shows nothing of its mesh."""
    far = np.full((778, 3), 9.0, np.float32)
    return PhotoHand(np.zeros((64, 64, 3), np.uint8), far, pose, source)


def test_poses_keep_within_the_limits_of_joints(photos, model, axes):
    wild = [*photos, unseen(pose_of(axes, 80), "cramp")]  # bent too far by what is added
    poses = PhotoBank(wild, model, 0).poses(np.random.default_rng(0), 300)
    assert poses.shape == (300, 15, 3)
    angles, limits = angles_from_pose(poses, axes), model.extras["pose_limits"]
    assert (angles >= limits[..., 0] - 1e-4).all()
    assert (angles <= limits[..., 1] + 1e-4).all()


def test_poses_are_the_photographed_ones_unsteady(model, axes):
    bank = PhotoBank([unseen(pose_of(axes, 30), "one")], model, 0)
    angles = np.degrees(angles_from_pose(bank.poses(np.random.default_rng(0), 400), axes))
    knuckles = angles[:, [0, 3, 6, 9], 0]
    assert knuckles.mean() == pytest.approx(30, abs=1)
    assert 3 < knuckles.std() < 8


def test_sets_weigh_alike_however_many_pictures_they_have(model, axes):
    many = [unseen(pose_of(axes, 5), "many")] * 300
    few = [unseen(pose_of(axes, 50), "few")] * 2
    poses = PhotoBank([*many, *few], model, 0).poses(np.random.default_rng(0), 600)
    knuckles = np.degrees(angles_from_pose(poses, axes)[:, [0, 3, 6, 9], 0])
    assert (knuckles > 27).mean() == pytest.approx(0.5, abs=0.06)


def test_fingers_of_other_hands_come_in(model, axes):
    hands = [unseen(pose_of(axes, 5), "flat"), unseen(pose_of(axes, 60), "bent")]
    poses = PhotoBank(hands, model, 0).poses(np.random.default_rng(0), 400)
    bent = np.degrees(angles_from_pose(poses, axes)[:, [0, 3, 6, 9], 0]) > 32
    mixed = bent.any(1) & ~bent.all(1)
    assert 0.05 < mixed.mean() < 0.25


def test_no_poses_of_a_bank_are_no_poses(photos, model):
    assert PhotoBank(photos, model, 0).poses(np.random.default_rng(0), 0).shape == (0, 15, 3)


def test_a_bank_of_no_photographs_is_an_error(model):
    with pytest.raises(ValueError, match="no photographs"):
        PhotoBank([], model, 0)


def test_a_hand_model_without_axes_is_refused_before_photographs_are_read(tmp_path, monkeypatch):
    with np.load(hand_model_path()) as file:
        np.savez(tmp_path / "mano.npz", **{k: v for k, v in file.items() if k != "pose_axes"})
    nowhere = str(tmp_path / "nowhere")
    words = ["--output", nowhere, "--photos", nowhere, nowhere]
    words += ["--hand-model", str(tmp_path / "mano.npz")]
    monkeypatch.setattr("sys.argv", ["synthesis", *words])
    with pytest.raises(ValueError, match="synthetic hands need pose_axes in the hand model"):
        synthesis.main()


def test_a_skin_is_the_photographs_on_the_surface_of_hand_and_forearm(model):
    photo = photographs.take(model, 1, seed=2)[0]
    skin = skin_of(photo.photo_hand(), model, np.random.default_rng(0))
    assert skin.albedo.shape == (len(surface_of(model).texels.vertices), 3)
    seen = photo.image[photo.sample.mask > 250].mean(0)
    found = skin.albedo.mean(0)
    assert found.argmax() == seen.argmax() == 0  # red, not the blue behind it
    assert (skin.albedo[:, 2] > skin.albedo[:, 0]).mean() < 0.05


def test_skins_come_back_the_same_and_a_little_lighter_or_darker(photos, model):
    bank, again = (PhotoBank(photos, model, 0) for _ in range(2))
    one = [bank.skin(np.random.default_rng(k)) for k in (0, 1, 2, 3)]
    other = [again.skin(np.random.default_rng(k)) for k in (3, 2, 1, 0)]  # in any order
    for skin, same in zip(one, reversed(other), strict=True):
        assert np.array_equal(skin.albedo, same.albedo)
        assert skin.albedo.min() >= 0 and skin.albedo.max() <= 1


def test_a_picture_that_hides_the_hand_has_no_skin_but_hands_are_drawn(model, axes):
    bank = PhotoBank([unseen(pose_of(axes, 20), "dark")], model, 0)
    assert bank.skin(np.random.default_rng(0)) is None
    assert bank.skin(np.random.default_rng(0)) is None  # nor when asked again
    samples = list(random_samples(model, 6, 1, bank))
    assert all((sample.mask > 127).sum() > 200 for sample in samples)


def test_hands_with_photographs_are_the_same_for_the_same_seed(photos, model, tmp_path):
    for name in ("a", "b"):
        write_synthetic(tmp_path / name, 8, 3, photos=PhotoBank(photos, model, 3))
    write_synthetic(tmp_path / "plain", 8, 3)
    one, same, plain = (np.load(tmp_path / n / "pictures.npy") for n in ("a", "b", "plain"))
    assert np.array_equal(one, same)
    assert not np.array_equal(one, plain)


def test_half_of_the_hands_have_poses_of_photographs(model, axes):
    stiff = PhotoBank([unseen(pose_of(axes, 45), "one")], model, 0)
    hands = random_hands(model, 400, np.random.default_rng(0), stiff)
    knuckles = np.degrees(angles_from_pose(np.stack([h.pose for h in hands]), axes))
    alike = np.abs(knuckles[:, [0, 3, 6, 9], 0] - 45).max(1) < 20
    assert 0.45 < alike.mean() < 0.65


def test_half_of_the_hands_have_skins_of_photographs(model):
    photo = photographs.take(model, 1, seed=2)[0]
    hand = photo.photo_hand()
    green = np.where(photo.sample.opacity[..., None] > 0, hand.image[..., (1, 0, 2)], hand.image)
    bank = PhotoBank([replace(hand, image=green)], model, 0)
    colors = [s.image[s.mask > 250].mean(0) for s in random_samples(model, 40, 0, bank)]
    assert 12 <= sum(green > red for red, green, _ in colors) <= 28


def test_banks_do_not_change_their_photographs(photos, model):
    before = replace(photos[0], image=photos[0].image.copy(), pose=photos[0].pose.copy())
    bank = PhotoBank(photos, model, 0)
    bank.poses(np.random.default_rng(0), 20)
    bank.skin(np.random.default_rng(0))
    assert np.array_equal(before.image, photos[0].image)
    assert np.array_equal(before.pose, photos[0].pose)
