"""Boxes and identities from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dhpe_ros.camera import Camera
from dhpe_ros.hand_search import joints_box
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.types import Hand, Target

SAME_HAND_OVERLAP = 0.3  # of crops, intersection over union


class HandTracker:
    """Follows hands: the next frame's box is the last mesh's, a lost hand is searched for anew."""

    def __init__(self, pipeline: HandPipeline) -> None:
        self.pipeline = pipeline
        self._targets: list[Target] = []
        self._next_id = 1

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
        if boxes is not None or not self._targets:
            found = self.pipeline.find(image, boxes)
            known = list(self._targets)
            self._targets = [self._identify(target, known) for target in found]
        hands = self.pipeline.estimate(image, camera, self._targets)
        self._targets = [self._follow(hand) for hand in hands]
        return hands

    def _follow(self, hand: Hand) -> Target:
        box = joints_box(hand.joints_px, self.pipeline.config.tracking)
        return Target(box, hand.side, hand.track_id, side_is_told=False)

    def _identify(self, target: Target, known: list[Target]) -> Target:
        """Give a found target the identity of the hand it overlaps, which then is taken."""
        last = max(known, key=lambda one: target.box.overlap(one.box), default=None)
        if last is not None and target.box.overlap(last.box) > SAME_HAND_OVERLAP:
            known.remove(last)
            return replace(target, track_id=last.track_id)
        self._next_id += 1
        return replace(target, track_id=self._next_id - 1)
