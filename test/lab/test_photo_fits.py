"""Meshes fitted to labels: rendered hands come back from their joints, folders from their files."""

import json

import cv2
import numpy as np
import photographs
import pytest
import torch

from dhpe_lab.datasets.real_hands import load_real_hands
from dhpe_lab.datasets.samples import Sample
from dhpe_lab.synthesis.photo_fits import (
    GOOD_FIT,
    _start,
    _target,
    cut_file,
    fit_labels,
    load_photo_hands,
    square,
    with_cuts,
    write_fits,
)
from dhpe_lab.synthesis.photo_hands import PhotoBank
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.rendering import silhouette

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def model():
    return HandModel(hand_model_path())


@pytest.fixture(scope="module")
def projection(model):
    return Projection(model).eval()


@pytest.fixture(scope="module")
def taken(model):
    return photographs.take(model, 12, seed=4)


@pytest.fixture(scope="module")
def fitted(taken, projection):
    return fit_labels([photo.sample for photo in taken], projection)


@pytest.fixture(scope="module")
def real(taken, tmp_path_factory):
    folder = tmp_path_factory.mktemp("real")
    photographs.write(folder, taken)
    return folder


@pytest.fixture(scope="module")
def fits(real, tmp_path_factory):
    folder = tmp_path_factory.mktemp("fits")
    write_fits(real, folder)
    return folder


def overlap(one, other):
    return (one & other).sum() / (one | other).sum()


# ---------------------------------------------------------------- the fit


def test_labels_of_a_rendered_hand_give_it_back(taken, fitted):
    _, errors = fitted
    assert errors.shape == (len(taken),)
    assert errors.max() < 0.03
    assert errors.mean() < 0.015


def test_the_fitted_mesh_covers_the_hand(taken, fitted, projection):
    with torch.no_grad():
        meshes = projection(fitted[0]).vertices
    overlaps = []
    for photo, mesh in zip(taken, meshes, strict=True):
        drawn = silhouette(mesh[None], projection.hand_model.triangles, 96)[0].numpy() > 0.5
        box = square(photo.sample)
        exact = (photo.in_crop()[:, :2] + 1) * 80 - np.array(box.center)
        exact = np.column_stack((exact * (2 / box.width), photo.in_crop()[:, 2]))
        truth = torch.from_numpy(exact).float()[None]
        truth = silhouette(truth, projection.hand_model.triangles, 96)[0].numpy() > 0.5
        overlaps.append(overlap(drawn, truth))
    assert min(overlaps) > 0.75
    assert np.mean(overlaps) > 0.87


def test_a_fit_without_depth_lies_on_its_labels_too(taken, projection):
    flat = [Sample(p.image, p.sample.joints_px, True, "flat") for p in taken[:6]]
    _, errors = fit_labels(flat, projection)
    assert errors.max() < 0.03


def test_a_left_hand_is_fitted_as_its_mirror_image(taken, fitted, projection):
    sample = taken[0].sample
    width = sample.image.shape[1]
    mirrored = sample.joints_px * (-1, 1) + (width - 1, 0)
    left = Sample(sample.image[:, ::-1], mirrored, False, "left",
                  relative_depth_px=sample.relative_depth_px)  # fmt: skip
    parameters, errors = fit_labels([left], projection)
    with torch.no_grad():
        mesh, right = projection(parameters).vertices[0], projection(fitted[0]).vertices[0]
    assert (mesh - right).norm(dim=1).max() < 0.02  # 1 % of the crop: 120 steps enlarge rounding
    assert errors[0] < 0.03


def test_labels_of_no_hand_are_no_good_fit(projection):
    joints = np.random.default_rng(0).uniform(20, 80, (3, 21, 2))
    blank = np.zeros((100, 100, 3), np.uint8)
    _, errors = fit_labels([Sample(blank, one, True, "noise") for one in joints], projection)
    assert errors.min() > 2 * GOOD_FIT


@pytest.mark.parametrize("deep", [True, False])
def test_the_start_is_the_rotation_that_fits_best(taken, projection, deep):
    target = np.stack([_target(photo.sample) for photo in taken])
    target[..., 2] *= deep  # a flat one is its own mirror image
    target = torch.from_numpy(target).float()
    start = _start(target, projection)

    def distance(parameters):
        with torch.no_grad():
            joints = projection(parameters).joints
        a, b = (points - points.mean(1, keepdim=True) for points in (joints, target))
        return ((a - b) ** 2).sum((1, 2))

    best = distance(start)
    for axis in range(3):
        for step in (-0.02, 0.02):
            turned = start.clone()
            p = HandParameters.split(turned)
            other = torch.zeros(3).index_fill_(0, torch.tensor(axis), step)
            w, u = p.rotation[:, :1].clone(), p.rotation[:, 1:].clone()
            crossed = torch.linalg.cross(other.expand_as(u), u)
            p.rotation[:] = torch.cat((w - (u @ other)[:, None], u + w * other + crossed), 1)
            assert (distance(turned) > best - 1e-5).all()


# ---------------------------------------------------------------- the folder


def test_fits_hold_every_photograph_by_its_file(real, fits):
    samples = load_real_hands(real, "train")
    with np.load(fits / "fits.npz") as archive:
        names, parameters = archive["names"].tolist(), archive["parameters"]
    assert names == [sample.name for sample in samples]
    assert parameters.shape == (len(names), 63)
    assert np.isfinite(parameters).all()


def test_photographs_without_a_mask_are_cut_out_right_and_left(real, fits, taken):
    samples = with_cuts(load_real_hands(real, "train"), fits)
    cut = {s.name: s for s in samples if s.source == "room" and s.opacity is not None}
    assert len(cut) >= 6
    assert {sample.right for sample in cut.values()} == {True, False}
    for k, photo in enumerate(taken):
        sample = cut.get(f"wild/room/{k}.jpg")
        if sample is None:
            continue
        flip = slice(None, None, 1 if sample.right else -1)
        hand, whole = photo.sample.mask[:, flip], photo.sample.opacity[:, flip]
        assert np.array_equal(sample.mask, sample.opacity)
        assert (sample.opacity[hand > 127] > 127).mean() > 0.95
        assert (sample.opacity[whole == 0] > 127).mean() < 0.02


def test_masks_that_are_there_stay(real, fits):
    before = [s for s in load_real_hands(real, "train") if s.source == "signs"]
    after = [s for s in with_cuts(load_real_hands(real, "train"), fits) if s.source == "signs"]
    assert not (fits / "signs").exists()
    for one, same in zip(before, after, strict=True):
        assert np.array_equal(one.opacity, same.opacity)


def test_fitted_photographs_are_right_hands_with_mesh_and_pose(real, fits, model):
    hands = load_photo_hands(real, fits, model)
    samples = load_real_hands(real, "train")
    assert [hand.source for hand in hands] == [sample.source for sample in samples]
    for hand in hands:
        assert hand.pose.shape == (15, 3)
        drawn = silhouette(torch.from_numpy(hand.vertices)[None], model.triangles, 224)[0] > 0.5
        shown = np.abs(hand.image - photographs.BLUE.astype(float)).max(2) > 60
        assert shown[drawn.numpy()].mean() > 0.9
    PhotoBank(hands, model, 0)


def test_writing_again_takes_back_a_cut_that_is_no_longer_believed(real, fits, tmp_path):
    sample = next(s for s in load_real_hands(real, "train") if s.source == "room")
    labels = json.loads((real / "wild/labels.json").read_text())
    labels["hands"] = labels["hands"][:1]
    for name, hands in (("wild", labels), ("signs", {"hands": []})):
        (tmp_path / "real" / name).mkdir(parents=True)
        (tmp_path / "real" / name / "labels.json").write_text(json.dumps(hands))
    picture = tmp_path / "real" / sample.name
    picture.parent.mkdir(parents=True)
    cv2.imwrite(str(picture), np.full((160, 160, 3), 90, np.uint8))  # shows no hand
    stale = cut_file(tmp_path / "fits", sample.name)
    stale.parent.mkdir(parents=True)
    cv2.imwrite(str(stale), sample.image[..., 0])
    write_fits(tmp_path / "real", tmp_path / "fits")
    assert not stale.exists()


def test_folders_that_do_not_belong_together_are_named(real, fits, tmp_path, model):
    for read in (lambda: with_cuts([], tmp_path), lambda: load_photo_hands(real, tmp_path, model)):
        with pytest.raises(
            FileNotFoundError, match=r"no fits in .*; write them with .*python.* -m dhpe_lab"
        ):
            read()
    np.savez(tmp_path / "fits.npz", names=np.array(["wild/x.jpg"]), parameters=np.zeros((1, 63)))
    with pytest.raises(ValueError, match=r"fits of wild/x\.jpg, which is not in .*; write them"):
        load_photo_hands(real, tmp_path, model)


def test_a_cut_that_cannot_be_read_is_named(real, tmp_path):
    np.savez(tmp_path / "fits.npz", names=np.array([]), parameters=np.zeros((0, 63)))
    sample = next(s for s in load_real_hands(real, "train") if s.source == "room")
    file = cut_file(tmp_path, sample.name)
    file.parent.mkdir(parents=True)
    file.write_text("no picture")
    with pytest.raises(ValueError, match=r"is not a picture .* write the fits anew"):
        with_cuts([sample], tmp_path)


def test_a_folder_of_which_nothing_can_be_fitted_says_so(tmp_path):
    rng = np.random.default_rng(0)
    hand = {"split": "train", "set": "room", "file": "a.png", "side": "right",
            "joints_px": rng.uniform(5, 55, (21, 2)).tolist(),
            "joints_m": rng.normal(0, 0.05, (21, 3)).tolist()}  # fmt: skip
    for name, hands in (("wild", [hand]), ("signs", [])):
        (tmp_path / name).mkdir()
        (tmp_path / name / "labels.json").write_text(json.dumps({"hands": hands}))
    cv2.imwrite(str(tmp_path / "wild/a.png"), np.zeros((60, 60, 3), np.uint8))
    with pytest.raises(ValueError, match="none of 1 photographs"):
        write_fits(tmp_path, tmp_path / "fits")
