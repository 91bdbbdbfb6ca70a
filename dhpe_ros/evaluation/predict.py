"""The whole pipeline, refinement included, over labelled hands."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch

from dhpe_ros.camera import Camera
from dhpe_ros.crop import crop_image
from dhpe_ros.evaluation.labelled import LabelledHand, LabelledSet
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.placement import SeenHands, place_hand
from dhpe_ros.tracking import HandTracker
from dhpe_ros.training.synthesis import batched
from dhpe_ros.types import Box, Hand, Side, Target

BATCH = 16  # hands that are refined together


@dataclass(frozen=True)
class Prediction:
    """A label and what the pipeline made of the picture."""

    label: LabelledHand
    picture_size: tuple[int, int]  # height, width
    hand: Hand | None  # None: nothing was found
    found: bool  # it scores as a hand
    side: Side | None  # the side that the networks tell; the hand may have been given the true one


def predict(
    pipeline: HandPipeline, labelled: LabelledSet, search: bool = False
) -> Iterator[Prediction]:
    """A prediction for every labelled hand, in order.

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
        camera = _camera(label, image)
        if labelled.is_clip:
            hands = tracker.process(image, camera)
        else:
            hands = pipeline.estimate(image, camera)
        hand = hands[0] if hands else None
        side = hand.side if hand else None
        yield Prediction(label, image.shape[:2], hand, hand is not None, side)


def _given(pipeline: HandPipeline, labelled: LabelledSet) -> Iterator[Prediction]:
    tracking = pipeline.config.tracking
    for chunk in batched(labelled.pictures(), BATCH):
        targets = [given_target(pipeline, label) for label, _ in chunk]
        crops = [
            crop_image(image, target.box, mirrored=target.side is Side.LEFT)
            for (_, image), target in zip(chunk, targets, strict=True)
        ]
        evidence = pipeline.look_closer(crops, pipeline.see(crops))
        refined = pipeline.fit(crops, evidence, pipeline.config.refinement)
        with torch.no_grad():
            seen = SeenHands(pipeline.projection(refined.parameters), evidence, refined)
        triangles = pipeline.projection.hand_model.triangles
        for row, (label, image) in enumerate(chunk):
            camera = camera_of(pipeline, label, image)
            hand = place_hand(seen, row, crops[row], targets[row], camera, triangles)
            side = _told_side(pipeline, image, targets[row].box)
            found = hand.score >= tracking.min_score
            yield Prediction(label, image.shape[:2], hand, found, side)


def given_target(pipeline: HandPipeline, label: LabelledHand) -> Target:
    """The box about the label's joints, as large as tracking makes it, and the label's side."""
    box = Box.around(label.joints_px).squared(pipeline.config.tracking.crop_scale)
    return Target(box, label.side)


def camera_of(pipeline: HandPipeline, label: LabelledHand, image: np.ndarray) -> Camera:
    """The label's camera, or the one assumed."""
    return _camera(label, image) or Camera.from_field_of_view(
        image.shape[1], image.shape[0], pipeline.config.camera.field_of_view_deg
    )


def _told_side(pipeline: HandPipeline, image: np.ndarray, box: Box) -> Side:
    """The side that the pipeline would have taken, had it not been given."""
    (crop,), _ = pipeline.see_as_right_hands(image, [Target(box)])
    return Side.LEFT if crop.mirrored else Side.RIGHT


def _camera(label: LabelledHand, image: np.ndarray) -> Camera | None:
    if label.camera_px is None:
        return None
    return Camera(*label.camera_px, width=image.shape[1], height=image.shape[0])
