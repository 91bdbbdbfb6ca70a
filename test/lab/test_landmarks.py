"""Joints as people see them: the offset between two ways to mark them is found in noisy marks."""

import cv2
import numpy as np
import photographs
import pytest

from dhpe_lab.hand_building.landmarks import add_landmarks, calibrate, marked, rendered_hands
from dhpe_lab.synthesis.synthesis import RENDER_SIZE, random_hands
from dhpe_ros.hand.mano_file import read_mano_file
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.types import JOINT_COUNT

HANDS = 1000


@pytest.fixture(scope="module")
def model():
    return HandModel(hand_model_path())


@pytest.fixture(scope="module")
def offset():
    """Tips marked in the pulp, wrist and thumb root towards the index knuckle; the rest as is."""
    matrix = np.eye(JOINT_COUNT)
    for tip in range(4, JOINT_COUNT, 4):
        matrix[tip, [tip, tip - 1]] = 0.8, 0.2
    matrix[0, [0, 5]] = 0.85, 0.15
    matrix[1, [1, 2, 5]] = 0.8, 0.12, 0.08
    return matrix


@pytest.fixture(scope="module")
def joints(model):
    """(1000, 21, 2) pixels of posed hands, seen from all sides."""
    hands = random_hands(model, HANDS, np.random.default_rng(3))
    return np.stack([hand.project(hand.joints_m)[:, :2] for hand in hands])


@pytest.fixture(scope="module")
def marks(joints, offset):
    """With the offset, half a pixel of noise, and every seventh hand marked as another one."""
    marks = offset @ joints + np.random.default_rng(1).normal(0, 0.5, joints.shape)
    marks[::7] = np.roll(marks, 3, axis=0)[::7]
    return marks


def test_a_known_offset_is_found_between_noise_and_wrong_hands(joints, marks, offset):
    found = calibrate(joints, marks)
    right = np.arange(HANDS) % 7 > 0
    away = np.linalg.norm((found.landmarks - offset) @ joints[right], axis=2).mean(0)
    assert away.max() < 0.4  # pixels; the offset itself is up to 10
    assert found.hands <= right.sum()
    assert found.hands > 0.9 * right.sum()


def test_rows_sum_to_one_so_that_landmarks_move_with_the_hand(joints, marks):
    landmarks = calibrate(joints, marks).landmarks
    np.testing.assert_allclose(landmarks.sum(1), 1, atol=1e-9)


def test_a_joint_is_combined_with_those_of_its_finger_and_the_palm_alone(joints, marks):
    used = np.abs(calibrate(joints, marks).landmarks) > 0
    palm = {0, 1, 5, 9, 13, 17}
    for joint in range(1, JOINT_COUNT):
        finger = set(range(joint - (joint - 1) % 4, joint - (joint - 1) % 4 + 4))
        assert set(np.flatnonzero(used[joint])) <= finger | (palm if joint in palm else {0})
    assert set(np.flatnonzero(used[0])) <= palm


def test_what_it_mends_is_told_of_hands_held_back(joints, marks):
    found = calibrate(joints, marks)
    assert found.before_pct.shape == found.after_pct.shape == (JOINT_COUNT,)
    moved = [0, 1, *range(4, JOINT_COUNT, 4)]
    assert (found.after_pct[moved] < 0.6 * found.before_pct[moved]).all()
    still = np.setdiff1d(np.arange(JOINT_COUNT), moved)
    np.testing.assert_allclose(found.after_pct[still], found.before_pct[still], atol=0.1)


def test_single_wrong_marks_do_not_pull(joints, offset):
    marks = offset @ joints
    marks[::10, 8] += 12  # of one joint, always to the same side
    found = calibrate(joints, marks)
    away = np.linalg.norm((found.landmarks - offset)[8] @ joints, axis=1).mean()
    assert away < 0.4


def test_too_few_hands_are_an_error_with_the_remedy(joints, marks):
    with pytest.raises(ValueError, match=r"only \d+ hands agree with the model; render more"):
        calibrate(joints[:300], marks[:300])
    with pytest.raises(ValueError, match="only 0 hands agree"):
        calibrate(joints, joints + 40)


def test_adding_landmarks_leaves_the_rest_of_the_file_alone(tmp_path, offset):
    path = tmp_path / "hand.npz"
    path.write_bytes(hand_model_path().read_bytes())
    add_landmarks(path, offset)
    np.testing.assert_allclose(read_mano_file(path).extras["landmarks"], offset, atol=1e-6)
    with np.load(path) as new, np.load(hand_model_path()) as old:
        assert set(new.files) == set(old.files)
        for key in set(old.files) - {"landmarks"}:
            assert new[key].dtype == old[key].dtype, key
            assert np.array_equal(new[key], old[key]), key
    assert list(tmp_path.iterdir()) == [path]


def test_pivots_lie_on_the_rendered_hands(model):
    pictures, pivots = rendered_hands(model, 4, seed=1)
    assert pictures.shape == (4, 2 * RENDER_SIZE, 2 * RENDER_SIZE, 3)
    assert pivots.shape == (4, JOINT_COUNT, 2)
    again, _ = rendered_hands(model, 4, seed=1)
    assert np.array_equal(pictures, again)
    for picture, points in zip(pictures, pivots, strict=True):
        wall = picture[0, 0].astype(float)
        column, row = np.clip(points.astype(int), 0, 2 * RENDER_SIZE - 1).T
        on_hand = np.abs(picture[row, column] - wall).max(1) > 4
        assert on_hand.mean() > 0.8


def test_marks_of_a_seen_hand_lie_near_its_joints_and_of_none_are_nan(model):
    pytest.importorskip("mediapipe", reason="mediapipe is not installed")
    photo = next(p for p in photographs.take(model, 12, seed=4) if p.hand.rotation[2, 1] > 0.8)
    seen = cv2.resize(photo.image, None, fx=2, fy=2)
    marks = marked(np.stack((np.full_like(seen, 128), seen)))
    assert np.isnan(marks[0]).all()
    joints = 2 * (photo.sample.joints_px + 0.5)
    assert np.linalg.norm(marks[1] - joints, axis=1).mean() < 0.1 * np.ptp(joints, axis=0).max()
