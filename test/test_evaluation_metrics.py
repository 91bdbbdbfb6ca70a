"""Metrics against values computed by hand."""

import numpy as np
import pytest

from dhpe_ros.evaluation.metrics import (
    align_by_bone,
    area_under,
    errors_2d_pct,
    errors_3d_mm,
    hand_side_of_wrist,
    jitter_mm,
    lag_frames,
    mask_iou,
    pck_curve,
)
from dhpe_ros.types import MIDDLE_MCP


def hand_m() -> np.ndarray:
    """Joints at random, half a metre away, the middle finger's proximal bone 40 mm long."""
    joints = np.random.default_rng(0).normal((0, 0, 0.5), 0.04, (21, 3))
    joints[MIDDLE_MCP + 1] = joints[MIDDLE_MCP] + (0, 0.04, 0)
    return joints


def test_place_and_size_do_not_count_but_the_view_does():
    truth = hand_m()
    np.testing.assert_allclose(align_by_bone(1.7 * truth + 0.3, truth), truth)
    mirrored = truth * (1, 1, -1)
    errors = errors_3d_mm(mirrored, truth)
    depth = np.abs(truth[:, 2] - truth[MIDDLE_MCP, 2])
    np.testing.assert_allclose(errors, 2000 * depth)


def test_a_wrong_reference_bone_scales_the_whole_hand():
    truth = hand_m()
    found = truth.copy()
    found[MIDDLE_MCP + 1, 1] += 0.04  # twice as long: everything else is halved
    errors = errors_3d_mm(found, truth)
    reach = 1000 * np.linalg.norm(truth - truth[MIDDLE_MCP], axis=1)
    np.testing.assert_allclose(np.delete(errors, MIDDLE_MCP + 1), np.delete(reach / 2, 10))
    assert errors[MIDDLE_MCP + 1] == pytest.approx(0)


def test_a_bone_without_length_gives_a_finite_error():
    assert np.isfinite(errors_3d_mm(np.zeros((21, 3)), hand_m())).all()


def test_each_joint_has_its_own_curve_over_the_hands_that_show_it():
    errors = np.array([[10.0, 10.0, 10.0], [30.0, 30.0, 30.0]])
    visible = np.array([[True, True, False], [True, False, False]])
    curve = pck_curve(errors, np.array([5.0, 10.0, 29.9, 30.0]), visible)
    # The first joint: 0, 1/2, 1/2, 1; the second: 0, 1, 1, 1; the third is never seen.
    np.testing.assert_allclose(curve, [0, 0.75, 0.75, 1])
    np.testing.assert_allclose(pck_curve(errors, np.array([10.0, 30.0])), [0.5, 1])


def test_the_area_is_the_trapezoids_over_the_range():
    thresholds = np.array([20.0, 30.0, 50.0])
    assert area_under(np.array([0.2, 0.4, 1.0]), thresholds) == pytest.approx((3 + 14) / 30)
    assert area_under(np.ones(3), thresholds) == pytest.approx(1)


def test_the_curve_of_a_published_tracker_has_the_published_area():
    """PSO on STB: 7 points at 20 to 50 mm in hand3d; METHOD and paper give 0.709."""
    pso = np.array(
        [0.32236842, 0.53947368, 0.67434211, 0.75657895, 0.80921053, 0.86513158, 0.89473684]
    )
    assert area_under(pso, np.arange(20.0, 51, 5)) == pytest.approx(0.709, abs=5e-4)


def test_2d_errors_are_parts_of_the_longer_side():
    truth = np.zeros((21, 2))
    truth[3], truth[5] = (200, 10), (0, 80)
    np.testing.assert_allclose(
        errors_2d_pct(truth + np.array((6, 8)), truth), 5
    )  # 10 pixels of 200
    assert np.isfinite(errors_2d_pct(truth, np.zeros((21, 2)))).all()


def test_masks_overlap_by_intersection_over_union():
    a, b = np.zeros((2, 10, 10), bool)
    a[:, :6] = True
    b[:, 3:9] = True
    assert mask_iou(a, b) == pytest.approx(30 / 90)
    left = np.broadcast_to(np.arange(10) < 5, (10, 10))
    assert mask_iou(a, b, left) == pytest.approx(20 / 50)
    assert mask_iou(~a & a, b & ~b) == 1


def test_the_forearm_lies_beyond_the_wrist_across_the_hand():
    joints = np.full((21, 2), 5.0)
    joints[0], joints[MIDDLE_MCP] = (5, 7), (5, 3)  # fingers up
    counted = hand_side_of_wrist(joints, 10, 8)
    assert counted[:8].all()
    assert not counted[8:].any()
    joints[0], joints[MIDDLE_MCP] = (2, 2), (5, 5)  # fingers to the lower right
    slanted = hand_side_of_wrist(joints, 10, 8)
    rows, columns = np.indices((10, 8))
    np.testing.assert_array_equal(slanted, rows + columns >= 4)


def moving_hand_m() -> np.ndarray:
    """Thirty frames: fingers go to and fro, each at its own pace, while the hand wanders."""
    frames = np.arange(32)[:, None, None]
    paces = np.random.default_rng(1).uniform(0.1, 0.3, (21, 3))
    return hand_m() + 0.02 * np.sin(frames * paces) + 0.003 * frames


def test_steady_errors_and_true_movement_are_no_jitter():
    truth = moving_hand_m()
    assert jitter_mm(truth + 0.01, truth) == pytest.approx((0, 0), abs=1e-9)
    shaken = truth + 0.001 * (-1.0) ** np.arange(len(truth))[:, None, None] * (1, 0, 0)
    assert jitter_mm(shaken, truth) == pytest.approx((0, 4), abs=1e-9)
    shaken[10] = np.nan
    assert jitter_mm(shaken, truth) == pytest.approx((0, 4), abs=1e-9)


def test_what_comes_late_lags_by_as_many_frames():
    truth = moving_hand_m()
    assert lag_frames(truth + 0.01, truth) == pytest.approx(0, abs=1e-6)
    assert lag_frames(truth[:-1], truth[1:]) == pytest.approx(1, abs=0.1)
    assert lag_frames(truth[1:], truth[:-1]) == pytest.approx(-1, abs=0.1)
