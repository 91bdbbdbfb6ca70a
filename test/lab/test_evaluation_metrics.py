"""Metrics against values computed by hand."""

from itertools import pairwise

import numpy as np
import pytest

from dhpe_lab.evaluation.metrics import (
    ABSOLUTE,
    ALIGNMENTS,
    PROCRUSTES,
    ROOT,
    ROOT_AND_SCALE,
    SHIFT,
    area_under,
    calibrate,
    count_pixels,
    errors_2d_pct,
    errors_3d_mm,
    hand_side_of_wrist,
    jitter,
    jitter_mm,
    lag_frames,
    pck_curve,
    pooled,
    similarity,
)
from dhpe_ros.types import MIDDLE_MCP


def hand_m() -> np.ndarray:
    """Joints at random, half a metre away, the middle finger's proximal bone 40 mm long."""
    joints = np.random.default_rng(0).normal((0, 0, 0.5), 0.04, (21, 3))
    joints[MIDDLE_MCP + 1] = joints[MIDDLE_MCP] + (0, 0.04, 0)
    return joints


def test_place_and_size_do_not_count_but_the_view_does():
    truth = hand_m()
    found = 1.7 * truth + 0.3
    np.testing.assert_allclose(similarity(found, truth, ROOT_AND_SCALE).apply(found), truth)
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


def test_every_alignment_takes_away_what_it_says():
    truth = hand_m()
    c, s = np.cos(0.4), np.sin(0.4)
    turned = truth @ np.array(((c, -s, 0), (s, c, 0), (0, 0, 1)))
    left = {  # of a hand that is moved, too large, or turned: which alignments leave no error
        "moved": (truth + np.array((0.01, 0.02, 0.03)), {ROOT, ROOT_AND_SCALE, SHIFT, PROCRUSTES}),
        "large": (1.2 * truth, {ROOT_AND_SCALE, PROCRUSTES}),
        "turned": (turned, {PROCRUSTES}),
        "mirrored": (truth * (1, 1, -1), set()),
        "same": (truth, set(ALIGNMENTS)),
    }
    for name, (found, exact) in left.items():
        for how in ALIGNMENTS:
            error = errors_3d_mm(found, truth, how).mean()
            assert (error < 1e-6) == (how in exact), (name, how, error)
    moved = errors_3d_mm(truth + np.array((0.003, 0.004, 0)), truth, ABSOLUTE)
    np.testing.assert_allclose(moved, 5)


def test_tips_alone_are_aligned_by_what_they_allow():
    truth, tips = hand_m(), [4, 8, 12, 16, 20]
    tips_only = np.full((21, 3), np.nan)
    tips_only[tips[:4]] = truth[tips[:4]]
    found = truth + np.array((0.0, 0.0, 0.05))
    assert errors_3d_mm(found, tips_only, ROOT) is None
    assert errors_3d_mm(found, tips_only, ROOT_AND_SCALE) is None
    for how, mm in ((ABSOLUTE, 50), (SHIFT, 0), (PROCRUSTES, 0)):
        errors = errors_3d_mm(found, tips_only, how)
        np.testing.assert_allclose(errors[tips[:4]], mm, atol=1e-6)
        assert np.isnan(np.delete(errors, tips[:4])).all()
    # Unknown joints count in no curve: the fifth tip is never seen, the others always are right.
    errors = errors_3d_mm(found, tips_only, SHIFT)[None]
    np.testing.assert_allclose(pck_curve(errors, np.array([1.0, 2.0])), 1)


def test_the_area_is_that_of_hand3d():
    """Joint by joint over what is visible, the mean of the curves, trapezoids over the range."""
    rng = np.random.default_rng(3)
    errors, visible = rng.uniform(0, 70, (40, 21)), rng.random((40, 21)) < 0.7
    visible[:, 5] = False
    thresholds, curves = np.linspace(20, 50, 20), []
    for joint in range(21):
        seen = [errors[k, joint] for k in range(40) if visible[k, joint]]
        if seen:
            curves.append([sum(e <= t for e in seen) / len(seen) for t in thresholds])
    mean = np.mean(curves, axis=0)
    area = sum((a + b) / 2 * (30 / 19) for a, b in pairwise(mean)) / 30
    found = pck_curve(errors, thresholds, visible)
    np.testing.assert_allclose(found, mean)
    assert area_under(found, thresholds) == pytest.approx(area)


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


def test_masks_are_compared_pixel_by_pixel():
    a, b = np.zeros((2, 10, 10), bool)
    a[:, :6] = True
    b[:, 3:9] = True
    found = count_pixels(a, b)
    assert found == (30, 30, 30)
    assert found.iou == pytest.approx(30 / 90)
    left = np.broadcast_to(np.arange(10) < 5, (10, 10))
    assert count_pixels(a, b, left) == (20, 30, 0)
    assert count_pixels(~a & a, b & ~b).iou == 1


def test_the_papers_four_mask_figures_fit_together_over_all_pixels():
    """Its Table 2: precision .828 and recall .753 give its F1 .789 and its IoU .651."""
    one, other = count_pixels(*_halves(60, 10, 0)), count_pixels(*_halves(15, 5, 24))
    both = pooled([one, other])
    assert both == (75, 15, 24)
    assert both.precision == pytest.approx(75 / 90)
    assert both.recall == pytest.approx(75 / 99)
    assert both.f1 == pytest.approx(150 / 189)
    assert both.iou == pytest.approx(both.f1 / (2 - both.f1))
    f1 = 2 * 0.828 * 0.753 / (0.828 + 0.753)
    assert f1 == pytest.approx(0.789, abs=1e-3)
    assert f1 / (2 - f1) == pytest.approx(0.651, abs=1e-3)


def _halves(shared: int, extra: int, missed: int) -> np.ndarray:
    """A found and a true mask with so many pixels in both and in one alone."""
    place = np.arange(100).reshape(10, 10)
    found = place < shared + extra
    return np.array((found, (place < shared) | ((place >= 90 - missed) & (place < 90))))


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


def test_jitter_leaves_out_frames_without_a_label_or_a_hand():
    truth = moving_hand_m()[..., :2]
    found = truth + 0.5 * (-1.0) ** np.arange(len(truth))[:, None, None] * (1, 0)
    found[4] = np.nan
    truth[20:, 8] = np.nan
    assert jitter(found, truth) == pytest.approx(2)
    assert np.isnan(jitter(found * np.nan, truth))


def test_a_number_that_orders_hands_by_their_error_is_calibrated():
    errors = np.array([3.0, 1.0, 5.0, 2.0, 4.0, 6.0])
    found = calibrate(10 * errors**2, errors, bins=3)
    assert found.rank_correlation == pytest.approx(1)
    assert found.bins == [(40.0, 1.5, 2), (160.0, 3.5, 2), (360.0, 5.5, 2)]
    assert calibrate(-errors, errors, bins=3).rank_correlation == pytest.approx(-1)
    # Ties share their places: 1.5, 1.5, 3.5, 3.5 against 1, 2, 3, 4 is 2 / sqrt(5).
    tied = calibrate(np.array([0.0, 0, 1, 1]), np.arange(4.0), bins=2)
    assert tied.rank_correlation == pytest.approx(2 / np.sqrt(5))
    assert calibrate(errors, errors, bins=4) is None


def test_what_comes_late_lags_by_as_many_frames():
    truth = moving_hand_m()
    assert lag_frames(truth + 0.01, truth) == pytest.approx(0, abs=1e-6)
    assert lag_frames(truth[:-1], truth[1:]) == pytest.approx(1, abs=0.1)
    assert lag_frames(truth[1:], truth[:-1]) == pytest.approx(-1, abs=0.1)
