"""The search, with evidence networks that know where the hand is."""

import numpy as np
import pytest
import torch

from dhpe_ros.config import TrackingConfig
from dhpe_ros.evidence import Evidence
from dhpe_ros.hand_search import find_hand, joints_box, told_side
from dhpe_ros.types import Box, Side, Target

WHOLE = Target(Box(0, 0, 640, 480))
IMAGE = np.zeros((480, 640, 3), np.uint8)


class KnowsTheHand:
    """Sees the hand at ``joints_px`` in every crop that holds it; the surer, the larger it is."""

    def __init__(self, joints_px, side):
        self.joints_px, self.side = joints_px, side
        self.crops = 0

    def __call__(self, crops):
        self.crops += len(crops)
        joints, sure, right = [], [], []
        for crop in crops:
            inside = crop.to_crop(self.joints_px)
            part = np.ptp(inside, axis=0).max() / 2
            holds = np.abs(inside).max() < 1
            joints.append(inside if holds else np.zeros((21, 2)))
            sure.append(np.full(21, min(1.0, 2 * part) if holds else 0.05))
            looks_right = (self.side is Side.RIGHT) != crop.mirrored
            right.append(0.8 if looks_right else 0.6)  # as biased as a network can be
        as_tensor = [torch.tensor(np.array(v), dtype=torch.float32) for v in (joints, sure, right)]
        return Evidence(torch.zeros(len(crops), 2048), *as_tensor)


def _joints(x, y, size):
    return np.random.default_rng(0).uniform(-0.5, 0.5, (21, 2)) * size + (x, y)


@pytest.mark.parametrize("side", [Side.LEFT, Side.RIGHT])
@pytest.mark.parametrize(("x", "y", "size"), [(320, 240, 300), (90, 80, 70), (560, 400, 80)])
def test_a_hand_anywhere_is_found_with_its_side(side, x, y, size):
    joints = _joints(x, y, size)
    see = KnowsTheHand(joints, side)
    target = find_hand(IMAGE, WHOLE, see, TrackingConfig(), everywhere=True)
    assert target.side is side
    assert not target.side_is_told
    assert target.box.overlap(joints_box(joints, TrackingConfig())) > 0.99
    assert see.crops < 120


def test_nothing_to_see_is_no_hand():
    see = KnowsTheHand(_joints(-500, -500, 50), Side.RIGHT)
    assert find_hand(IMAGE, WHOLE, see, TrackingConfig(), everywhere=True) is None


def test_a_given_box_is_looked_at_and_nothing_else():
    see = KnowsTheHand(_joints(560, 400, 80), Side.RIGHT)
    area = Target(Box(0, 0, 200, 200))
    assert find_hand(IMAGE, area, see, TrackingConfig()) is None
    area = Target(Box(480, 300, 170, 170))
    assert find_hand(IMAGE, area, see, TrackingConfig()) is not None


def test_a_told_side_is_kept_and_a_believed_one_is_not():
    see = KnowsTheHand(_joints(320, 240, 300), Side.RIGHT)
    left = Target(WHOLE.box, Side.LEFT)
    assert find_hand(IMAGE, left, see, TrackingConfig()).side is Side.LEFT
    believed = Target(WHOLE.box, Side.LEFT, side_is_told=False)
    assert find_hand(IMAGE, believed, see, TrackingConfig()).side is Side.RIGHT
    assert told_side(believed, TrackingConfig(side="left")) is Side.LEFT
    assert told_side(believed, TrackingConfig()) is None


@pytest.mark.parametrize("shape", [(600, 6000), (6000, 600), (3, 900), (1, 1)])
def test_the_work_is_bounded_for_any_shape(shape):
    see = KnowsTheHand(_joints(-500, -500, 50), Side.RIGHT)
    height, width = shape
    find_hand(np.zeros((*shape, 3), np.uint8), Target(Box(0, 0, width, height)), see,
              TrackingConfig(), everywhere=True)  # fmt: skip
    assert see.crops < 100
