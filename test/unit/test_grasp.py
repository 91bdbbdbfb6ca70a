"""Objects in the hand, and their distances from the fingers, on rendered depth images."""

from dataclasses import replace

import numpy as np
import pytest
from grasp_scenes import CAMERA, WALL_M, scene

from dhpe_ros.geometry.grasp import find_grasps
from dhpe_ros.types import Scale, Side

REACH_M = 0.05
SHAPES = ("sphere", "cylinder", "box")
SIDES = pytest.mark.parametrize("side", Side, ids=lambda side: side.name)


def grasp_of(seen, depth_m=None):
    (grasp,) = find_grasps(
        [seen.hand], seen.noisy_m() if depth_m is None else depth_m, CAMERA, REACH_M
    )
    return grasp


@SIDES
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("turn_deg", [(0, 0, 0), (-45, 0, 0), (150, 0, 0)], ids=str)
def test_the_points_are_those_of_the_held_object(shape, side, turn_deg):
    seen = scene(shape, side, turn_deg)
    points_m = grasp_of(seen).points_m
    assert np.abs(seen.held.distances_m(points_m)).max() < 0.008
    visible = seen.held_mask.sum() / 9  # three pixels are the pitch
    assert len(points_m) > 0.3 * visible, "in part close to the hand, or out of reach"


@SIDES
@pytest.mark.parametrize("shape", SHAPES[:2])
def test_both_fingers_that_touch_an_object_are_near_it(shape, side):
    distances_m = grasp_of(scene(shape, side, (30, 20, 0))).distances_m
    assert distances_m[:2].max() < 0.01


@SIDES
@pytest.mark.parametrize("shape", SHAPES)
def test_a_touching_finger_and_one_that_does_not_are_told_apart(shape, side):
    seen = scene(shape, side, (-45, 0, 0))  # from the thumb's side
    distances_m = grasp_of(seen).distances_m
    assert distances_m[1] < 0.006
    for found_m, true_m in zip(distances_m[2:], seen.distances_m[2:], strict=True):
        assert abs(found_m - true_m) < 0.005 or (found_m == np.inf and true_m > REACH_M)


@SIDES
@pytest.mark.parametrize(
    ("turn_deg", "wall_m"),
    [((0, 0, 0), 0.57), ((-60, 0, 0), WALL_M), ((0, 60, 0), WALL_M)],  # once just behind it
    ids=str,
)
def test_an_empty_hand_holds_nothing(side, turn_deg, wall_m):
    grasp = grasp_of(scene(None, side, turn_deg, wall_m=wall_m))
    assert len(grasp.points_m) == 0
    assert np.isposinf(grasp.distances_m).all()


@SIDES
def test_what_the_back_of_the_hand_hides_is_unknown(side):
    assert np.isnan(grasp_of(scene(None, side, (180, 0, 0))).distances_m).all()


def test_a_finger_behind_an_object_is_unknown():
    assert np.isnan(grasp_of(scene("box", turn_deg=(60, 0, 0))).distances_m[1])


def test_without_measurements_nothing_is_known():
    grasp = grasp_of(scene("box"), np.full((480, 640), np.nan, np.float32))
    assert len(grasp.points_m) == 0
    assert np.isnan(grasp.distances_m).all()


@pytest.mark.parametrize(("name", "value"), [("scale", Scale.LEARNED), ("intrinsics_known", False)])
def test_a_hand_that_the_depth_image_did_not_place_has_no_grasp(name, value):
    seen = scene("box", turn_deg=(-45, 0, 0))
    grasp = grasp_of(replace(seen, hand=replace(seen.hand, **{name: value})))
    assert len(grasp.points_m) == 0
    assert np.isnan(grasp.distances_m).all()


def test_the_reach_bounds_the_points():
    seen = scene("box", turn_deg=(-45, 0, 0))
    depth_m = seen.noisy_m()
    near, far = (
        find_grasps([seen.hand], depth_m, CAMERA, reach_m)[0].points_m for reach_m in (0.015, 0.05)
    )
    assert 0 < len(near) < 0.7 * len(far)


def test_the_other_hand_is_no_object():
    hands = [scene(None, side, (turn, 0, 0), (x, 0, 0.5)) for side, turn, x in (
        (Side.LEFT, -50, -0.03), (Side.RIGHT, -50, 0.03))]  # fmt: skip
    depth_m = np.minimum(*(seen.depth_m for seen in hands)).astype(np.float32)
    alone = find_grasps([hands[0].hand], depth_m, CAMERA, REACH_M)
    both = find_grasps([seen.hand for seen in hands], depth_m, CAMERA, REACH_M)
    assert len(alone[0].points_m) > 0
    assert [len(grasp.points_m) for grasp in both] == [0, 0]


@pytest.mark.parametrize("shift_px", [(250, 0), (-290, 100), (0, 3000)])
def test_a_hand_may_reach_out_of_the_image(shift_px):
    seen = scene("box", turn_deg=(-45, 0, 0))
    across, down = shift_px
    camera = CAMERA.cut(-across, -down, CAMERA.width, CAMERA.height)
    shift = np.float32((across, down, 0))
    hand = replace(
        seen.hand,
        vertices_px=seen.hand.vertices_px + shift,
        joints_px=seen.hand.joints_px + shift[:2],
    )
    depth_m = np.full((480, 640), WALL_M, np.float32)
    x, y = np.arange(640) - across, np.arange(480) - down
    x_in, y_in = (x >= 0) & (x < 640), (y >= 0) & (y < 480)
    depth_m[np.ix_(y_in, x_in)] = seen.depth_m[np.ix_(y[y_in], x[x_in])]
    (grasp,) = find_grasps([hand], depth_m, camera, REACH_M)
    assert np.abs(seen.held.distances_m(grasp.points_m)).max(initial=0) < 0.008
    assert not (grasp.distances_m < REACH_M).any() or len(grasp.points_m)
