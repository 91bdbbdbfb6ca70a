"""Lifting 2D joints: labels that are one hand's, and networks that learn from them."""

import numpy as np
import pytest
import torch

from dhpe_lab.evaluation.metrics import PROCRUSTES, errors_3d_mm
from dhpe_lab.synthesis.synthesis import random_poses
from dhpe_lab.training import train_lifting
from dhpe_lab.training.config import BudgetConfig
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.mesh_estimator import MeshEstimator
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.types import MIDDLE_MCP


@pytest.fixture(scope="module")
def projection():
    return Projection(HandModel(hand_model_path())).eval()


@pytest.fixture
def pairs(projection):
    poses = torch.cat(list(random_poses(projection.hand_model, 64, np.random.default_rng(1))))
    return train_lifting.Pairs(projection, poses, seed=2)


def test_labels_are_those_of_one_hand(pairs, projection, monkeypatch):
    for name in ("NEAREST_M", "FARTHEST_M"):  # without perspective
        monkeypatch.setattr(train_lifting, name, 1e4)
    batch, model = pairs.draw(8), projection.hand_model
    true_m = model.skeleton(model(batch.pose, batch.shape)).double().numpy()
    labels = torch.cat((batch.joints, batch.depth[..., None]), 2).double().numpy()
    off_mm = [errors_3d_mm(*pair, PROCRUSTES).max() for pair in zip(labels, true_m, strict=True)]
    assert max(off_mm) < 0.1
    turned = true_m @ batch.rotation.double().numpy().transpose(0, 2, 1)
    sizes = [np.ptp(points[..., :2], axis=1).max(1) for points in (turned, labels)]
    assert np.ptp(np.log(sizes[1] / sizes[0])) > 0.1  # framed by the box, not by the distance
    assert batch.joints.abs().mean() < 0.7


def test_perspective_enlarges_what_is_near(pairs, projection, monkeypatch):
    for name in ("NEAREST_M", "FARTHEST_M"):
        monkeypatch.setattr(train_lifting, name, 0.4)
    batch, model = pairs.draw(50), projection.hand_model
    true_m = model.skeleton(model(batch.pose, batch.shape))
    turned_m = (true_m - true_m[:, MIDDLE_MCP, None]) @ batch.rotation.mT
    depth_m, seen = turned_m[..., 2], batch.joints - batch.joints[:, MIDDLE_MCP, None]
    scale = batch.depth.abs().sum(1, keepdim=True) / depth_m.abs().sum(1, keepdim=True)
    expected = turned_m[..., :2] * (scale * 0.4 / (0.4 + depth_m))[..., None]
    torch.testing.assert_close(seen, expected, atol=1e-3, rtol=0)


def test_disturbed_joints_are_near_the_true_ones_most_of_the_time(pairs):
    batch = pairs.draw(400)
    length = (batch.joints.amax(1) - batch.joints.amin(1)).amax(1)
    away = (pairs.disturbed(batch.joints) - batch.joints).norm(dim=2) / length[:, None]
    assert 0.005 < away.median() < 0.05
    assert (away > 0.1).float().mean() > 0.02


def test_a_short_training_lifts_better_than_the_start(pairs, projection, monkeypatch):
    torch.manual_seed(0)
    monkeypatch.setattr(train_lifting, "BATCH", 32)
    estimator = MeshEstimator(256, canonical=True, features=False)
    batch = pairs.draw(200)
    before = train_lifting.measure(estimator.eval(), projection, batch, batch.joints)
    budget = BudgetConfig(minutes=0.0, steps=300)
    trained, steps = train_lifting.train(estimator, projection, pairs, budget)
    after = train_lifting.measure(trained, projection, batch, batch.joints)
    assert steps == 300
    assert after[0] < 0.93 * before[0] and after[1] < 0.5 * before[1]
