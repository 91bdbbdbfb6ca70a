"""Absolute size: from a depth image, a setting, or what was seen before."""

from dataclasses import replace

import numpy as np
import pytest
from fake_tracker import make_hand

from dhpe_ros.config import ScaleConfig
from dhpe_ros.geometry.scale import HandScales, depth_ratio, hand_length_m, plausible, scaled
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.types import Scale

SIZE = (480, 640)
LEARNS = ScaleConfig(learn_seconds=2.0)
MIDDLE_TIP = 104  # vertex of the open hand


def hand_at(distance_m, track_id=1, factor=1.0):
    """A round surface before the camera that all of the image's middle shows."""
    rng = np.random.default_rng(0)
    normals = rng.normal(size=(778, 3)).astype(np.float32)
    normals /= np.linalg.norm(normals, axis=1, keepdims=True)
    vertices_m = (normals * 0.05 + (0, 0, distance_m)).astype(np.float32)
    vertices_px = vertices_m.copy()
    vertices_px[:, :2] = vertices_m[:, :2] / vertices_m[:, 2:] * 500 + (320, 240)
    hand = replace(
        make_hand(track_id=track_id),
        vertices_m=vertices_m,
        vertices_px=vertices_px,
        normals=normals,
    )
    return scaled(hand, factor, Scale.ESTIMATED)


def depth_image_of(hand, background_m=1.5):
    """The front of ``hand_at``'s surface before a wall."""
    depth_m = np.full(SIZE, background_m, np.float32)
    front = hand.normals[:, 2] < 0
    x, y = np.rint(hand.vertices_px[front, :2]).astype(int).T
    depth_m[y, x] = hand.vertices_m[front, 2]
    return depth_m


def test_a_scaled_hand_looks_the_same_and_is_farther_away():
    hand = hand_at(0.6)
    larger = scaled(hand, 1.25, Scale.KNOWN)
    np.testing.assert_allclose(
        larger.vertices_m[:, :2] / larger.vertices_m[:, 2:],
        hand.vertices_m[:, :2] / hand.vertices_m[:, 2:],
        rtol=1e-5,
    )
    assert hand_length_m(larger.joints_m) == pytest.approx(1.25 * hand_length_m(hand.joints_m))
    assert larger.scale is Scale.KNOWN
    assert larger.joints_px is hand.joints_px


def test_the_length_of_a_hand_does_not_depend_on_how_it_is_bent():
    joints_m = np.zeros((21, 3))
    joints_m[[9, 10, 11, 12]] = ((0, 0.09, 0), (0, 0.14, 0), (0, 0.14, 0.03), (0, 0.12, 0.03))
    assert hand_length_m(joints_m) == pytest.approx(0.09 + 0.05 + 0.03 + 0.02)


@pytest.mark.parametrize("factor", [0.8, 1.0, 1.3])
def test_a_depth_image_tells_the_distance(factor):
    true = hand_at(0.6)
    estimated = scaled(true, factor, Scale.ESTIMATED)
    assert depth_ratio(estimated, depth_image_of(true)) == pytest.approx(1 / factor, rel=1e-3)


def test_what_hides_a_third_of_the_hand_and_missing_depths_do_not_matter():
    true = hand_at(0.6)
    depth_m = depth_image_of(true)
    depth_m[:, :305] = 0.35  # an object before it
    depth_m[:200] = np.nan
    assert depth_ratio(true, depth_m) == pytest.approx(1.0, abs=0.01)


def test_a_depth_image_without_depths_tells_nothing():
    hand = hand_at(0.6)
    assert depth_ratio(hand, np.full(SIZE, np.nan, np.float32)) is None
    outside = replace(hand, vertices_px=hand.vertices_px + np.float32((5000, 0, 0)))
    assert depth_ratio(outside, depth_image_of(hand)) is None


@pytest.mark.parametrize("unit", [0.1, 0.25, 0.5, 5.0])  # millimetres, of drivers and data sets
@pytest.mark.parametrize("config", [LEARNS, ScaleConfig(hand_length=0.19)])
def test_depth_that_no_hand_could_have_is_not_used(config, unit):
    """Whoever reads 16UC1 takes its unit for a millimetre."""
    scales, true = HandScales(1.0), hand_at(0.6)
    depth_m = depth_image_of(true) / unit
    (hand,) = scales.applied([true], config, depth_m, 0.0)
    (alone,) = HandScales(1.0).applied([true], config, None, 0.0)
    assert hand.scale is alone.scale is not Scale.DEPTH
    np.testing.assert_array_equal(hand.joints_m, alone.joints_m)
    ratio = depth_ratio(hand, depth_m)
    assert not plausible(hand, ratio)
    # what is not used is not learned from either
    assert scales.applied([true], LEARNS, None, 0.1)[0].scale is Scale.ESTIMATED


def test_a_wall_that_most_of_a_hand_seems_to_lie_on_does_not_hide_the_rest():
    true = hand_at(0.6)
    depth_m = depth_image_of(true, background_m=3.0)
    depth_m[:, 300:] = 3.0
    assert depth_ratio(true, depth_m) == pytest.approx(1.0, abs=0.01)


def test_where_the_lens_is_assumed_a_depth_may_make_a_hand_twice_as_long():
    true = hand_at(0.6)
    for known, expected in ((True, Scale.ESTIMATED), (False, Scale.DEPTH)):
        hand, twice_as_far = replace(true, intrinsics_known=known), depth_image_of(true) * 2
        assert HandScales(1.0).applied([hand], LEARNS, twice_as_far, 0.0)[0].scale is expected


def test_a_known_length_is_that_of_a_tape():
    model, hand = HandModel(hand_model_path()), hand_at(0.6)
    vertices_m = model.template.T[None]
    joints_m, vertices_m = model.skeleton(vertices_m)[0].numpy(), vertices_m[0].numpy()
    hand = replace(hand, joints_m=0.8 * joints_m, vertices_m=0.8 * vertices_m)
    scales = HandScales(model.length_ratio)
    (hand,) = scales.applied([hand], ScaleConfig(hand_length=0.19), None, 0.0)
    tape_m = np.linalg.norm(hand.vertices_m[MIDDLE_TIP] - hand.joints_m[0])
    assert tape_m == pytest.approx(0.19)


def test_a_known_length_is_kept_to_and_a_depth_image_is_better():
    known, scales = ScaleConfig(hand_length=0.19), HandScales(1.0)
    (hand,) = scales.applied([hand_at(0.6)], known, None, 0.0)
    assert hand_length_m(hand.joints_m) == pytest.approx(0.19)
    assert hand.scale is Scale.KNOWN
    depth_m = depth_image_of(hand_at(0.6))
    (hand,) = scales.applied([hand_at(0.6, factor=1.2)], known, depth_m, 0.1)
    assert hand.scale is Scale.DEPTH
    assert np.median(hand.vertices_m[:, 2]) == pytest.approx(0.6, abs=0.01)


def test_a_size_is_learned_over_the_first_seconds_and_then_kept():
    scales = HandScales(1.0)
    factors = (0.9, 1.0, 1.1, 1.0, 1.5, 1.5)
    seen = [
        scales.applied([hand_at(0.6, factor=factor)], LEARNS, None, 0.6 * k)[0]
        for k, factor in enumerate(factors)
    ]
    true = hand_length_m(hand_at(0.6).joints_m)
    assert [hand.scale for hand in seen] == [Scale.ESTIMATED] * 4 + [Scale.LEARNED] * 2
    assert hand_length_m(seen[-1].joints_m) == pytest.approx(true, rel=1e-4)


def test_a_size_that_a_depth_image_told_outlives_it_but_not_the_hand():
    scales = HandScales(1.0)
    depth_m = depth_image_of(hand_at(0.6))
    scales.applied([hand_at(0.6, factor=1.2)], LEARNS, depth_m, 0.0)
    (hand,) = scales.applied([hand_at(0.6, factor=0.8)], LEARNS, None, 0.1)
    assert hand.scale is Scale.LEARNED
    assert np.median(hand.vertices_m[:, 2]) == pytest.approx(0.6, abs=0.01)
    scales.keep(set())
    (hand,) = scales.applied([hand_at(0.6, factor=0.8)], LEARNS, None, 0.2)
    assert hand.scale is Scale.ESTIMATED


def test_each_hand_has_its_own_size():
    scales = HandScales(1.0)
    both = [hand_at(0.6, track_id=1), hand_at(0.6, track_id=2, factor=0.7)]
    for time_s in (0.0, 3.0):
        small, large = (hand_length_m(h.joints_m) for h in reversed(
            scales.applied(both, LEARNS, None, time_s)))  # fmt: skip
    assert small == pytest.approx(0.7 * large)
