"""Association of hands: which boxes, estimates and tracks are of the same hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np

from dhpe_ros.types import Box, Hand

SAME_OVERLAP = 0.4  # intersection over union of two boxes of one hand, in one image
MOVED_OVERLAP = 0.3  # and of its crops in two images, one after the other
_SAME_JOINTS = 0.3  # of a hand's size: mean distance of joints of two estimates of one hand

_Item = TypeVar("_Item")


def same_box(one: Box, other: Box, overlap: float = SAME_OVERLAP) -> bool:
    """True for two boxes of one hand: they overlap by more than ``overlap``, 0..1."""
    return one.overlap(other) > overlap


def same_hand(one: Hand, other: Hand) -> bool:
    """True for two estimates of one hand in one image: their joints lie together."""
    distance_px = np.linalg.norm(one.joints_px - other.joints_px, axis=1).mean()
    size_px = max(np.ptp(hand.joints_px, axis=0).max() for hand in (one, other))
    return bool(distance_px < _SAME_JOINTS * size_px)


def suppress_duplicates(
    items: Iterable[_Item], same: Callable[[_Item, _Item], bool]
) -> list[_Item]:
    """Non-maximum suppression: ``items``, best first, without those the same as a better one."""
    kept: list[_Item] = []
    for item in items:
        if not any(same(item, better) for better in kept):
            kept.append(item)
    return kept


def distance(one: Box, other: Box) -> float:
    """Distance of two boxes' centres, in widths of the larger."""
    return math.dist(one.center, other.center) / max(one.width, other.width)


def assign(costs: np.ndarray, gate: float = 1e6) -> dict[int, int]:
    """Row -> column of ``costs`` ``(N, M)``, each at most once, of least total cost.

    A pair that costs more than ``gate`` is none, and its row stays without a column.
    """
    open_costs = np.minimum(costs, gate)
    if len(costs) > costs.shape[1]:
        pairs = [(row, column) for column, row in enumerate(_columns(open_costs.T))]
    else:
        pairs = list(enumerate(_columns(open_costs)))
    return {row: column for row, column in pairs if costs[row, column] <= gate}


def _columns(costs: np.ndarray) -> list[int]:
    """Column of each row of finite ``costs`` ``(N, M)``, ``N <= M``, by shortest augmenting paths.

    Not by SciPy, which takes 38 MB and a quarter of a second to import.
    """
    column_of, row_of = np.full(len(costs), -1), np.full(costs.shape[1], -1)
    of_rows, of_columns = np.zeros(len(costs)), np.zeros(costs.shape[1])  # dual variables
    for first in range(len(costs)):
        row, length = first, 0.0
        lengths, before = np.full(len(row_of), np.inf), np.full(len(row_of), first)
        seen = np.zeros(len(row_of), bool)
        while True:
            reached = length + costs[row] - of_rows[row] - of_columns
            shorter = ~seen & (reached < lengths)
            lengths[shorter], before[shorter] = reached[shorter], row
            column = int(np.where(seen, np.inf, lengths).argmin())
            length = lengths[column]
            if row_of[column] < 0:
                break
            seen[column], row = True, row_of[column]
        of_rows[first] += length
        of_rows[row_of[seen]] += length - lengths[seen]
        of_columns[seen] -= length - lengths[seen]
        while column >= 0:  # along the path back to its first row
            row = before[column]
            row_of[column] = row
            column, column_of[row] = column_of[row], column
    return column_of.tolist()
