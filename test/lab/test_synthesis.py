"""The synthetic generator: every label is checked against the picture or the model."""

import cv2
import numpy as np
import pytest
import torch

from dhpe_lab.synthesis.forearm import random_forearm
from dhpe_lab.synthesis.hand_surface import surface_of
from dhpe_lab.synthesis.synthesis import (
    RENDER_SIZE,
    load_synthetic,
    random_hands,
    render_sample,
    write_synthetic,
)
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
