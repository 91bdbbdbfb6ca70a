"""The absolute size of hands, of which one picture tells little.

A hand twice as large and twice as far away looks the same. What else is known puts that right: a
depth image, a measured hand, or what the same hand looked like before.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dhpe_ros.config import ScaleConfig
from dhpe_ros.types import MIDDLE_FINGER, Hand, Scale

_WINDOW = 300  # frames that a size is learned from: the last with a depth image, else the first
_FACING = 0.3  # cosine to the ray from which the camera is sure to see a vertex
_ENOUGH = 30  # vertices with a measured depth
# Metres, of a small child's hand and a large one, and what the estimate may be off.
HAND_LENGTHS_M = (0.08, 0.28)
_ANY_LENS = 2.0  # times that those may be left where the camera's lens is assumed

# Radii as fractions of the hand's length, ``(20,)`` in the order of ``BONES``: 90 % of the skin is
# nearer to its bone, in 40 hands of random pose and shape.
BONE_RADII = np.array(
    (
        0.176, 0.140, 0.081, 0.068,
        0.152, 0.082, 0.068, 0.060,
        0.127, 0.091, 0.078, 0.067,
        0.125, 0.085, 0.064, 0.058,
        0.151, 0.078, 0.055, 0.049,
    )
)  # fmt: skip


def hand_length_m(joints_m: np.ndarray) -> float:
    """From the wrist to the middle finger's tip along the bones of ``(21, 3)``, however bent."""
    chain = joints_m[list(MIDDLE_FINGER)]
    return float(np.linalg.norm(np.diff(chain, axis=0), axis=1).sum())


def scaled(hand: Hand, factor: float, scale: Scale) -> Hand:
    """``hand`` that many times as large and as far away: it looks the same in the image."""
    names = "joints_m", "vertices_m", "fit_stds_m"
    metres = {name: getattr(hand, name) * np.float32(factor) for name in names}
    return replace(hand, **metres, scale=scale)


def depth_ratio(hand: Hand, depth_m: np.ndarray) -> float | None:
    """Ratio of the measured distance to that of ``hand``, by a depth image.

    ``depth_m`` ``(H, W)`` along the optical axis, NaN where nothing was measured. The median over
    the vertices that face the camera: what hides some of them, or shows between them, does not
    matter. None where too few of them have a depth; one that is not ``plausible`` where nearly all
    that have one would be of no hand.
    """
    distances_m = np.linalg.norm(hand.vertices_m, axis=1)
    facing = (hand.normals * hand.vertices_m).sum(1) < -_FACING * distances_m
    height, width = depth_m.shape
    x, y = np.rint(hand.vertices_px[:, :2]).T
    seen = facing & (x >= 0) & (y >= 0) & (x < width) & (y < height)
    ratios = depth_m[y[seen].astype(int), x[seen].astype(int)] / hand.vertices_m[seen, 2]
    ratios = ratios[np.isfinite(ratios)]
    likely = ratios[plausible(hand, ratios)]
    best = likely if len(likely) >= _ENOUGH else ratios
    return float(np.median(best)) if len(best) >= _ENOUGH else None


def plausible(hand: Hand, ratio: np.ndarray | float) -> np.ndarray:
    """True where ``hand``, ``ratio`` times as large, has the length of a human hand."""
    shortest, longest = HAND_LENGTHS_M
    slack = 1.0 if hand.intrinsics_known else _ANY_LENS
    length_m = hand_length_m(hand.joints_m) * np.asarray(ratio)
    return (length_m > shortest / slack) & (length_m < longest * slack)


@dataclass
class _Lengths:
    """Lengths of one hand, metres."""

    first_s: float
    estimated: list[float] = field(default_factory=list)
    measured: deque[float] = field(default_factory=lambda: deque(maxlen=_WINDOW))


class HandScales:
    """Corrects each hand's size by the best that is known, and learns it over time.

    ``length_ratio``, of the hand model, makes a hand's length by tape of that of its joints.
    """

    def __init__(self, length_ratio: float) -> None:
        self._length_ratio = length_ratio
        self._lengths: dict[int, _Lengths] = {}

    def keep(self, track_ids: set[int]) -> None:
        """Forget every hand but these."""
        self._lengths = {k: known for k, known in self._lengths.items() if k in track_ids}

    def applied(
        self, hands: Sequence[Hand], config: ScaleConfig, depth_m: np.ndarray | None, time_s: float
    ) -> list[Hand]:
        """The hands of one image, at ``time_s``, with ``depth_m`` as in ``depth_ratio`` if any."""
        return [self._applied(hand, config, depth_m, time_s) for hand in hands]

    def _applied(
        self, hand: Hand, config: ScaleConfig, depth_m: np.ndarray | None, time_s: float
    ) -> Hand:
        length_m = hand_length_m(hand.joints_m)
        known = self._lengths.setdefault(hand.track_id, _Lengths(time_s))
        ratio = None if depth_m is None else depth_ratio(hand, depth_m)
        if ratio is not None and plausible(hand, ratio):
            known.measured.append(ratio * length_m)
            return scaled(hand, ratio, Scale.DEPTH)
        if config.hand_length:
            tape_m = length_m * self._length_ratio
            return scaled(hand, config.hand_length / tape_m, Scale.KNOWN)
        if known.measured:
            return scaled(hand, float(np.median(known.measured)) / length_m, Scale.LEARNED)
        if not config.learn_seconds:
            return hand
        learned = time_s - known.first_s >= config.learn_seconds
        if not known.estimated or (not learned and len(known.estimated) < _WINDOW):
            known.estimated.append(length_m)
        scale = Scale.LEARNED if learned else Scale.ESTIMATED
        return scaled(hand, float(np.median(known.estimated)) / length_m, scale)
