"""Looks for hands in an image nobody has boxes for.

The evidence networks themselves are the detector: windows are judged by how sure the heat maps are,
the best ones are moved onto the joints seen in them, and those crops are judged again. A localiser
that knows better where hands may be takes the windows' place, see ``HandSearch``.
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
Localise = Callable[[np.ndarray], Sequence[Box]]  # (H, W, 3) RGB to boxes of hands, best first

SURE_FACTOR = 1.45  # of min_score, for a hand to be followed at once, or beside others
_WINDOW_SIDES = (1.0, 0.6, 0.35)  # of the image's shorter side, coarse to fine
_CANDIDATES = 6  # windows of a whole image worth a closer look
_CANDIDATES_ELSEWHERE = 2
_WINDOWS_ELSEWHERE = 8  # that one search beside followed hands looks at; the next one goes on
_SAME_WINDOW = 0.3  # overlap, intersection over union, of two windows that see the same
_AT_ONCE = 16  # crops of one batch
_ZOOMS = 2  # times that a window is moved onto the joints seen in it
_SAME_HAND = 0.3  # of a crop's side: nearer, two crops of about one size are of one hand
_SAME_SIZE = 1.6  # and no more apart in size


class HandSearch:
    """Finds hands with what ``see`` makes of crops.

    ``localise``, where there is one, says where to look in a whole image. Its boxes are judged and
    moved onto the hands as windows are, so they may be rough, and wrong ones do no harm.
    """

    def __init__(self, see: See, localise: Localise | None = None) -> None:
        self._see = see
        self._localise = localise
        self._turn = 0  # the window where the next search beside followed hands begins

    def within(self, image: np.ndarray, area: Target, config: TrackingConfig) -> Target | None:
        """The hand in ``area``'s box, with its side decided and its box moved onto it."""
        ((score, target),) = self._zoom(image, [area], config)
        return target if score >= config.min_score else None

    def everywhere(self, image: np.ndarray, config: TrackingConfig) -> list[Target]:
        """The hands in ``image``, the most prominent first; the others must be sure ones."""
        whole = Box(0, 0, image.shape[1], image.shape[0])
        if self._localise:
            windows = list(self._localise(image))
        else:
            windows = self._best(image, [whole, *_windows(*image.shape[1::-1])], _CANDIDATES)
        found = self._zoom(image, [Target(window) for window in windows], config)
        ranked = _ranked(found, config.min_score)
        sure = _ranked(found, sure_score(config))
        return (ranked[:1] + [t for t in sure if t not in ranked[:1]])[: config.max_hands]

    def elsewhere(
        self,
        image: np.ndarray,
        known: Sequence[Box],
        config: TrackingConfig,
        likely: Sequence[Box] = (),
    ) -> list[Target]:
        """Hands beside those in the ``known`` boxes: sure ones, the most prominent first.

        In the ``likely`` boxes, and in a part of the image that is another one each time: hands
        that are followed wait meanwhile.
        """
        if self._localise:
            windows = list(self._localise(image))
        else:
            windows = self._best(image, self._next_windows(image, known), _CANDIDATES_ELSEWHERE)
        areas = [Target(box) for box in (*likely, *windows)]
        ranked = _ranked(self._zoom(image, areas, config), sure_score(config))
        return [t for t in ranked if not any(same_place(t.box, box) for box in known)]

    def _next_windows(self, image: np.ndarray, known: Sequence[Box]) -> list[Box]:
        """Some windows that none of the ``known`` boxes fills, from where the last search ended."""
        windows = [
            window
            for window in _windows(*image.shape[1::-1])
            if not any(window.overlap(box) > _SAME_WINDOW for box in known)
        ]
        start = self._turn % max(len(windows), 1)
        self._turn = start + _WINDOWS_ELSEWHERE
        return (windows[start:] + windows[:start])[:_WINDOWS_ELSEWHERE]

    def _best(self, image: np.ndarray, windows: Sequence[Box], count: int) -> list[Box]:
        """The few windows with the highest scores that do not see the same."""
        scores: list[float] = []
        for start in range(0, len(windows), _AT_ONCE):
            crops = [crop_image(image, window) for window in windows[start : start + _AT_ONCE]]
            scores += self._see(crops).score.tolist()
        best: list[Box] = []
        for index in sorted(range(len(windows)), key=lambda index: -scores[index]):
            if all(windows[index].overlap(box) < _SAME_WINDOW for box in best):
                best.append(windows[index])
        return best[:count]

    def _zoom(
        self, image: np.ndarray, areas: Sequence[Target], config: TrackingConfig
    ) -> list[tuple[float, Target]]:
        """Move each area onto the joints seen in it: the scores there, and the targets."""
        if not areas:
            return []
        targets = list(areas)
        for _ in range(_ZOOMS):
            targets = self._moved(image, targets, config)
        crops = [crop_image(image, t.box, mirrored=t.side is Side.LEFT) for t in targets]
        return list(zip(self._see(crops).score.tolist(), targets, strict=True))

    def _moved(
        self, image: np.ndarray, targets: Sequence[Target], config: TrackingConfig
    ) -> list[Target]:
        told = [told_side(target, config) for target in targets]
        views = [
            (row, side)
            for row, t in enumerate(told)
            for side in ((t,) if t is not None else (Side.RIGHT, Side.LEFT))
        ]
        crops = [crop_image(image, targets[row].box, side is Side.LEFT) for row, side in views]
        evidence = self._see(crops)
        moved = []
        for row, target in enumerate(targets):
            # A right hand and a left one in the mirror look alike: the side is where the crop
            # looks more like a right hand than its mirror image does.
            own = [index for index, view in enumerate(views) if view[0] == row]
            best = own[int(evidence.right[own].argmax())]
            joints_px = crops[best].to_image(evidence.joints[best].cpu().numpy())
            box, side = joints_box(joints_px, config), views[best][1]
            moved.append(replace(target, box=box, side=side, side_is_told=told[row] is not None))
        return moved


def prominence(score: float, box: Box) -> float:
    """What makes one hand the hand: being sure, and being near, that is large in the image."""
    return score * box.width**0.5


def sure_score(config: TrackingConfig) -> float:
    """The score from which a hand needs nobody to vouch for it."""
    return min(SURE_FACTOR * config.min_score, 1.0)


def same_place(one: Box, other: Box) -> bool:
    """Whether two crops are of one hand, by where they are and how large."""
    across, down = np.subtract(one.center, other.center)
    large, small = max(one.width, other.width), min(one.width, other.width)
    return float(np.hypot(across, down)) < _SAME_HAND * large and large < _SAME_SIZE * small


def told_side(target: Target, config: TrackingConfig) -> Side | None:
    """The side that somebody vouches for: the configuration, or whoever made the target."""
    if config.side != "auto":
        return Side[config.side.upper()]
    return target.side if target.side_is_told else None


def joints_box(joints_px: np.ndarray, config: TrackingConfig) -> Box:
    """The square crop about ``(21, 2)`` joints."""
    return Box.around(joints_px).squared(config.crop_scale)


def _ranked(found: Sequence[tuple[float, Target]], at_least: float) -> list[Target]:
    """The targets with that score, the most prominent first, each hand once."""
    found = sorted(found, key=lambda one: -prominence(one[0], one[1].box))
    targets: list[Target] = []
    for score, target in found:
        if score >= at_least and not any(same_place(target.box, t.box) for t in targets):
            targets.append(target)
    return targets


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
