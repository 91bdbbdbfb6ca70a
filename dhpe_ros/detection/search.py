"""Search for hands in an image without boxes.

The localiser says where hands may be; crops there are moved onto the joints inferred in
them, and scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from dhpe_ros.config import TrackingConfig
from dhpe_ros.detection.localiser import FoundHand
from dhpe_ros.geometry.association import same_box, suppress_duplicates
from dhpe_ros.geometry.crop import Crop, crop_image
from dhpe_ros.networks.evidence import Evidence
from dhpe_ros.types import Box, Side, SideSource, Target

Infer = Callable[[Sequence[Crop]], Evidence]
Localise = Callable[[np.ndarray, float], Sequence[FoundHand]]  # image and least score, best first

SURE_FACTOR = 1.45  # of min_score, for a hand to be followed at once, or beside followed ones
_OTHERS_FACTOR = 1.2  # of min_score, for the hands of a picture beside the most prominent one
_ZOOMS = 2  # times that a window is moved onto the joints seen in it
_HOPELESS = 0.3  # of min_score: what scores less is dropped at once
# What the localiser is sure of, the evidence networks have to be less sure of: a score counts as
# far as the cube root of the localiser's, from this one on in full (weights/localiser.md).
_SURE_OF_PLACE, _WEIGHT_POWER = 0.8, 1 / 3
_WITHOUT_MIRROR = 0.1  # more is asked where the mirror image is left out


class HandSearch:
    """Finds hands where ``localise`` says, with the evidence that ``infer`` makes of crops.

    Boxes are moved onto the hands and judged, so they may be rough, and wrong ones do no harm.
    Beside followed hands, whose frames should not wait, ``quick`` takes its place.
    """

    def __init__(self, infer: Infer, localise: Localise, quick: Localise | None = None) -> None:
        self._infer = infer
        self._localise = localise
        self._quick = quick or localise

    def within(
        self, image: np.ndarray, areas: Sequence[Target], config: TrackingConfig
    ) -> list[Target]:
        """The hand in each area's box, if any, the most prominent first.

        With sides decided and boxes moved onto the hands.
        """
        found = self._zoom(image, [(1.0, area) for area in areas], config)
        return _by_prominence(found, config.min_score)

    def everywhere(self, image: np.ndarray, config: TrackingConfig) -> list[Target]:
        """The hands in ``image``, the most prominent first; the others must be surer ones."""
        likely = self._localise(image, config.localiser_min_score)
        areas = [(_weight(hand.score), _area(hand, config)) for hand in likely]
        found = self._zoom(image, areas, config)
        ranked = _ranked(found, config.min_score)
        sure = _ranked(found, min(_OTHERS_FACTOR * config.min_score, 1.0))
        return (ranked[:1] + [t for t in sure if t not in ranked[:1]])[: config.max_hands]

    def elsewhere(
        self,
        image: np.ndarray,
        known: Sequence[Box],
        config: TrackingConfig,
        likely: Sequence[Box] = (),
    ) -> list[Target]:
        """Hands beside those in the ``known`` boxes: sure ones, the most prominent first.

        Also looked for in the ``likely`` boxes.
        """
        seen = self._quick(image, min(config.localiser_min_score + _WITHOUT_MIRROR, 1.0))
        new = _beside(known, [_area(hand, config) for hand in seen])
        areas = [(1.0, area) for area in (*(Target(box) for box in likely), *new)]
        return _beside(known, _ranked(self._zoom(image, areas, config), sure_score(config)))

    def _zoom(
        self, image: np.ndarray, areas: Sequence[tuple[float, Target]], config: TrackingConfig
    ) -> list[tuple[float, Target]]:
        """Move areas onto the joints seen in them: the scores there, and the targets.

        Scores are multiplied by the number that comes with an area. Without those that show no
        hand at all.
        """
        for _ in range(_ZOOMS):
            areas = self._moved(image, areas, config)
        if not areas:
            return []
        crops = [crop_image(image, t.box, mirrored=t.side is Side.LEFT) for _, t in areas]
        scores = self._infer(crops).score.tolist()
        return [(score * n, target) for score, (n, target) in zip(scores, areas, strict=True)]

    def _moved(
        self, image: np.ndarray, areas: Sequence[tuple[float, Target]], config: TrackingConfig
    ) -> list[tuple[float, Target]]:
        if not areas:
            return []
        numbers, targets = zip(*areas, strict=True)
        given = [given_side(target, config) for target in targets]
        views = [
            (row, side)
            for row, t in enumerate(given)
            for side in ((t,) if t is not None else (Side.RIGHT, Side.LEFT))
        ]
        crops = [crop_image(image, targets[row].box, side is Side.LEFT) for row, side in views]
        evidence = self._infer(crops)
        moved = []
        for row, target in enumerate(targets):
            # A right hand and a left one in the mirror look alike: the side is where the crop
            # looks more like a right hand than its mirror image does.
            own = [index for index, view in enumerate(views) if view[0] == row]
            best = own[int(evidence.right[own].argmax())]
            if evidence.score[own].max() * numbers[row] < _HOPELESS * config.min_score:
                continue
            joints_px = crops[best].to_image(evidence.joints[best].cpu().numpy())
            box, side = joints_box(joints_px, config), views[best][1]
            source = SideSource.FOUND if given[row] is None else SideSource.GIVEN
            at_joints = replace(target, box=box, side=side, side_source=source)
            moved.append((numbers[row], at_joints))
        return moved


def _area(hand: FoundHand, config: TrackingConfig) -> Target:
    """Where the localiser says, as large as a crop is."""
    return Target(hand.box.squared(config.crop_scale))


def _weight(score: float) -> float:
    """The factor, at most 1, of the scores where the localiser has this one."""
    return min(score / _SURE_OF_PLACE, 1.0) ** _WEIGHT_POWER


def prominence(score: float, box: Box) -> float:
    """Ranking score: score times the square root of the box's width."""
    return score * box.width**0.5


def sure_score(config: TrackingConfig) -> float:
    """Score from which a found hand is confirmed."""
    return min(SURE_FACTOR * config.min_score, 1.0)


def given_side(target: Target, config: TrackingConfig) -> Side | None:
    """The side given by the configuration or by the target's maker; None if neither."""
    if config.side != "auto":
        return Side[config.side.upper()]
    return target.side if target.side_source is SideSource.GIVEN else None


def joints_box(joints_px: np.ndarray, config: TrackingConfig) -> Box:
    """The square crop about ``(21, 2)`` joints."""
    return Box.around(joints_px).squared(config.crop_scale)


def _beside(known: Sequence[Box], targets: Sequence[Target]) -> list[Target]:
    """Leave out targets that are known hands."""
    return [t for t in targets if not any(same_box(t.box, box) for box in known)]


def _ranked(found: Sequence[tuple[float, Target]], at_least: float) -> list[Target]:
    """The targets with that score, the most prominent first, each hand once."""
    targets = _by_prominence(found, at_least)
    return suppress_duplicates(targets, lambda one, other: same_box(one.box, other.box))


def _by_prominence(found: Sequence[tuple[float, Target]], at_least: float) -> list[Target]:
    """The targets with that score, the most prominent first."""
    found = sorted(found, key=lambda one: -prominence(one[0], one[1].box))
    return [target for score, target in found if score >= at_least]
