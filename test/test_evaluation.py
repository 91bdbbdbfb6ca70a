"""Errors in percent of the hand, against values computed by hand."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

from dhpe_ros.evaluation.labelled import Comparison, compare, summary
from dhpe_ros.types import Side


def test_the_error_is_a_part_of_the_longer_side():
    joints = np.zeros((21, 2), np.float32)
    joints[3], joints[5] = (200, 10), (0, 80)
    hand = SimpleNamespace(joints_px=joints + np.array((6, 8)), side=Side.LEFT)
    row = compare(hand, joints, right=False)
    assert row.error_pct == pytest.approx(5.0)  # 10 pixels of 200
    assert row.found
    assert row.side_correct
    assert not compare(hand, joints, right=True).side_correct
    assert not compare(None, joints, right=True).found


def test_missing_hands_count_as_missing_not_as_errors():
    rows = [Comparison(True, 4.0, True), Comparison(True, 8.0, False)]
    rows += [compare(None, np.zeros((21, 2)), True)]
    result = summary(rows)
    assert result["n"] == 3
    assert result["found_pct"] == pytest.approx(200 / 3)
    assert result["err2d_pct"] == pytest.approx(6.0)
    assert result["side_correct_pct"] == pytest.approx(100 / 3)
    json.dumps(result)
