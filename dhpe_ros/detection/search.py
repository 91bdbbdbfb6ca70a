"""Search for hands in an image without boxes.

The localiser says where hands may be; crops there are moved onto the joints inferred in
them, and scored.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from dhpe_ros.config import TrackingConfig
from dhpe_ros.detection.localiser import FoundHand
from dhpe_ros.geometry.association import same_box, suppress_duplicates
from dhpe_ros.geometry.crop import Crop, crop_image
from dhpe_ros.networks.evidence import Evidence
from dhpe_ros.types import Box, Side, SideSource, Target

Infer = Callable[[Sequence[Crop]], Evidence]
# Image, least score, and if a closer look is taken, to places, best first.
Localise = Callable[[np.ndarray, float, bool], Sequence[FoundHand]]
_Scored = tuple[float, Target]

SURE_FACTOR = 1.45  # of min_score, for a hand to be followed at once, or beside followed ones
_OTHERS_FACTOR = 1.2  # of min_score, for the hands of a picture beside the most prominent one
_ZOOMS = 2  # times at most that a window is moved onto the joints seen in it
_SETTLED = 0.7  # intersection over union of before and after, from which once is enough
_HOPELESS = 0.3  # of min_score: what scores less is dropped at once
# What the localiser is sure of, the evidence networks have to be less sure of: a score counts as
# far as the cube root of the localiser's, from this one on in full (weights/localiser.md).
_SURE_OF_PLACE, _WEIGHT_POWER = 0.6, 1 / 3
_ONE_LOOK = 0.1  # more is asked of the localiser where its closer look is left out


class _Area(NamedTuple):
    """Where a hand may be, and what crops there scored so far."""

    target: Target
    weight: float = 1.0  # factor of its scores
    scores: tuple[float, ...] = ()

    @property
    def scored(self) -> _Scored:
        """By the mean: a hand scores well in both crops, other things often in one."""
        return self.weight * sum(self.scores) / len(self.scores), self.target


class HandSearch:
    """Finds hands where ``localise`` says, with the evidence that ``infer`` makes of crops.

    Boxes are moved onto the hands and judged, so they may be rough, and wrong ones do no harm.
    """

    def __init__(self, infer: Infer, localise: Localise) -> None:
        self._infer = infer
        self._localise = localise

    def within(
        self, image: np.ndarray, areas: Sequence[Target], config: TrackingConfig
    ) -> list[Target]:
        """The hand in each area's box, if any, the most prominent first.

        With sides decided and boxes moved onto the hands.
        """
        found = self._zoom(image, list(map(_Area, areas)), config)
        return _by_prominence(found, config.min_score)

    def everywhere(
        self, image: np.ndarray, config: TrackingConfig, closer: bool = True
    ) -> list[Target]:
        """The hands in ``image``, the most prominent first; the others must be surer ones.

        Small ones are missed without a ``closer`` look.
        """
        likely = self._localise(image, config.localiser_min_score, closer)
        found = self._zoom(image, [_Area(_area(h, config), _weight(h)) for h in likely], config)
        first = _ranked(found, config.min_score)[:1]
        sure = _ranked(found, min(_OTHERS_FACTOR * config.min_score, 1.0))
        return (first + [t for t in sure if t not in first])[: config.max_hands]

    def elsewhere(
        self,
        image: np.ndarray,
        known: Sequence[Box],
        config: TrackingConfig,
        likely: Sequence[Box] = (),
    ) -> list[Target]:
        """Sure hands beside those in the ``known`` boxes, the most prominent first.

        Also looked for in the ``likely`` boxes. Without a closer look: frames should not wait.
        """
        seen = self._localise(image, min(config.localiser_min_score + _ONE_LOOK, 1.0), False)
        new = _beside(known, [_area(hand, config) for hand in seen])
        areas = [_Area(target) for target in (*map(Target, likely), *new)]
        return _beside(known, _ranked(self._zoom(image, areas, config), sure_score(config)))

    def _zoom(
        self, image: np.ndarray, areas: Sequence[_Area], config: TrackingConfig
    ) -> list[_Scored]:
        """Move areas onto the joints seen in them: weighted scores there, and the targets.

        Those that are moved far are seen once more. Without those that show no hand at all.
        """
        found: list[_Scored] = []
        for zoom in range(1, _ZOOMS + 1):
            far: list[_Area] = []
            for before, area in self._moved(image, areas, config) if areas else ():
                if before.overlap(area.target.box) > _SETTLED or zoom == _ZOOMS:
                    found.append(area.scored)
                else:
                    far.append(area)
            areas = far
        return found

    def _moved(
        self, image: np.ndarray, areas: Sequence[_Area], config: TrackingConfig
    ) -> list[tuple[Box, _Area]]:
        """Boxes, and their areas moved onto the joints seen there. The side found first stays."""
        given = [_known_side(area.target, config) for area in areas]
        views = [
            (row, side)
            for row, known in enumerate(given)
            for side in ((known,) if known is not None else (Side.RIGHT, Side.LEFT))
        ]
        crops = [crop_image(image, areas[row].target.box, side is Side.LEFT) for row, side in views]
        evidence = self._infer(crops)
        moved = []
        for row, area in enumerate(areas):
            # A right hand and a left one in the mirror look alike: the side is where the crop
            # looks more like a right hand than its mirror image does.
            own = [index for index, view in enumerate(views) if view[0] == row]
            best = own[int(evidence.right[own].argmax())]
            if evidence.score[own].max() * area.weight < _HOPELESS * config.min_score:
                continue
            joints_px = crops[best].to_image(evidence.joints[best].cpu().numpy())
            box, side = joints_box(joints_px, config), views[best][1]
            known = given_side(area.target, config) is not None
            source = SideSource.GIVEN if known else SideSource.FOUND
            target = replace(area.target, box=box, side=side, side_source=source)
            scores = (*area.scores, float(evidence.score[best]))
            moved.append((area.target.box, _Area(target, area.weight, scores)))
        return moved


def _area(hand: FoundHand, config: TrackingConfig) -> Target:
    """Where the localiser says, as large as a crop is."""
    return Target(hand.box.squared(config.crop_scale))


def _weight(hand: FoundHand) -> float:
    """The factor, at most 1, of the evidence's scores where the localiser found a hand."""
    return min(hand.score / _SURE_OF_PLACE, 1.0) ** _WEIGHT_POWER


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


def _known_side(target: Target, config: TrackingConfig) -> Side | None:
    """As ``given_side``, or the side that an earlier crop of the same search showed."""
    given = given_side(target, config)
    return target.side if given is None and target.side_source is SideSource.FOUND else given


def joints_box(joints_px: np.ndarray, config: TrackingConfig) -> Box:
    """The square crop about ``(21, 2)`` joints."""
    return Box.around(joints_px).squared(config.crop_scale)


def _beside(known: Sequence[Box], targets: Sequence[Target]) -> list[Target]:
    """Leave out targets that are known hands."""
    return [t for t in targets if not any(same_box(t.box, box) for box in known)]


def _ranked(found: Sequence[_Scored], at_least: float) -> list[Target]:
    """The targets with that score, the most prominent first, each hand once."""
    targets = _by_prominence(found, at_least)
    return suppress_duplicates(targets, lambda one, other: same_box(one.box, other.box))


def _by_prominence(found: Sequence[_Scored], at_least: float) -> list[Target]:
    found = sorted(found, key=lambda one: -prominence(one[0], one[1].box))
    return [target for score, target in found if score >= at_least]
