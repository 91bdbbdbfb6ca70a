"""The synthetic generator: every label is checked against the picture or the model."""

import cv2
import numpy as np
import pytest
import torch

from dhpe_lab.datasets.samples import Sample
from dhpe_lab.synthesis.backgrounds import MadeUpPictures
from dhpe_lab.synthesis.forearm import random_forearm
from dhpe_lab.synthesis.hand_surface import surface_of
from dhpe_lab.synthesis.held_objects import random_object
from dhpe_lab.synthesis.synthesis import (
    RENDER_SIZE,
    LiveHands,
    load_synthetic,
    random_hands,
    render_sample,
    write_synthetic,
)
from dhpe_lab.training.batches import MixedBatches
from dhpe_lab.training.data import TrainingData
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.types import MIDDLE_MCP


@pytest.fixture(scope="module")
def model():
    return HandModel(hand_model_path())


@pytest.fixture(scope="module")
def drawn(model):
    hands = list(random_hands(model, 6, np.random.default_rng(5)))
    return [(hand, render_sample(hand, model, np.random.default_rng(7))) for hand in hands]


def test_labels_give_the_hand_back(model, drawn):
    for hand, sample in drawn:
        pose, shape = torch.from_numpy(sample.pose)[None], torch.from_numpy(sample.shape)[None]
        joints = model.skeleton(model(pose, shape))[0].double().numpy()
        assert np.allclose(hand.project(joints)[:, :2], sample.joints_px, atol=0.05)
        relative = (joints - joints[MIDDLE_MCP]) @ sample.rotation.T
        ratio = sample.relative_depth_px[1:].std() / relative[1:, 2].std()
        expected = relative[:, 2] * ratio
        assert np.allclose(sample.relative_depth_px, expected, atol=0.02 * np.ptp(expected) + 0.05)


def test_joints_lie_on_the_hand_or_behind_it(drawn):
    inside = []
    for _, sample in drawn:
        cells = np.clip(sample.joints_px.round().astype(int), 0, RENDER_SIZE - 1)
        inside.append((sample.opacity[cells[:, 1], cells[:, 0]] > 0).mean())
    assert np.mean(inside) > 0.95


def test_the_mask_is_the_hand_without_its_forearm(drawn):
    for _, sample in drawn:
        assert (sample.mask <= sample.opacity).all()
        assert (sample.mask > 127).sum() > 500
    assert any(
        (sample.opacity > 127).sum() > 1.1 * (sample.mask > 127).sum() for _, sample in drawn
    )


def test_the_mask_is_the_whole_hand_also_where_the_arm_is_before_it(drawn):
    for hand, sample in drawn:
        near = cv2.dilate(sample.mask, np.ones((3, 3), np.uint8)) > 0
        cells = hand.project(hand.vertices_m)[:, :2].round().astype(int)
        inside = ((cells >= 0) & (cells < RENDER_SIZE)).all(1)
        column, row = cells[inside].T
        assert near[row, column].all()


def test_the_joints_fill_the_stated_part_of_the_picture(drawn):
    for _, sample in drawn:
        spread = np.ptp(sample.joints_px, axis=0).max()
        assert spread == pytest.approx(0.52 * RENDER_SIZE, abs=1e-2)


def test_the_forearm_closes_the_wrist_and_faces_outward(model):
    vertices = model.v_template.double().numpy()
    loop = model.extras["wrist_loop"]
    forearm = random_forearm(vertices, loop, np.random.default_rng(0))
    points = np.concatenate((vertices, forearm.vertices_m))
    faces = np.concatenate((model.triangles.numpy(), forearm.triangles))
    edges = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    counts = np.unique(edges, axis=0, return_counts=True)[1]
    assert (counts == 2).all()  # no hole, neither at the wrist nor at the far end
    directed = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    assert len(np.unique(directed, axis=0)) == len(directed)  # neighbours agree which side is out
    assert np.ptp(points[:, 0]) > np.ptp(vertices[:, 0]) + 0.05


def test_palm_nails_and_creases_are_where_they_belong(model):
    surface = surface_of(model)
    texels = surface.texels
    joints = model.skeleton(model.v_template[None])[0].double().numpy()
    rest = model.v_template.double().numpy()
    hand = (texels.vertices < len(rest)).all(1)
    points = np.zeros((len(hand), 3))
    points[hand] = np.einsum("nk,nkd->nd", texels.weights[hand], rest[texels.vertices[hand]])
    assert not surface.nails[~hand].any() and not surface.creases[~hand].any()
    tips = joints[4::4]
    nail = hand & (surface.nails > 0.5)
    nearest = np.linalg.norm(points[nail, None] - tips, axis=2)
    assert nearest.min(1).max() < 0.02
    assert (np.bincount(nearest.argmin(1), minlength=5) >= 5).all()  # one for each finger
    fingers = nail.copy()
    fingers[nail] = nearest.argmin(1) > 0
    assert points[fingers, 1].min() > tips[1:, 1].min() - 0.005  # on the back, not the palm (-y)
    palm = hand & (surface.palm > 0.9)
    assert points[palm, 1].mean() < points[hand, 1].mean() < points[nail, 1].mean() + 0.03
    assert 0.005 < (surface.creases[hand] > 0.5).mean() < 0.2


def test_every_forearm_has_the_same_triangles(model):
    vertices, loop = model.v_template.double().numpy(), model.extras["wrist_loop"]
    forearms = [random_forearm(vertices, loop, np.random.default_rng(k)) for k in range(12)]
    assert len({forearm.sleeve.any() for forearm in forearms}) == 2
    for forearm in forearms:
        assert np.array_equal(forearm.triangles, forearms[0].triangles)
        assert len(forearm.sleeve) == len(forearm.vertices_m)


def test_written_hands_come_back_the_same_for_the_same_seed(tmp_path):
    write_synthetic(tmp_path / "a", 5, seed=3)
    write_synthetic(tmp_path / "b", 5, seed=3)
    one, two = load_synthetic(tmp_path / "a"), load_synthetic(tmp_path / "b")
    assert len(one) == 5
    for a, b in zip(one, two, strict=True):
        assert np.array_equal(a.image, b.image)
        assert np.array_equal(a.pose, b.pose)
    with pytest.raises(FileNotFoundError, match="render them with"):
        load_synthetic(tmp_path / "nowhere")


# ---------------------------------------------------------------- rendered while training


@pytest.fixture(scope="module")
def live(model):
    return LiveHands(model, seed=4, poses=5)


def test_a_live_hand_follows_from_its_number(model, live):
    again = LiveHands(model, seed=4, poses=5)[7]
    mine, other = live[7], live[8]
    for name in ("image", "mask", "opacity", "joints_px", "pose", "shape", "rotation"):
        assert np.array_equal(getattr(mine, name), getattr(again, name)), name
        assert not np.array_equal(getattr(mine, name), getattr(other, name)), name


def test_labels_give_a_live_hand_back(model, live):
    sample = live[3]
    vertices = model(torch.from_numpy(sample.pose)[None], torch.from_numpy(sample.shape)[None])
    joints = model.skeleton(vertices)[0].numpy()
    deep = ((joints - joints[MIDDLE_MCP]) @ sample.rotation.T)[:, 2]
    scale = (deep @ sample.relative_depth_px) / (deep @ deep)
    assert np.allclose(deep * scale, sample.relative_depth_px, atol=0.1)


def test_live_hands_and_photographs_are_mixed_by_share_and_made_by_workers_alike(live):
    joints = np.random.default_rng(0).uniform(5, 35, (21, 2)).astype(np.float32)
    photograph = Sample(np.zeros((40, 40, 3), np.uint8), joints, True, "wild")
    batches = MixedBatches([photograph], [], 40, 1, live=live, input_size=32, synthetic_share=0.3)
    batch = batches[2]
    assert 0.1 < batch.mask_known.sum() / batch.hand.sum() < 0.5  # masks of live hands alone
    (made,) = (one for one, _ in zip(batches.start(2, workers=1), range(1), strict=False))
    assert torch.equal(made.images, batch.images)


def test_held_objects_touch_palm_or_fingers_and_are_painted(model):
    rng, shown = np.random.default_rng(9), 0
    for hand in random_hands(model, 12, rng):
        held = random_object(hand.joints_m, rng)
        size_m = np.ptp(held.vertices_m, axis=0).max()
        assert 0.01 < size_m < 0.35
        apart = np.linalg.norm(held.vertices_m[:, None] - hand.vertices_m, axis=2).min()
        assert apart < 0.015
        bare, holding = (
            render_sample(hand, model, np.random.default_rng(1), held=what) for what in (None, held)
        )
        assert np.array_equal(bare.mask, holding.mask)
        assert (holding.opacity >= bare.opacity).all()
        shown += not np.array_equal(bare.image, holding.image)
    assert shown >= 8  # the others are behind the hand


def test_objects_are_closed_and_face_outward(model):
    rest = model.skeleton(model.v_template[None])[0].numpy()
    held = [random_object(rest, np.random.default_rng(k)) for k in range(8)]
    triangles = held[0].triangles
    edges = np.concatenate([triangles[:, [0, 1]], triangles[:, [1, 2]], triangles[:, [2, 0]]])
    assert len(np.unique(edges, axis=0)) == len(edges)
    assert (np.unique(np.sort(edges, 1), axis=0, return_counts=True)[1] == 2).all()
    for one in held:
        a, b, c = one.unit[triangles].transpose(1, 0, 2)
        assert (np.cross(a, b) * c).sum() / 6 > 3.5  # of 8; pi / 6 of it in the ball


def test_without_a_user_s_pictures_hands_stand_before_made_up_ones():
    first, again = TrainingData([], [], {}).surroundings, MadeUpPictures()
    assert first[0].dtype == np.uint8 and first[0].shape == (192, 192, 3)
    assert np.array_equal(first[0], again[0])
    assert not np.array_equal(first[0], first[1])
    with pytest.raises(IndexError):
        first[len(first)]


def test_a_hand_without_axes_is_refused(model, monkeypatch):
    monkeypatch.setattr(model, "extras", {})
    with pytest.raises(ValueError, match="pose_axes and wrist_loop"):
        LiveHands(model, 0)
