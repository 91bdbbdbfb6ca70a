"""Boxes and identities from frame to frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from dhpe_ros.camera import Camera
from dhpe_ros.hand_search import joints_box
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.types import Hand, Target


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
            self._targets = [self._identify(target) for target in found]
        hands = self.pipeline.estimate(image, camera, self._targets)
        self._targets = [self._follow(hand) for hand in hands]
        return hands

    def _follow(self, hand: Hand) -> Target:
        box = joints_box(hand.joints_px, self.pipeline.config.tracking)
        return Target(box, hand.side, hand.track_id)

    def _identify(self, target: Target) -> Target:
        overlaps = [(target.box.overlap(known.box), known) for known in self._targets]
        best, known = max(overlaps, key=lambda pair: pair[0], default=(0.0, None))
        if known is not None and best > 0.3:
            return replace(target, track_id=known.track_id, side=known.side)
        self._next_id += 1
        return replace(target, track_id=self._next_id - 1)
