"""Joints behind another part of the hand."""

import numpy as np
import pytest
import torch

from dhpe_lab.synthesis.settling import pose_from_angles
from dhpe_ros.geometry.occlusion import occluded_joints
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.pose_prior import FINGERS, PoseSpace
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.types import JOINT_NAMES

# Rotations of the hand's frame (fingers -x, palm -y) to the camera's: who sees what.
PALM = ((0, 0, 1), (1, 0, 0), (0, 1, 0))  # fingers up, the palm to the camera
BACK = ((0, 0, -1), (1, 0, 0), (0, -1, 0))


@pytest.fixture(scope="module")
def model():
    return HandModel(hand_model_path())


def hidden(model, angles, turn, distance_m=0.5):
    """Names of the occluded joints of a pose of flexion, abduction and twist."""
    pose = pose_from_angles(torch.from_numpy(angles[None]).float(), PoseSpace(model).axes)
    vertices = model(pose, torch.zeros(1, 10))
    at = np.array((0, 0, distance_m))
    joints, mesh = (
        p[0].numpy() @ np.transpose(turn) + at for p in (model.skeleton(vertices), vertices)
    )
    found = occluded_joints(joints, mesh, model.triangles.numpy())
    return {name for name, is_hidden in zip(JOINT_NAMES, found, strict=True) if is_hidden}


def fist():
    angles = np.zeros((15, 3))
    for finger in ("index", "middle", "ring", "little"):
        first = FINGERS[finger]
        angles[first : first + 3, 0] = np.radians((80, 95, 60))
    return angles


@pytest.mark.parametrize("turn", [PALM, BACK])
def test_an_open_hand_hides_no_joint(model, turn):
    assert hidden(model, np.zeros((15, 3)), turn) == set()


def test_a_fist_hides_its_fingertips_from_behind_and_its_knuckles_from_the_front(model):
    behind = hidden(model, fist(), BACK)
    assert {f"{finger}4" for finger in ("index", "middle", "ring", "little")} <= behind
    assert not {f"{finger}1" for finger in ("index", "middle", "ring", "little")} & behind
    assert "middle4" not in hidden(model, fist(), PALM)


def test_the_size_makes_no_difference_and_what_is_not_finite_hides_nothing(model):
    vertices = model(torch.zeros(1, 15, 3), torch.zeros(1, 10))
    joints, mesh = model.skeleton(vertices)[0].numpy(), vertices[0].numpy() + np.nan
    assert not occluded_joints(joints, mesh, model.triangles.numpy()).any()
