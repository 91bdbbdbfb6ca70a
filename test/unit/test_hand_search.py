"""The search, with evidence networks that know where the hand is."""

import dataclasses

import numpy as np
import pytest
import torch

from dhpe_ros.config import TrackingConfig
from dhpe_ros.detection.localiser import FoundHand
from dhpe_ros.detection.search import HandSearch, given_side, joints_box
from dhpe_ros.networks.evidence import Evidence
from dhpe_ros.types import Box, Side, SideSource, Target

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


def at(*joints_px):
    """A localiser that knows where the hands are, roughly, and is wrong once."""
    boxes = [Box.around(joints).squared(1.2) for joints in joints_px]
    return lambda image, min_score, closer: [
        FoundHand(box, 0.9) for box in (*boxes, Box(0, 0, 30, 30)) if min_score < 0.9
    ]


@pytest.mark.parametrize("side", [Side.LEFT, Side.RIGHT])
@pytest.mark.parametrize(("x", "y", "size"), [(320, 240, 300), (90, 80, 70), (560, 400, 80)])
def test_a_hand_anywhere_is_found_with_its_side(side, x, y, size):
    joints = _joints(x, y, size)
    see = KnowsTheHand(joints, side)
    (target,) = HandSearch(see, at(joints)).everywhere(IMAGE, TrackingConfig())
    assert target.side is side
    assert target.side_source is SideSource.FOUND
    assert target.box.overlap(joints_box(joints, TrackingConfig())) > 0.99


def test_nothing_to_see_is_no_hand():
    far = _joints(-500, -500, 50)
    see = KnowsTheHand(far, Side.RIGHT)
    assert HandSearch(see, at()).everywhere(IMAGE, TrackingConfig()) == []
    assert HandSearch(see, lambda *_: []).everywhere(IMAGE, TrackingConfig()) == []


def test_what_the_localiser_hardly_sees_has_to_look_like_a_hand_all_the_more():
    """The hand scores 0.3: enough where the localiser is sure, and not where it hardly is."""
    joints = _joints(320, 240, 300)
    where = Box.around(joints).squared(1.2)

    class HalfSure(KnowsTheHand):
        def __call__(self, crops):
            evidence = super().__call__(crops)
            return dataclasses.replace(evidence, confidences=torch.full((len(crops), 21), 0.3))

    def found(score, **settings):
        search = HandSearch(HalfSure(joints, Side.RIGHT), lambda *_: [FoundHand(where, score)])
        return len(search.everywhere(IMAGE, TrackingConfig(**settings)))

    assert (found(0.9), found(0.5), found(0.2)) == (1, 1, 0)
    assert found(0.2, min_score=0.15) == 1


def test_small_hands_are_looked_for_in_every_place_but_beside_followed_ones():
    asked = []
    see = KnowsTheHand(_joints(320, 240, 300), Side.RIGHT)
    search = HandSearch(see, lambda image, least, closer: asked.append((least, closer)) or [])
    search.everywhere(IMAGE, TrackingConfig())
    search.everywhere(IMAGE, TrackingConfig(), closer=False)
    search.elsewhere(IMAGE, [], TrackingConfig())
    least, closer = zip(*asked, strict=True)
    assert least == pytest.approx([0.15, 0.15, 0.25])
    assert closer == (True, False, False)


def test_a_given_box_is_looked_at_and_nothing_else():
    see = KnowsTheHand(_joints(560, 400, 80), Side.RIGHT)
    search = HandSearch(see, None)
    assert search.within(IMAGE, [Target(Box(0, 0, 200, 200))], TrackingConfig()) == []
    assert len(search.within(IMAGE, [Target(Box(480, 300, 170, 170))], TrackingConfig())) == 1


@pytest.mark.parametrize(("times_as_large", "crops"), [(1.05, 2), (2.5, 3)])
def test_an_area_that_is_moved_far_is_seen_again_and_no_other(times_as_large, crops):
    joints = _joints(320, 240, 150)
    config = TrackingConfig()
    area = Target(joints_box(joints, config).squared(times_as_large))
    see = KnowsTheHand(joints, Side.LEFT)
    (target,) = HandSearch(see, None).within(IMAGE, [area], config)
    assert see.crops == crops  # one and its mirror image, then the side is known
    assert (target.side, target.box.overlap(joints_box(joints, config)) > 0.99) == (Side.LEFT, True)


def test_a_given_side_is_kept_and_a_believed_one_is_not():
    search = HandSearch(KnowsTheHand(_joints(320, 240, 300), Side.RIGHT), None)
    left = Target(WHOLE.box, Side.LEFT)
    believed = Target(WHOLE.box, Side.LEFT, side_source=SideSource.FOLLOWED)
    found = [search.within(IMAGE, [area], TrackingConfig()) for area in (left, believed)]
    assert [target.side for (target,) in found] == [Side.LEFT, Side.RIGHT]
    assert given_side(believed, TrackingConfig(side="left")) is Side.LEFT
    assert given_side(believed, TrackingConfig()) is None


def _two_hands():
    left, right = _joints(150, 200, 150), _joints(480, 260, 200)
    return KnowsTheHand(left, Side.LEFT, (right, Side.RIGHT)), left, right


def test_two_hands_are_found_the_larger_first_each_with_its_side():
    see, left, right = _two_hands()
    search = HandSearch(see, at(left, right))
    both = search.everywhere(IMAGE, TrackingConfig())
    assert [target.side for target in both] == [Side.RIGHT, Side.LEFT]
    assert both[0].box.overlap(joints_box(right, TrackingConfig())) > 0.99
    assert len(search.everywhere(IMAGE, TrackingConfig(max_hands=1))) == 1
    assert search.everywhere(IMAGE, TrackingConfig(localiser_min_score=0.95)) == []


def test_of_hands_in_given_boxes_the_most_prominent_comes_first():
    see, left, right = _two_hands()
    boxes = [Target(joints_box(joints, TrackingConfig())) for joints in (left, right)]
    both = HandSearch(see, None).within(IMAGE, boxes, TrackingConfig())
    assert [target.side for target in both] == [Side.RIGHT, Side.LEFT]


def test_beside_a_known_hand_the_other_is_found_and_the_known_one_is_not_looked_at():
    see, left, right = _two_hands()
    known = [joints_box(right, TrackingConfig())]
    (found,) = HandSearch(see, at(left, right)).elsewhere(IMAGE, known, TrackingConfig())
    assert found.box.overlap(joints_box(left, TrackingConfig())) > 0.99
    # The other hand and the wrong box, once from both sides; then the other hand as it was found.
    assert see.crops == 2 + 2 + 1
    likely = [joints_box(left, TrackingConfig())]
    assert HandSearch(see, at()).elsewhere(IMAGE, known, TrackingConfig(), likely)
