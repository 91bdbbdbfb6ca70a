"""Boxes and identities from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dhpe_ros.camera import Camera
from dhpe_ros.hand_search import joints_box, prominence
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.refinement_start import SAME_HAND_OVERLAP
from dhpe_ros.types import Hand, Target

SURE_FACTOR = 1.45  # of min_score, for a hand that the search has found to be followed at once
PATIENCE_FRAMES = 10  # in a row with weaker hands only, and those will do
WEAK_SCORE = 0.6  # a lone hand below it may be the wrong one
WEAK_FRAMES = 5  # so many in a row, and a search looks for a surer one
SURER_BY = 1.1  # so many times as prominent a hand elsewhere must be


class HandTracker:
    """Follows hands: the next frame's box is the last mesh's, a lost hand is searched for anew.

    Each hand takes its last frame along, which the refinement starts from and stays near.

    A lone hand that stays weak gives way to a surer one elsewhere.
    """

    def __init__(self, pipeline: HandPipeline) -> None:
        self.pipeline = pipeline
        self._targets: list[Target] = []
        self._next_id = 1
        self._weak_frames = 0
        self._unsure_frames = 0

    def reset(self) -> None:
        """Forget every hand; identities are never used twice."""
        self._targets = []

    def process(
        self,
        image: np.ndarray,
        camera: Camera | None = None,
        boxes: Sequence[Target] | None = None,
    ) -> list[Hand]:
        """The hands in the next frame ``(H, W, 3)`` uint8 RGB.

        ``boxes``, where given, come from someone else's detector and override what was tracked;
        a box that overlaps a hand that was tracked keeps its identity.
        """
        anew = boxes is None and not self._targets
        if anew or boxes is not None:
            found = self.pipeline.find(image, boxes)
            known = list(self._targets)
            self._targets = [self._identify(target, known) for target in found]
            self._weak_frames = 0
        rival = self._rival(image)
        hands = self.pipeline.estimate(image, camera, self._targets + rival)
        if rival:
            hands = [_surer(hands)] if hands else []
        if anew:
            hands = self._taken_up(hands)
        self._note_weakness(hands)
        self._targets = [self._follow(hand) for hand in hands]
        return hands

    def _taken_up(self, hands: list[Hand]) -> list[Hand]:
        """Hands sure enough to be followed from now on; weaker ones after some patience."""
        sure_score = SURE_FACTOR * self.pipeline.config.tracking.min_score
        sure = [hand for hand in hands if hand.score >= sure_score]
        self._unsure_frames = 0 if sure or not hands else self._unsure_frames + 1
        return hands if self._unsure_frames > PATIENCE_FRAMES else sure

    def _rival(self, image: np.ndarray) -> list[Target]:
        """What a fresh search finds elsewhere, now and then while a lone track is weak."""
        if len(self._targets) != 1 or self._weak_frames < WEAK_FRAMES:
            return []
        self._weak_frames = 0
        (tracked,) = self._targets
        found = self.pipeline.find(image)
        elsewhere = [t for t in found if t.box.overlap(tracked.box) < SAME_HAND_OVERLAP]
        return [self._identify(target, []) for target in elsewhere]

    def _note_weakness(self, hands: Sequence[Hand]) -> None:
        weak = len(hands) == 1 and hands[0].score < WEAK_SCORE
        self._weak_frames = self._weak_frames + 1 if weak else 0

    def _follow(self, hand: Hand) -> Target:
        box = joints_box(hand.joints_px, self.pipeline.config.tracking)
        return Target(box, hand.side, hand.track_id, side_is_told=False, previous=hand)

    def _identify(self, target: Target, known: list[Target]) -> Target:
        """Give a found target the identity of the hand it overlaps, which then is taken."""
        last = max(known, key=lambda one: target.box.overlap(one.box), default=None)
        if last is not None and target.box.overlap(last.box) > SAME_HAND_OVERLAP:
            known.remove(last)
            return replace(target, track_id=last.track_id, previous=last.previous)
        self._next_id += 1
        return replace(target, track_id=self._next_id - 1)


def _surer(hands: Sequence[Hand]) -> Hand:
    """The tracked hand, which comes first, unless the other is clearly surer."""
    first, last = hands[0], hands[-1]
    mark = SURER_BY * prominence(first.score, first.box)
    return last if prominence(last.score, last.box) > mark else first
