"""Side of a hand, over the images of one hand."""

import math
from itertools import pairwise

import pytest

from dhpe_ros.tracking.side import SideBelief
from dhpe_ros.types import Side


def seen(belief, rights, rate_hz=30.0):
    """The beliefs after each of these images."""
    beliefs = []
    for right in rights:
        belief = belief.after(right, 1 / rate_hz)
        beliefs.append(belief)
    return beliefs


def first(right=0.87):
    return SideBelief(Side.RIGHT if right > 0.5 else Side.LEFT).after(right, math.inf)


def sides(beliefs):
    return {belief.side for belief in beliefs}


@pytest.fixture(params=[Side.RIGHT, Side.LEFT])
def view(request):
    """A right hand, or all of it in the mirror."""
    return request.param, lambda right: right if request.param is Side.RIGHT else 1 - right


def test_a_new_hand_changes_its_side_with_the_next_images(view):
    side, of = view
    beliefs = seen(first(of(0.6)), [of(0.1)] * 3)
    assert beliefs[-1].side is side.other


def test_a_firm_side_outlasts_an_image_that_clearly_shows_the_other_and_a_second_of_doubt(view):
    side, of = view
    belief = seen(first(of(0.87)), [of(0.87)] * 18)[-1]
    assert sides(seen(belief, [of(0.01)] * 3)) == {side}
    assert sides(seen(belief, [of(0.3)] * 30)) == {side}


def test_a_firm_side_gives_way_once_to_what_lasts(view):
    side, of = view
    belief = seen(first(of(0.87)), [of(0.87)] * 60)[-1]
    beliefs = seen(belief, [of(0.01)] * 30)
    turns = [a.side is not b.side for a, b in pairwise(beliefs)]
    assert sum(turns) == 1 and beliefs[-1].side is side.other


def test_evidence_counts_by_the_time_it_lasts_and_not_by_images():
    slow, fast = (seen(first(), [0.3] * rate, rate)[-1] for rate in (15, 60))
    assert slow.log_odds == pytest.approx(fast.log_odds)
    assert first().after(0.01, 0.0) == first()  # a stamp that comes twice
