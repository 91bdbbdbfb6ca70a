"""Self-penetration of hands: known solids, and fingers put into each other."""

import numpy as np
import pytest
from self_penetration import (
    HandParts,
    hand_parts,
    intersecting_pairs,
    penetration_depths,
)

_CORNERS = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
_BOX = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
     [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
)  # fmt: skip


def two_boxes(shift):
    """Unit boxes, the second one moved: vertices (16, 3), triangles (24, 3)."""
    return np.concatenate([_CORNERS, _CORNERS + shift]), np.concatenate([_BOX, _BOX + 8])


def parts_of_two_boxes(triangles):
    """The first box is the palm, the second a finger end that may not enter it."""
    tested = np.zeros((16, 6), bool)
    tested[3, 0] = True
    part = np.repeat([0, 1], 12)
    return HandParts(triangles.astype(np.int64), part, np.repeat([0, 3], 8), tested)


@pytest.mark.parametrize("depth", [0.05, 0.3])
def test_depth_is_how_far_a_corner_went_in(depth):
    vertices, triangles = two_boxes((1 - depth, 0.41, 0.43))
    depths = penetration_depths(vertices[None], parts_of_two_boxes(triangles))
    assert depths[0, 3, 0] == pytest.approx(depth)
    assert np.count_nonzero(depths) == 1


def test_boxes_side_by_side_are_clear_of_each_other():
    vertices, triangles = two_boxes((1.01, 0.3, 0.2))
    assert penetration_depths(vertices[None], parts_of_two_boxes(triangles)).max() == 0
    assert intersecting_pairs(vertices, triangles) == 0


def test_crossing_triangles_are_counted_once_and_neighbours_never():
    first = [[0, 0, 0], [2, 0, 0], [0, 2, 0]]
    second = [[0.5, 0.5, -1], [0.5, 0.5, 1], [3, 3, 0.5]]
    triangles = np.array([[0, 1, 2], [3, 4, 5]])
    assert intersecting_pairs(np.array(first + second, float), triangles) == 1
    hinged = np.array([[0, 1, 2], [0, 4, 5]])
    assert intersecting_pairs(np.array(first + second, float), hinged) == 0
    apart = np.array(first + second, float) + np.repeat([[0, 0, 0], [0, 0, 5.0]], 3, axis=0)
    assert intersecting_pairs(apart, triangles) == 0


def test_fingers_may_not_enter_what_is_not_next_to_them():
    weights = np.eye(16)
    parts = hand_parts(np.array([[1, 2, 3], [0, 13, 14]]), weights)
    assert parts.part_of_triangle.tolist() == [1, 5]
    assert parts.bone_of_vertex.tolist() == list(range(16))
    assert not parts.tested[1, 0]  # a knuckle lies next to the palm
    assert parts.tested[3, 0]
    assert parts.tested[3, 2]
    assert not parts.tested[3, 1]  # its own finger
    assert not parts.tested[[0, 13]].any()
