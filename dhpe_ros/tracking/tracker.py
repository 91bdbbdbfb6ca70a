"""Boxes and identities from frame to frame."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from dhpe_ros.config import TrackingConfig
from dhpe_ros.detection.search import joints_box, prominence, sure_score
from dhpe_ros.geometry.association import (
    MOVED_OVERLAP,
    assign,
    distance,
    same_box,
    same_hand,
    suppress_duplicates,
)
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.scale import HandScales
from dhpe_ros.media.pictures import as_image
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.tracking.side import FIRM, SideBelief
from dhpe_ros.types import Box, Hand, Side, SideSource, Target

BACK_S = 0.5  # an image that is more than so much older is of another time, not just late
GAP_S = 5.0  # after so long without an image, all followed hands are lost
FRAME_S = 1 / 30  # between two images without a time
PATIENCE_FRAMES = 10  # in a row with unconfirmed hands only, after which those are followed
WEAK_SCORE = 0.6  # a lone hand below it may be the wrong one
WEAK_FRAMES = 5  # so many in a row, and a search looks for a challenger
SURER_BY = 1.1  # so many times as prominent must the challenger be

_OTHER_VIEW = 0.1  # of an image's width, by which another camera's intrinsics differ at least

# Lengths and costs below are in sizes of the hand: the longer side of the box about its joints.
_GATE = 1.0  # distance at most of a returning hand from where it was expected,
_GATE_PER_S = 2.0  # and so much more for each second it was lost
_OTHER_SIDE_COST = 1.4  # of being the other hand, where the image is sure of it
_SIDE_PROBABILITY = 0.75  # of a side that was given, or that a search found
_COASTING_S = 0.4  # a lost hand is expected to go on moving for so long,
_COASTING = 2.0  # and so far at most
_TOO_SOON_S = 2e-3  # after the last frame, a place tells nothing of the velocity
_KEPT_VELOCITY = 0.7  # of it, from frame to frame
# Costs of a change of identity: to another followed hand's, and to a lost hand's. The latter is
# free where the hand is so much nearer to where the lost one was expected.
_SWAP_COST, _RETURN_COST, _NEARER = 0.5, 0.75, 0.35


@dataclass(frozen=True)
class _Track:
    """A hand that is followed, or lost."""

    hand: Hand
    box: Box  # about the joints, as the next crop
    scale: float  # of the box, in sizes of the hand
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

    def expected(self, time_s: float) -> Box:
        """The box in which the hand is expected."""
        shift = self.velocity * min(time_s - self.seen_s, _COASTING_S)
        most = _COASTING * self.box.width / self.scale
        shift = shift * (most / max(np.hypot(*shift), most))
        return replace(self.box, x=self.box.x + shift[0], y=self.box.y + shift[1])

    def gate(self, time_s: float) -> float:
        """Largest plausible distance from where the hand is expected, in sizes."""
        return _GATE + _GATE_PER_S * (time_s - self.seen_s)

    def distance(self, box: Box, time_s: float) -> float:
        """Distance of a hand in ``box`` from where this one is expected, in sizes."""
        return self.scale * distance(self.expected(time_s), box)

    def cost(self, box: Box, right: float | None, time_s: float) -> float:
        """Cost of taking a hand in ``box`` for this one: distance in sizes, and the side.

        ``right`` is the probability that it is a right hand, None if unknown.
        """
        doubt = 0.0 if right is None else abs(right - (self.belief.side is Side.RIGHT))
        return self.distance(box, time_s) + _OTHER_SIDE_COST * doubt


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
        self._scales = HandScales(self.pipeline.length_ratio)
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
        """Estimate the hands in the next frame ``(H, W, 3)`` uint8 RGB, the oldest track first.

        ``boxes``, from someone else's detector, take the place of a search; one on a hand that is
        followed is where this hand is looked for. Followed hands without a box stay if they score
        as high as a search asks. ``depth_m`` ``(H, W)``, NaN where unknown, is the depth image of
        the same camera. ``time_s`` is when the image was taken, by default a frame after the last.

        An image up to ``BACK_S`` older than the newest one counts as taken with that one. All hands
        are forgotten where time goes back by more, as when a recording begins again, or where the
        image's size or the camera changes. All are lost where time leaps ahead by over ``GAP_S``.
        """
        image = as_image(image)
        self._keep_to_view(image, camera)
        self._move_on(time_s)
        challenger = self._challenger(image) if boxes is None else []
        found = [] if challenger else self._found(image, boxes)
        found_ids = {target.track_id for target in found}
        followed = [t.target for t in self._tracks.values() if t.track_id not in found_ids]
        targets = sorted(followed + found, key=lambda target: target.track_id not in self._tracks)
        targets = targets[: self._config.max_hands]
        hands = self.pipeline.estimate(image, camera, targets + challenger)
        if boxes is None:
            hands = self._confirmed(hands)
        else:
            least = self._config.min_score  # of hands without a given box, as of a search
            hands = [h for h in hands if h.track_id in found_ids or h.score >= least]
        if challenger:
            hands = [_surer(hands)] if hands else []
        hands = self._without_duplicates(self._repaired(hands))
        hands = self._with_own_sides(image, camera, hands)
        weak = len(hands) == 1 and hands[0].score < WEAK_SCORE
        self._weak_frames = self._weak_frames + 1 if weak else 0
        self._remember(hands)
        return self._scales.applied(hands, self.pipeline.config.scale, depth_m, self._time_s)

    @property
    def _config(self) -> TrackingConfig:
        return self.pipeline.config.tracking

    @property
    def _known(self) -> dict[int, _Track]:
        """Hands that are followed, and lost ones, by identity."""
        return {**self._lost, **self._tracks}

    def _keep_to_view(self, image: np.ndarray, camera: Camera | None) -> None:
        """Begin anew where the image is of another size, or of another camera, than the last."""
        height, width = image.shape[:2]
        field_of_view_deg = self.pipeline.config.camera.field_of_view_deg
        camera = camera or Camera.from_field_of_view(width, height, field_of_view_deg)
        if self._camera is not None and not _same_view(camera, self._camera):
            self.reset()
        self._camera = camera

    def _move_on(self, time_s: float | None) -> None:
        """Move the tracker's time on to an image's. Hands are forgotten or lost where it leaps."""
        if time_s is None or not math.isfinite(time_s):
            time_s = self._time_s + FRAME_S if math.isfinite(self._time_s) else 0.0
        if time_s < self._time_s - BACK_S:
            self.reset()
        elif time_s > self._time_s + GAP_S:
            self._lost, self._tracks = self._known, {}
        now = self._time_s = max(time_s, self._time_s)
        memory_s = self._config.memory
        self._lost = {k: t for k, t in self._lost.items() if now - t.seen_s <= memory_s}

    def _found(self, image: np.ndarray, boxes: Sequence[Target] | None) -> list[Target]:
        """Find hands that are not followed yet: from outside, or by a search.

        Every image is searched while none is followed, with a closer look where a search is due.
        """
        is_due = self._search_is_due()
        if boxes is not None:
            found = self.pipeline.find(image, boxes)
        elif not self._tracks:
            found = self.pipeline.find(image, closer=is_due)
        elif is_due:
            followed = [track.box for track in self._tracks.values()]
            likely = [track.expected(self._time_s) for track in self._lost.values()]
            found = self.pipeline.search.elsewhere(image, followed, self._config, likely)
        else:
            return []
        if is_due or boxes is not None:
            self._searched_s = self._time_s
        return self._identified(found, self._lost if boxes is None else self._known)

    def _search_is_due(self) -> bool:
        if self._config.box != "full" or len(self._tracks) >= self._config.max_hands:
            return False
        return (self._time_s - self._searched_s) * self._config.search_rate >= 1.0

    def _identified(self, found: Sequence[Target], known: Mapping[int, _Track]) -> list[Target]:
        """Give found targets the identities of the hands they fit best, or new ones."""
        tracks, time_s = list(known.values()), self._time_s
        costs = [
            [track.cost(t.box, _right(t.side), time_s) / track.gate(time_s) for track in tracks]
            for t in found
        ]
        pairs = assign(np.reshape(costs, (len(found), len(tracks))), gate=1.0)
        return [
            self._as_track(target, tracks[pairs[row]])
            if row in pairs
            else replace(target, track_id=next(self._ids))
            for row, target in enumerate(found)
        ]

    def _as_track(self, target: Target, track: _Track) -> Target:
        """A found target with the identity of a known hand; a side that was given stays."""
        own = replace(self._target_of(track), box=target.box)
        given = target.side is not None and target.side_source is SideSource.GIVEN
        return replace(own, side=target.side, side_source=SideSource.GIVEN) if given else own

    def _target_of(self, track: _Track) -> Target:
        """The target of a known hand; one that was lost has no frame before."""
        followed = track.track_id in self._tracks
        return track.target if followed else replace(track.target, previous=None)

    def _confirmed(self, hands: list[Hand]) -> list[Hand]:
        """Leave out found hands that score low; without any other, only for some frames."""
        known, sure = self._known, sure_score(self._config)
        kept = [h for h in hands if h.track_id in known or h.score >= sure]
        self._unsure_frames = 0 if kept or not hands else self._unsure_frames + 1
        return hands if self._unsure_frames > PATIENCE_FRAMES else kept

    def _challenger(self, image: np.ndarray) -> list[Target]:
        """A hand that a new search finds elsewhere, now and then while a lone track is weak."""
        if len(self._tracks) != 1 or self._weak_frames < WEAK_FRAMES:
            return []
        self._weak_frames = 0
        (tracked,) = self._tracks.values()
        found = self.pipeline.find(image)
        elsewhere = [t for t in found if not same_box(t.box, tracked.box, MOVED_OVERLAP)]
        return [replace(target, track_id=next(self._ids)) for target in elsewhere[:1]]

    def _repaired(self, hands: Sequence[Hand]) -> list[Hand]:
        """Repair identities that hands have just swapped, or taken from a lost hand.

        Where two hands cross, a crop may show the one where the other was before.
        """
        known = self._known
        followed = [hand for hand in hands if hand.track_id in known]
        own = [hand.track_id for hand in followed]
        identities = own + [track_id for track_id in self._lost if track_id not in own]
        costs = [
            [self._cost(h, known[k]) + self._change_cost(h, k, k in own) for k in identities]
            for h in followed
        ]
        pairs = assign(np.reshape(costs, (len(own), len(identities))))
        repaired = {own[row]: identities[column] for row, column in pairs.items()}
        return [replace(h, track_id=repaired.get(h.track_id, h.track_id)) for h in hands]

    def _change_cost(self, hand: Hand, track_id: int, taken: bool) -> float:
        """Cost of a change of identity, to one that another hand has ``taken`` or to a lost one.

        Infinite where the lost hand cannot have come so far.
        """
        if track_id == hand.track_id:
            return 0.0
        if taken:
            return _SWAP_COST
        own, lost = self._known[hand.track_id], self._lost[track_id]
        box, time_s = self._box(hand), self._time_s
        from_lost = lost.distance(box, time_s)
        if from_lost > lost.gate(time_s):
            return math.inf
        return 0.0 if own.distance(box, time_s) - from_lost > _NEARER else _RETURN_COST

    def _with_own_sides(
        self, image: np.ndarray, camera: Camera | None, hands: Sequence[Hand]
    ) -> list[Hand]:
        """Estimate those again, in the same crop, that were seen as the other side."""
        known = self._known
        wrong = {
            hand.track_id: hand
            for hand in hands
            if hand.track_id in known
            and not math.isnan(hand.right)
            and hand.side is not known[hand.track_id].belief.side
        }
        targets = [
            replace(self._target_of(known[k]), box=hand.box, side_source=SideSource.GIVEN)
            for k, hand in wrong.items()
        ]
        again = self.pipeline.estimate(image, camera, targets) if targets else []
        again = [replace(hand, right=wrong[hand.track_id].right) for hand in again]
        kept = [hand for hand in hands if hand.track_id not in wrong]
        return sorted(kept + again, key=lambda hand: hand.track_id)

    def _without_duplicates(self, hands: Sequence[Hand]) -> list[Hand]:
        """Where two crops show one hand, keep it for the track that it fits better.

        The other is hidden behind it, most likely, and lost for now.
        """
        known = self._known
        costs = {
            h.track_id: self._cost(h, known[h.track_id]) if h.track_id in known else math.inf
            for h in hands
        }
        kept = suppress_duplicates(sorted(hands, key=lambda h: costs[h.track_id]), same_hand)
        return sorted(kept, key=lambda hand: hand.track_id)

    def _remember(self, hands: Iterable[Hand]) -> None:
        """Keep the tracks of these hands, and for a while those that are lost."""
        before = self._known
        self._tracks = {h.track_id: self._track(h, before.get(h.track_id)) for h in hands}
        lost = [track for k, track in before.items() if k not in self._tracks]
        lost = sorted(lost, key=lambda track: -track.seen_s)[: self._config.max_hands]
        self._lost = {track.track_id: track for track in lost}
        self._scales.keep(set(self._known))

    def _track(self, hand: Hand, last: _Track | None) -> _Track:
        box, scale, time_s = self._box(hand), self._config.crop_scale, self._time_s
        passed_s = math.inf if last is None else time_s - last.seen_s
        belief = SideBelief(hand.side, FIRM)
        if not math.isnan(hand.right):
            belief = SideBelief(hand.side) if last is None else last.belief
            belief = belief.after(hand.right, passed_s)
        if last is None:
            return _Track(hand, box, scale, time_s, np.zeros(2), belief)
        velocity = last.velocity
        if passed_s > _TOO_SOON_S:
            now = np.subtract(box.center, last.box.center) / passed_s
            velocity = _KEPT_VELOCITY * velocity + (1 - _KEPT_VELOCITY) * now
        return _Track(hand, box, scale, time_s, velocity, belief)

    def _cost(self, hand: Hand, track: _Track) -> float:
        right = _right(hand.side) if math.isnan(hand.right) else hand.right
        return track.cost(self._box(hand), right, self._time_s)

    def _box(self, hand: Hand) -> Box:
        return joints_box(hand.joints_px, self._config)


def _same_view(one: Camera, other: Camera) -> bool:
    """A lens that breathes as it focuses shows the same; zoom or another cut-out does not."""
    if (one.width, one.height) != (other.width, other.height):
        return False
    changes = (one.fx - other.fx, one.fy - other.fy, one.cx - other.cx, one.cy - other.cy)
    return float(np.abs(changes).max()) < _OTHER_VIEW * one.width


def _right(side: Side | None) -> float | None:
    """Probability of a right hand, of a side that was given or found."""
    if side is None:
        return None
    return _SIDE_PROBABILITY if side is Side.RIGHT else 1 - _SIDE_PROBABILITY


def _surer(hands: Sequence[Hand]) -> Hand:
    """The tracked hand, which comes first, unless the other is clearly surer."""
    first, last = hands[0], hands[-1]
    mark = SURER_BY * prominence(first.score, first.box)
    return last if prominence(last.score, last.box) > mark else first
