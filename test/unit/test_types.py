"""Boxes and the names of joints."""

import numpy as np
import pytest

from dhpe_ros.types import BONES, JOINT_NAMES, MIDDLE_MCP, Box


def test_joint_order_is_openposes():
    assert JOINT_NAMES[:6] == ("wrist", "thumb1", "thumb2", "thumb3", "thumb4", "index1")
    assert JOINT_NAMES[MIDDLE_MCP] == "middle1"
    assert len(JOINT_NAMES) == 21


def test_bones_form_a_tree_rooted_at_the_wrist():
    children = [child for _, child in BONES]
    assert sorted(children) == list(range(1, 21))
    assert all(parent < child for parent, child in BONES)


def test_overlap_of_boxes():
    a = Box(0, 0, 2, 2)
    assert a.overlap(a) == 1.0
    assert a.overlap(Box(1, 0, 2, 2)) == pytest.approx(1 / 3)
    assert a.overlap(Box(5, 5, 1, 1)) == 0.0


def test_a_box_touches_an_image_that_has_some_of_it():
    assert Box(-5, -5, 5.5, 5.5).touches(64, 48)
    assert Box(-1e8, -1e8, 2e8, 2e8).touches(64, 48)
    assert not Box(-5, -5, 5, 60).touches(64, 48)
    assert not Box(10, 48, 5, 5).touches(64, 48)


def test_box_around_points_covers_them():
    box = Box.around(np.array([[3.0, 4.0], [10.0, 6.0]]))
    assert (box.x, box.y, box.width, box.height) == (3.5, 4.5, 7.0, 2.0)


@pytest.mark.parametrize(
    "values", [(0, 0, 0, 1), (0, 0, 1, -1), (float("nan"), 0, 1, 1), (0, 0, 1e300, 1)]
)
def test_impossible_boxes_are_refused(values):
    with pytest.raises(ValueError, match="box must"):
        Box(*values)
