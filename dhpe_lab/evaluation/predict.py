"""The whole pipeline, refinement included, over hands that are labelled or at least pictured."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import torch

from dhpe_lab.evaluation.labelled import LabelledHand, LabelledSet
from dhpe_lab.synthesis.synthesis import batched
from dhpe_ros.detection.search import joints_box
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.crop import crop_image
from dhpe_ros.geometry.lift import SeenHands, place_hand
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.tracking.tracker import HandTracker
from dhpe_ros.types import Box, Hand, Side, Target

BATCH = 16  # hands that are refined together


@dataclass(frozen=True)
class Prediction:
    """A label and what a method made of the picture."""

    label: LabelledHand
    picture_size: tuple[int, int]  # height, width
    hand: Hand | None  # None: nothing was found; a tracker without a mesh has no vertices
    found: bool  # it scores as a hand
    side: Side | None  # the side that is told; the hand may have been given the true one
    ms: Mapping[str, float] = field(default_factory=dict)  # stage -> its part of the batch's time


class Clock:
    """Milliseconds from one call of ``stage`` to the next, once the device is done."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self.ms: dict[str, float] = {}
        self._since = self._now()

    def stage(self, name: str, hands: int = 1) -> None:
        """What was done since the last call belongs to ``name``, shared by so many hands."""
        now = self._now()
        self.ms[name], self._since = 1000 * (now - self._since) / hands, now

    def _now(self) -> float:
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter()


def predict(
    pipeline: HandPipeline, labelled: LabelledSet, search: bool = False
) -> Iterator[Prediction]:
    """A prediction for every hand of the set, in order.

    With ``search`` nothing is given: hands are searched for in the whole picture, and followed
    through a clip. Otherwise each is given by the box about its joints and by its side, as the
    paper's data sets give them; then a low score does not spare a hand from being measured.
    """
    return _searched(pipeline, labelled) if search else _given(pipeline, labelled)


def _searched(pipeline: HandPipeline, labelled: LabelledSet) -> Iterator[Prediction]:
    tracker = HandTracker(pipeline)
    for label, image in labelled.pictures():
        if not labelled.is_clip:
            tracker.reset()
        camera, clock = _camera(label, image), Clock(pipeline.device)
        if labelled.is_clip:
            hands = tracker.process(image, camera)
        else:
            hands = pipeline.estimate(image, camera)
        clock.stage("picture")
        hand = hands[0] if hands else None
        side = hand.side if hand else None
        yield Prediction(label, image.shape[:2], hand, hand is not None, side, clock.ms)


def _given(pipeline: HandPipeline, labelled: LabelledSet) -> Iterator[Prediction]:
    tracking = pipeline.config.tracking
    for chunk in batched(labelled.pictures(), BATCH):
        clock = Clock(pipeline.device)
        targets = [given_target(pipeline, label) for label, _ in chunk]
        crops = [
            crop_image(image, target.box, mirrored=target.side is Side.LEFT)
            for (_, image), target in zip(chunk, targets, strict=True)
        ]
        evidence = pipeline.look(crops)
        clock.stage("evidence", len(chunk))
        refined = pipeline.fit(crops, evidence, pipeline.config.refinement)
        clock.stage("mesh and refinement", len(chunk))
        with torch.no_grad():
            seen = SeenHands(pipeline.projection(refined.parameters), evidence, refined)
        triangles = pipeline.projection.hand_model.triangles
        for row, (label, image) in enumerate(chunk):
            camera = camera_of(pipeline, label, image)
            hand = place_hand(seen, row, crops[row], targets[row], camera, triangles)
            side = _told_side(pipeline, image, targets[row].box)
            found = hand.score >= tracking.min_score
            yield Prediction(label, image.shape[:2], hand, found, side, clock.ms)


def given_target(pipeline: HandPipeline, label: LabelledHand) -> Target:
    """The label's box, or that about its joints as large as tracking makes it, and its side."""
    if label.box is not None:
        return Target(label.box, label.side)
    tracking = pipeline.config.tracking
    return Target(joints_box(label.joints_px[label.known], tracking), label.side)


def camera_of(pipeline: HandPipeline, label: LabelledHand, image: np.ndarray) -> Camera:
    """The label's camera, or the one assumed."""
    return _camera(label, image) or Camera.from_field_of_view(
        image.shape[1], image.shape[0], pipeline.config.camera.field_of_view_deg
    )


def _told_side(pipeline: HandPipeline, image: np.ndarray, box: Box) -> Side:
    """The side that the pipeline would have taken, had it not been given."""
    (crop,), _ = pipeline.look_at_right_hands(image, [Target(box)])
    return Side.LEFT if crop.mirrored else Side.RIGHT


def _camera(label: LabelledHand, image: np.ndarray) -> Camera | None:
    if label.camera_px is None:
        return None
    return Camera(*label.camera_px, width=image.shape[1], height=image.shape[0])
