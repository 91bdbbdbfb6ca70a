"""The search, with evidence networks that know where the hand is."""

import numpy as np
import pytest
import torch

from dhpe_ros.config import TrackingConfig
from dhpe_ros.evidence import Evidence
from dhpe_ros.hand_search import HandSearch, joints_box, told_side
from dhpe_ros.types import Box, Side, Target

WHOLE = Target(Box(0, 0, 640, 480))
IMAGE = np.zeros((480, 640, 3), np.uint8)


class KnowsTheHand:
    """Sees a hand in every crop that holds all of its joints; the surer, the larger it is."""

    def __init__(self, joints_px, side, *others):
        self.hands = [(joints_px, side), *others]
        self.crops = 0

    def __call__(self, crops):
        self.crops += len(crops)
        joints, sure, right = [], [], []
        for crop in crops:
            seen = [(crop.to_crop(joints_px), side) for joints_px, side in self.hands]
            seen = [(inside, side) for inside, side in seen if np.abs(inside).max() < 1]
            inside, side = max(seen, key=_size, default=(np.zeros((21, 2)), Side.RIGHT))
            joints.append(inside)
            sure.append(np.full(21, min(1.0, _size((inside, side))) if seen else 0.05))
            looks_right = (side is Side.RIGHT) != crop.mirrored
            right.append(0.8 if looks_right else 0.6)  # as biased as a network can be
        as_tensor = [torch.tensor(np.array(v), dtype=torch.float32) for v in (joints, sure, right)]
        return Evidence(torch.zeros(len(crops), 2048), *as_tensor)


def _size(seen):
    return np.ptp(seen[0], axis=0).max()


def _joints(x, y, size):
    return np.random.default_rng(0).uniform(-0.5, 0.5, (21, 2)) * size + (x, y)


@pytest.mark.parametrize("side", [Side.LEFT, Side.RIGHT])
@pytest.mark.parametrize(("x", "y", "size"), [(320, 240, 300), (90, 80, 70), (560, 400, 80)])
def test_a_hand_anywhere_is_found_with_its_side(side, x, y, size):
    joints = _joints(x, y, size)
    see = KnowsTheHand(joints, side)
    (target,) = HandSearch(see).everywhere(IMAGE, TrackingConfig())
    assert target.side is side
    assert not target.side_is_told
    assert target.box.overlap(joints_box(joints, TrackingConfig())) > 0.99
    assert see.crops < 140


def test_nothing_to_see_is_no_hand():
    see = KnowsTheHand(_joints(-500, -500, 50), Side.RIGHT)
    assert HandSearch(see).everywhere(IMAGE, TrackingConfig()) == []


def test_a_given_box_is_looked_at_and_nothing_else():
    see = KnowsTheHand(_joints(560, 400, 80), Side.RIGHT)
    area = Target(Box(0, 0, 200, 200))
    assert HandSearch(see).within(IMAGE, area, TrackingConfig()) is None
    area = Target(Box(480, 300, 170, 170))
    assert HandSearch(see).within(IMAGE, area, TrackingConfig()) is not None


def test_a_told_side_is_kept_and_a_believed_one_is_not():
    see = KnowsTheHand(_joints(320, 240, 300), Side.RIGHT)
    left = Target(WHOLE.box, Side.LEFT)
    assert HandSearch(see).within(IMAGE, left, TrackingConfig()).side is Side.LEFT
    believed = Target(WHOLE.box, Side.LEFT, side_is_told=False)
    assert HandSearch(see).within(IMAGE, believed, TrackingConfig()).side is Side.RIGHT
    assert told_side(believed, TrackingConfig(side="left")) is Side.LEFT
    assert told_side(believed, TrackingConfig()) is None


@pytest.mark.parametrize("shape", [(600, 6000), (6000, 600), (3, 900), (1, 1)])
def test_the_work_is_bounded_for_any_shape(shape):
    see = KnowsTheHand(_joints(-500, -500, 50), Side.RIGHT)
    height, width = shape
    HandSearch(see).everywhere(np.zeros((height, width, 3), np.uint8), TrackingConfig())
    assert see.crops < 120


def _two_hands():
    left, right = _joints(150, 200, 150), _joints(480, 260, 200)
    return KnowsTheHand(left, Side.LEFT, (right, Side.RIGHT)), left, right


def test_two_hands_are_found_the_larger_first_each_with_its_side():
    see, _, right = _two_hands()
    both = HandSearch(see).everywhere(IMAGE, TrackingConfig())
    assert [target.side for target in both] == [Side.RIGHT, Side.LEFT]
    assert both[0].box.overlap(joints_box(right, TrackingConfig())) > 0.99
    assert len(HandSearch(see).everywhere(IMAGE, TrackingConfig(max_hands=1))) == 1


def test_beside_a_known_hand_the_other_is_found_within_a_few_looks_and_the_known_one_never():
    see, left, right = _two_hands()
    search, known = HandSearch(see), [joints_box(right, TrackingConfig())]
    looks = [search.elsewhere(IMAGE, known, TrackingConfig()) for _ in range(12)]
    found = [target for look in looks for target in look]
    assert found
    assert all(t.box.overlap(joints_box(left, TrackingConfig())) > 0.99 for t in found)
    likely = [joints_box(left, TrackingConfig())]
    assert HandSearch(see).elsewhere(IMAGE, known, TrackingConfig(), likely)


def test_a_localiser_takes_the_windows_place():
    see, left, right = _two_hands()
    rough = [Box.around(joints).squared(1.4) for joints in (left, right)]
    search = HandSearch(see, localise=lambda image: [*rough, Box(0, 0, 30, 30)])
    assert len(search.everywhere(IMAGE, TrackingConfig())) == 2
    assert see.crops == 3 * 2 * 2 + 3
