"""Boxes and identities from frame to frame."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dhpe_ros.detection.search import joints_box, prominence, sure_score
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.scale import HandScales
from dhpe_ros.media.pictures import as_image
from dhpe_ros.pipeline import HandPipeline, each_once
from dhpe_ros.refinement.start import SAME_HAND_OVERLAP
from dhpe_ros.tracking.side import FIRM, SideBelief
from dhpe_ros.types import Box, Hand, Side, SideSource, Target

BACK_S = 0.5  # an image that is more than so much older is of another time, not just late
GAP_S = 5.0  # after so long without an image, hands that were followed are lost
FRAME_S = 1 / 30  # between two images, for who does not say when they were taken
PATIENCE_FRAMES = 10  # in a row with weaker hands only, and those will do
WEAK_SCORE = 0.6  # a lone hand below it may be the wrong one
WEAK_FRAMES = 5  # so many in a row, and a search looks for a surer one
SURER_BY = 1.1  # so many times as prominent a hand elsewhere must be

_OTHER_VIEW = 0.1  # of an image's width, by which intrinsics change that are of another camera

# Lengths below are in sizes of the hand: the longer side of the box about its joints.
_REACH = 1.0  # from where it was expected, a hand that comes back may be so far,
_REACH_PER_S = 2.0  # and so much farther for each second it was away
_OTHER_SIDE = 1.4  # what being the other hand costs, where the image is sure of it
_SURE = 0.75  # probability that a side is right which was told, or which a search found
_COASTING_S = 0.4  # a lost hand is expected to go on moving for so long,
_COASTING = 2.0  # and so far at most
_TOO_SOON_S = 2e-3  # after the last frame, a place tells nothing of the velocity
_KEEP = 0.7  # of the velocity so far, from frame to frame
# By so much better must two hands fit each other's identities, and one that of a lost hand, to be
# taken for these; or by so much nearer be to where the lost hand was expected.
_SWAPPED, _OTHER, _NEARER = 1.0, 0.75, 0.35


@dataclass(frozen=True)
class _Track:
    """A hand that is followed, or was until a moment ago."""

    hand: Hand
    box: Box  # about the joints, as the next crop
    seen_s: float
    velocity: np.ndarray  # (2,) pixels a second
    belief: SideBelief  # which hand it is, by all frames so far

    @property
    def track_id(self) -> int:
        return self.hand.track_id

    @property
    def target(self) -> Target:
        side, number = self.belief.side, self.track_id
        return Target(self.box, side, number, SideSource.FOLLOWED, previous=self.hand)

    def place_at(self, time_s: float, scale: float) -> np.ndarray:
        """``(2,)``: where the hand's middle is expected."""
        way = self.velocity * min(time_s - self.seen_s, _COASTING_S)
        most = _COASTING * self.box.width / scale
        return self.box.center + way * (most / max(np.hypot(*way), most))

    def box_at(self, time_s: float, scale: float) -> Box:
        x, y = self.place_at(time_s, scale)
        width, height = self.box.width, self.box.height
        return Box(x - width / 2, y - height / 2, width, height)

    def reach(self, time_s: float) -> float:
        """How far from where it is expected the hand may be, in sizes."""
        return _REACH + _REACH_PER_S * (time_s - self.seen_s)

    def distance(self, box: Box, time_s: float, scale: float) -> float:
        """Of a hand in ``box`` from where this one is expected, in sizes."""
        size = max(self.box.width, box.width) / scale
        return float(np.linalg.norm(self.place_at(time_s, scale) - box.center)) / size

    def misfit(self, box: Box, right: float | None, time_s: float, scale: float) -> float:
        """How little a hand in ``box`` looks like this one: distance in sizes, and the side.

        ``right`` is the probability that it is a right hand; None: nobody knows.
        """
        distance = self.distance(box, time_s, scale)
        if right is None:
            return distance
        return distance + _OTHER_SIDE * abs(right - (self.belief.side is Side.RIGHT))


class HandTracker:
    """Follows hands: the next frame's box is the last mesh's, further ones are searched for.

    Each hand takes its last frame along, which the refinement stays near. One that is lost, behind
    another or out of the image, keeps its identity for ``tracking.memory`` seconds.

    A lone hand that stays weak gives way to a surer one elsewhere.
    """

    def __init__(self, pipeline: HandPipeline) -> None:
        self.pipeline = pipeline
        self._ids = itertools.count(1)
        self._camera: Camera | None = None
        self.reset()

    def reset(self) -> None:
        """Forget every hand; identities are never used twice."""
        self._tracks: dict[int, _Track] = {}  # what is followed
        self._lost: dict[int, _Track] = {}
        self._scales = HandScales()
        self._time_s = self._searched_s = -math.inf
        self._weak_frames = self._unsure_frames = 0

    def process(
        self,
        image: np.ndarray,
        camera: Camera | None = None,
        boxes: Sequence[Target] | None = None,
        depth_m: np.ndarray | None = None,
        time_s: float | None = None,
    ) -> list[Hand]:
        """The hands in the next frame ``(H, W, 3)`` uint8 RGB, in the order they were found.

        ``boxes``, where given, come from someone else's detector and take the place of a search;
        one that overlaps a hand that is followed is where this hand is looked for. Followed hands
        without a box stay if they score as high as a search asks. No more than
        ``tracking.max_hands`` are followed: the oldest, then the most prominent.

        ``depth_m`` ``(H, W)``, NaN where unknown, is the depth image of the same camera. ``time_s``
        is when the image was taken; None, and what is not finite, is a frame after the last image.
        The tracker's time never goes back: an image up to ``BACK_S`` older than the newest one is
        just late, and counts as taken with that one. By more, as when a recording begins again,
        all hands are forgotten. When time leaps ahead by more than ``GAP_S``, as when a camera was
        paused, all hands are lost. They are also forgotten when the image's size or the camera
        changes: their pixels are others then.
        """
        image = as_image(image)
        self._keep_to_view(image, camera)
        time_s = self._now(time_s)
        self._forget_lost(time_s)
        rival = self._rival(image) if boxes is None else []
        found = [] if rival else self._found(image, boxes, time_s)
        found_ids = {target.track_id for target in found}
        followed = [t.target for t in self._tracks.values() if t.track_id not in found_ids]
        targets = sorted(followed + found, key=lambda target: target.track_id not in self._tracks)
        targets = targets[: self._max_hands]
        hands = self.pipeline.estimate(image, camera, targets + rival)
        hands = self._taken_up(hands) if boxes is None else self._vouched_for(hands, found_ids)
        if rival:
            hands = [_surer(hands)] if hands else []
        hands = self._each_once(self._as_they_were(hands, time_s), time_s)
        hands = self._as_own_side(image, camera, hands)
        self._note_weakness(hands)
        self._remember(hands, time_s)
        scale = self.pipeline.config.scale
        return self._scales.applied(hands, scale, depth_m, time_s)

    @property
    def _max_hands(self) -> int:
        return self.pipeline.config.tracking.max_hands

    def _keep_to_view(self, image: np.ndarray, camera: Camera | None) -> None:
        """Begin anew where the image is of another size, or of another camera, than the last."""
        height, width = image.shape[:2]
        field_of_view_deg = self.pipeline.config.camera.field_of_view_deg
        camera = camera or Camera.from_field_of_view(width, height, field_of_view_deg)
        if self._camera is not None and not _same_view(camera, self._camera):
            self.reset()
        self._camera = camera

    def _now(self, time_s: float | None) -> float:
        """Move the tracker's time on to an image's. Hands are forgotten or lost where it leaps."""
        if time_s is None or not math.isfinite(time_s):
            time_s = self._time_s + FRAME_S if math.isfinite(self._time_s) else 0.0
        if time_s < self._time_s - BACK_S:
            self.reset()
        elif time_s > self._time_s + GAP_S:
            self._lost, self._tracks = {**self._lost, **self._tracks}, {}
        self._time_s = max(time_s, self._time_s)
        return self._time_s

    def _forget_lost(self, time_s: float) -> None:
        memory_s = self.pipeline.config.tracking.memory
        self._lost = {k: t for k, t in self._lost.items() if time_s - t.seen_s <= memory_s}

    def _found(
        self, image: np.ndarray, boxes: Sequence[Target] | None, time_s: float
    ) -> list[Target]:
        """Hands that are not followed yet: from outside, or from a search where one is due."""
        tracking = self.pipeline.config.tracking
        if boxes is not None:
            found = self.pipeline.find(image, boxes)
        elif not self._tracks:
            found = self.pipeline.find(image)
        elif self._search_is_due(time_s):
            known = [track.box for track in self._tracks.values()]
            likely = [track.box_at(time_s, tracking.crop_scale) for track in self._lost.values()]
            found = self.pipeline.search.elsewhere(image, known, tracking, likely)
        else:
            return []
        self._searched_s = time_s
        known = {**self._lost} if boxes is None else {**self._lost, **self._tracks}
        return [self._identified(target, known, time_s) for target in found]

    def _search_is_due(self, time_s: float) -> bool:
        tracking = self.pipeline.config.tracking
        if tracking.box != "full" or len(self._tracks) >= tracking.max_hands:
            return False
        return (time_s - self._searched_s) * tracking.search_rate >= 1.0

    def _identified(self, target: Target, known: dict[int, _Track], time_s: float) -> Target:
        """Give a found target the identity of the hand it fits best, which then is taken."""
        scale = self.pipeline.config.tracking.crop_scale

        def misfit(track: _Track) -> float:
            return track.misfit(target.box, _right(target.side), time_s, scale) / track.reach(
                time_s
            )

        best = min(known.values(), key=misfit, default=None)
        if best is None or misfit(best) > 1:
            return replace(target, track_id=next(self._ids))
        del known[best.track_id]
        own = replace(self._target_of(best), box=target.box)
        if target.side is None or target.side_source is not SideSource.TOLD:
            return own
        return replace(own, side=target.side, side_source=SideSource.TOLD)

    def _target_of(self, track: _Track) -> Target:
        """Where to look for a hand that is known; one that was lost has no frame before."""
        followed = track.track_id in self._tracks
        return track.target if followed else replace(track.target, previous=None)

    def _taken_up(self, hands: list[Hand]) -> list[Hand]:
        """Without those just found that are not sure; lone ones will do after some patience."""
        sure = sure_score(self.pipeline.config.tracking)
        known = self._tracks.keys() | self._lost.keys()
        kept = [h for h in hands if h.track_id in known or h.score >= sure]
        self._unsure_frames = 0 if kept or not hands else self._unsure_frames + 1
        return hands if self._unsure_frames > PATIENCE_FRAMES else kept

    def _vouched_for(self, hands: list[Hand], told: set[int]) -> list[Hand]:
        """Without those that boxes from outside do not show and that a search would not find."""
        least = self.pipeline.config.tracking.min_score
        return [hand for hand in hands if hand.track_id in told or hand.score >= least]

    def _rival(self, image: np.ndarray) -> list[Target]:
        """What a fresh search finds elsewhere, now and then while a lone track is weak."""
        if len(self._tracks) != 1 or self._weak_frames < WEAK_FRAMES:
            return []
        self._weak_frames = 0
        (tracked,) = self._tracks.values()
        found = self.pipeline.find(image)
        elsewhere = [t for t in found if t.box.overlap(tracked.box) < SAME_HAND_OVERLAP]
        return [replace(target, track_id=next(self._ids)) for target in elsewhere[:1]]

    def _note_weakness(self, hands: Sequence[Hand]) -> None:
        weak = len(hands) == 1 and hands[0].score < WEAK_SCORE
        self._weak_frames = self._weak_frames + 1 if weak else 0

    def _as_they_were(self, hands: Sequence[Hand], time_s: float) -> list[Hand]:
        """With identities given back that hands have just swapped, or taken from one that is lost.

        Where two hands cross, a crop may show the one where the other was before.
        """
        hands, known = list(hands), {**self._lost, **self._tracks}
        scale = self.pipeline.config.tracking.crop_scale

        def misfit(hand: Hand, number: int) -> float:
            return self._misfit(hand, known[number], time_s)

        def distance(hand: Hand, number: int) -> float:
            return known[number].distance(self._box(hand), time_s, scale)

        followed = [k for k, hand in enumerate(hands) if hand.track_id in known]
        for a, b in itertools.combinations(followed, 2):
            one, other = hands[a], hands[b]
            first, second = one.track_id, other.track_id
            swapped = misfit(one, second) + misfit(other, first)
            if swapped < misfit(one, first) + misfit(other, second) - _SWAPPED:
                hands[a], hands[b] = replace(one, track_id=second), replace(other, track_id=first)
        for k in followed:
            own = hands[k].track_id
            for lost in self._lost.keys() - {hand.track_id for hand in hands}:
                if distance(hands[k], lost) > self._lost[lost].reach(time_s):
                    continue
                nearer = distance(hands[k], own) - distance(hands[k], lost)
                better = misfit(hands[k], own) - misfit(hands[k], lost)
                if (nearer > _NEARER and better > 0) or better > _OTHER:
                    hands[k] = replace(hands[k], track_id=lost)
                    break
        return hands

    def _as_own_side(
        self, image: np.ndarray, camera: Camera | None, hands: Sequence[Hand]
    ) -> list[Hand]:
        """With those estimated again, in the same crop, that are not the side they were seen as."""
        known, kept, wrong = {**self._lost, **self._tracks}, [], {}
        for hand in hands:
            track = known.get(hand.track_id)
            if track is None or math.isnan(hand.right) or hand.side is track.belief.side:
                kept.append(hand)
            else:
                wrong[hand.track_id] = hand
        targets = [
            replace(self._target_of(known[k]), box=hand.box, side_source=SideSource.TOLD)
            for k, hand in wrong.items()
        ]
        again = self.pipeline.estimate(image, camera, targets) if targets else []
        again = [replace(hand, right=wrong[hand.track_id].right) for hand in again]
        return sorted(kept + again, key=lambda hand: hand.track_id)

    def _each_once(self, hands: Sequence[Hand], time_s: float) -> list[Hand]:
        """Where two crops saw one hand, it is that of the track which it fits better.

        The other is hidden behind it, most likely, and lost for now.
        """

        def misfit(hand: Hand) -> float:
            track = self._tracks.get(hand.track_id) or self._lost.get(hand.track_id)
            return np.inf if track is None else self._misfit(hand, track, time_s)

        kept = each_once(sorted(hands, key=misfit))
        return sorted(kept, key=lambda hand: hand.track_id)

    def _remember(self, hands: Iterable[Hand], time_s: float) -> None:
        """What is followed from now on, and for a while what is not any more."""
        before = {**self._lost, **self._tracks}
        self._tracks = {h.track_id: self._track(h, before, time_s) for h in hands}
        lost = [track for k, track in before.items() if k not in self._tracks]
        lost = sorted(lost, key=lambda track: -track.seen_s)[: self._max_hands]
        self._lost = {track.track_id: track for track in lost}
        self._scales.keep(self._tracks.keys() | self._lost.keys())

    def _track(self, hand: Hand, before: dict[int, _Track], time_s: float) -> _Track:
        box, last = self._box(hand), before.get(hand.track_id)
        passed_s = math.inf if last is None else time_s - last.seen_s
        belief = SideBelief(hand.side, FIRM)
        if not math.isnan(hand.right):
            before = SideBelief(hand.side) if last is None else last.belief
            belief = before.after(hand.right, passed_s)
        if last is None:
            return _Track(hand, box, time_s, np.zeros(2), belief)
        velocity = last.velocity
        if passed_s > _TOO_SOON_S:
            now = np.subtract(box.center, last.box.center) / passed_s
            velocity = _KEEP * velocity + (1 - _KEEP) * now
        return _Track(hand, box, time_s, velocity, belief)

    def _misfit(self, hand: Hand, track: _Track, time_s: float) -> float:
        scale = self.pipeline.config.tracking.crop_scale
        right = _right(hand.side) if math.isnan(hand.right) else hand.right
        return track.misfit(self._box(hand), right, time_s, scale)

    def _box(self, hand: Hand) -> Box:
        return joints_box(hand.joints_px, self.pipeline.config.tracking)


def _same_view(one: Camera, other: Camera) -> bool:
    """A lens that breathes as it focuses shows the same; zoom or another cut-out does not."""
    if (one.width, one.height) != (other.width, other.height):
        return False
    changes = (one.fx - other.fx, one.fy - other.fy, one.cx - other.cx, one.cy - other.cy)
    return float(np.abs(changes).max()) < _OTHER_VIEW * one.width


def _right(side: Side | None) -> float | None:
    """The probability of a right hand, of a side that was told or found."""
    return None if side is None else _SURE if side is Side.RIGHT else 1 - _SURE


def _surer(hands: Sequence[Hand]) -> Hand:
    """The tracked hand, which comes first, unless the other is clearly surer."""
    first, last = hands[0], hands[-1]
    mark = SURER_BY * prominence(first.score, first.box)
    return last if prominence(last.score, last.box) > mark else first
