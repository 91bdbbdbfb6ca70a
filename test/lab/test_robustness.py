"""Hands in other boxes, and turned in the picture: the labels go along."""

import cv2
import numpy as np
import pytest

from dhpe_lab.datasets.labelled_hand import LabelledHand
from dhpe_lab.evaluation.robustness import JITTER, TURNS_DEG, DisturbedSet, disturbed
from dhpe_ros.types import Box, Side


@pytest.fixture(scope="module")
def labelled(tmp_path_factory):
    """A dark picture with a bright square of five pixels at each joint."""
    joints = np.array([(40 + 12 * (k % 5), 30 + 12 * (k // 5)) for k in range(21)], float)
    image = np.zeros((100, 140, 3), np.uint8)
    for x, y in joints.astype(int):
        image[y - 2 : y + 3, x - 2 : x + 3] = 255
    file = tmp_path_factory.mktemp("squares") / "squares.png"
    cv2.imwrite(str(file), image)
    hand = LabelledHand(file, joints, Side.LEFT)
    return DisturbedSet("squares", [hand] * 30)


@pytest.mark.parametrize("degrees", TURNS_DEG)
def test_joints_turn_with_the_picture(labelled, degrees):
    turned = DisturbedSet("squares", labelled.hands[:1], turn_deg=degrees)
    ((hand, image),) = turned.pictures()
    x, y = hand.joints_px.round().astype(int).T
    assert (image[y, x] > 200).all()
    bright = (image > 200).all(2).sum()
    assert bright == pytest.approx(21 * 25, rel=0.15), "all of them are still in the picture"


def test_a_turn_is_anticlockwise_about_the_middle(labelled):
    ((before, _),) = DisturbedSet("squares", labelled.hands[:1]).pictures()
    ((after, _),) = DisturbedSet("squares", labelled.hands[:1], turn_deg=90).pictures()
    x, y = (before.joints_px - before.joints_px.min(0)).T
    assert np.allclose(after.joints_px - after.joints_px.min(0), np.column_stack((y, x.max() - x)))


def test_boxes_are_as_far_off_as_is_said(labelled):
    (plain, jittered) = (disturbed(labelled)[n] for n in ("as they are", "boxes 20 % off"))
    ((first, _), *_) = plain.pictures()
    side = first.box.width
    assert first.box == Box.around(first.joints_px).squared(1.8)
    boxes = [hand.box for hand, _ in jittered.pictures()]
    sizes = np.array([box.width / side for box in boxes])
    shifts = np.array([np.subtract(box.center, first.box.center) / side for box in boxes])
    for off in (sizes - 1, shifts[:, 0], shifts[:, 1]):
        assert 0.6 * JITTER < abs(off).max() < JITTER
    assert boxes == [hand.box for hand, _ in jittered.pictures()], "the same again"
