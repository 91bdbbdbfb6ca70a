"""One answer to whether two boxes, or two estimates, are of one hand, and who is who."""

from dataclasses import replace

import numpy as np
import pytest
from fake_tracker import make_hand
from scipy.optimize import linear_sum_assignment

from dhpe_ros.geometry.association import (
    assign,
    distance,
    same_box,
    same_hand,
    suppress_duplicates,
)
from dhpe_ros.types import Box, Side

BOX = Box(100, 100, 100, 100)


@pytest.mark.parametrize(
    ("other", "same"),
    [
        (Box(130, 100, 100, 100), True),
        (Box(150, 100, 100, 100), False),
        (Box(80, 80, 140, 140), True),
        (Box(70, 70, 160, 160), False),
    ],
)
def test_boxes_of_one_hand_overlap(other, same):
    assert same_box(BOX, other) is same_box(other, BOX) is same


def test_estimates_of_one_hand_have_their_joints_together():
    hand = make_hand(BOX, Side.RIGHT, 1)
    size = np.ptp(hand.joints_px, axis=0).max()
    near, far = (
        replace(hand, joints_px=hand.joints_px + np.array((k * size, 0))) for k in (0.2, 0.4)
    )
    assert same_hand(hand, near) and not same_hand(hand, far)
    assert suppress_duplicates([hand, near, far], same_hand) == [hand, far]


def test_of_duplicates_the_first_stays():
    assert suppress_duplicates([5, 4, 9, 1], lambda a, b: abs(a - b) < 2) == [5, 9, 1]


def test_the_distance_is_in_widths_of_the_larger_box():
    assert distance(BOX, Box(150, 50, 200, 200)) == pytest.approx(0.5)


def test_the_least_total_cost_counts_and_not_the_first_come():
    assert assign(np.array(((0.1, 0.2), (0.2, 0.9)))) == {0: 1, 1: 0}


@pytest.mark.parametrize("shape", [(1, 1), (4, 4), (3, 7), (7, 3)])
def test_pairs_cost_as_little_as_they_can(shape):
    for seed in range(50):
        rng = np.random.default_rng(seed)
        costs = rng.integers(0, 5, shape) if seed % 2 else rng.random(shape)  # many are equal
        pairs = assign(costs)
        assert len(set(pairs.values())) == len(pairs) == min(shape)
        least = costs[linear_sum_assignment(costs)].sum()
        assert sum(costs[pair] for pair in pairs.items()) == pytest.approx(least)


def test_a_pair_that_cannot_be_is_none():
    assert assign(np.array(((0.5, np.inf), (np.inf, np.inf)))) == {0: 0}


def test_a_pair_beyond_the_gate_is_none():
    assert assign(np.array(((0.5, 3.0), (3.0, 1.5))), gate=1.0) == {0: 0}
    assert assign(np.array(((np.inf,),)), gate=1.0) == {}
    assert assign(np.zeros((0, 3))) == assign(np.zeros((3, 0))) == {}
