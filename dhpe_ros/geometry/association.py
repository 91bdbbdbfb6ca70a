"""Association of hands: which boxes, estimates and tracks are of the same hand."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TypeVar

import numpy as np
from scipy.optimize import linear_sum_assignment

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


def assign(costs: np.ndarray, gate: float = math.inf) -> dict[int, int]:
    """Row -> column of ``costs`` ``(N, M)``, each at most once, of least total cost.

    A pair that costs more than ``gate`` is none, and its row stays without a column.
    """
    pairs = np.transpose(linear_sum_assignment(np.minimum(costs, gate))).tolist()
    return {row: column for row, column in pairs if costs[row, column] <= gate}
