"""Looks for one hand in an image nobody has a box for.

The evidence networks themselves are the detector: windows are judged by how sure the heat maps are,
the best one is moved onto the joints it saw, and the crop is judged again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from dhpe_ros.config import TrackingConfig
from dhpe_ros.crop import Crop, crop_image
from dhpe_ros.evidence import Evidence
from dhpe_ros.types import Box, Side, Target

See = Callable[[Sequence[Crop]], Evidence]
_WINDOW_SIDES = (1.0, 0.6, 0.35)  # of the image's shorter side, coarse to fine
_CANDIDATES = 3  # windows worth a closer look
_AT_ONCE = 16  # crops of one batch
_ZOOMS = 2  # times that a window is moved onto the joints seen in it


def find_hand(
    image: np.ndarray, area: Target, see: See, config: TrackingConfig, everywhere: bool = False
) -> Target | None:
    """The most prominent hand in ``area``'s box, with its side decided and its box moved onto it.

    ``everywhere`` also tries smaller windows all over the image. None where no window scores
    ``config.min_score``: scores are means of joint confidences.
    """
    windows = [area.box]
    if everywhere:
        windows = _best(image, [area.box, *_windows(*image.shape[1::-1])], see)
    candidates = [_zoom(image, replace(area, box=window), see, config) for window in windows]
    hands = [target for score, target in candidates if score >= config.min_score]
    ranks = [prominence(s, target.box) for s, target in candidates if s >= config.min_score]
    return hands[int(np.argmax(ranks))] if hands else None


def prominence(score: float, box: Box) -> float:
    """What makes one hand the hand: being sure, and being near, that is large in the image."""
    return score * box.width**0.5


def told_side(target: Target, config: TrackingConfig) -> Side | None:
    """The side that somebody vouches for: the configuration, or whoever made the target."""
    if config.side != "auto":
        return Side[config.side.upper()]
    return target.side if target.side_is_told else None


def joints_box(joints_px: np.ndarray, config: TrackingConfig) -> Box:
    """The square crop about ``(21, 2)`` joints."""
    return Box.around(joints_px).squared(config.crop_scale)


def _windows(width: int, height: int) -> list[Box]:
    """Overlapping squares over the whole image, coarse to fine.

    None is smaller than a tenth of the longer side: a panorama gets no thousands of windows.
    """
    boxes = []
    for part in _WINDOW_SIDES:
        side = max(part * min(width, height), 0.1 * max(width, height))
        across = _starts(width, side)
        boxes += [Box(x, y, side, side) for y in _starts(height, side) for x in across]
    return list(dict.fromkeys(boxes))  # in a panorama all sizes are one


def _starts(length: int, side: float) -> np.ndarray:
    """Left edges of windows that overlap by half and cover ``length``."""
    if side >= length:
        return np.array([(length - side) / 2])
    return np.linspace(0, length - side, int(np.ceil(2 * (length - side) / side)) + 1)


def _best(image: np.ndarray, windows: Sequence[Box], see: See) -> list[Box]:
    """The few windows with the highest scores."""
    scores = []
    for start in range(0, len(windows), _AT_ONCE):
        crops = [crop_image(image, window) for window in windows[start : start + _AT_ONCE]]
        scores += see(crops).score.tolist()
    best = sorted(range(len(windows)), key=lambda index: -scores[index])
    return [windows[index] for index in best[:_CANDIDATES]]


def _zoom(
    image: np.ndarray, area: Target, see: See, config: TrackingConfig
) -> tuple[float, Target]:
    """Move a window onto the joints seen in it: the score there, and the target."""
    told = told_side(area, config)
    sides = (told,) if told is not None else (Side.RIGHT, Side.LEFT)
    target = area
    for _ in range(_ZOOMS):
        crops = [crop_image(image, target.box, mirrored=side is Side.LEFT) for side in sides]
        evidence = see(crops)
        # A right hand and a left one in the mirror look alike: the side is where the crop looks
        # more like a right hand than its mirror image does.
        best = int(evidence.right.argmax())
        joints_px = crops[best].to_image(evidence.joints[best].cpu().numpy())
        box = joints_box(joints_px, config)
        target = replace(area, box=box, side=sides[best], side_is_told=told is not None)
    crop = crop_image(image, target.box, mirrored=target.side is Side.LEFT)
    return float(see([crop]).score[0]), target
