"""The whole pipeline, refinement included, over hands that are labelled or at least pictured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from dhpe_lab.evaluation.labelled import LabelledHand, LabelledSet
from dhpe_lab.synthesis.synthesis import batched
from dhpe_ros.detection.search import joints_box
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.pipeline import HandPipeline, StageClock, View
from dhpe_ros.tracking.tracker import HandTracker
from dhpe_ros.types import Hand, Side, Target

BATCH = 16  # hands that are refined together


@dataclass(frozen=True)
class Prediction:
    """A label and a method's result on its picture."""

    label: LabelledHand
    picture_size: tuple[int, int]  # height, width
    hand: Hand | None  # None: nothing was found; a tracker without a mesh has no vertices
    found: bool  # it scores as a hand
    side: Side | None  # the predicted one; the hand may have been given the true one
    ms: Mapping[str, float] = field(default_factory=dict)  # stage -> its part of the batch's time


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
        camera, clock = _camera(label, image), StageClock(pipeline.device)
        if labelled.is_clip:
            hands = tracker.process(image, camera)
        else:
            hands = pipeline.estimate(image, camera)
        clock.lap("picture")
        hand = hands[0] if hands else None
        side = hand.side if hand else None
        yield Prediction(
            label, image.shape[:2], hand, hand is not None, side, milliseconds(clock.seconds)
        )


def _given(pipeline: HandPipeline, labelled: LabelledSet) -> Iterator[Prediction]:
    least = pipeline.config.tracking.min_score
    for chunk in batched(labelled.pictures(), BATCH):
        views = [given_view(pipeline, label, image) for label, image in chunk]
        results = pipeline.run(views, timed=True)
        ms = milliseconds(results.seconds, len(views))
        sides = predicted_sides(pipeline, views)
        for (label, image), hand, side in zip(chunk, results.hands, sides, strict=True):
            yield Prediction(label, image.shape[:2], hand, hand.score >= least, side, ms)


def milliseconds(seconds: Mapping[str, float], hands: int = 1) -> dict[str, float]:
    """Milliseconds of each stage, divided by the number of hands."""
    return {stage: 1000 * time_s / hands for stage, time_s in seconds.items()}


def given_view(pipeline: HandPipeline, label: LabelledHand, image: np.ndarray) -> View:
    """A labelled hand, given by its side and its box, with its camera or the one assumed.

    Without a box it is that about the joints, as large as tracking makes it.
    """
    box = label.box or joints_box(label.joints_px[label.known], pipeline.config.tracking)
    camera = _camera(label, image) or pipeline.assumed_camera(image)
    return View(image, camera, Target(box, label.side))


def predicted_sides(pipeline: HandPipeline, views: Sequence[View]) -> list[Side]:
    """The sides that the pipeline would have taken, had they not been given."""
    unknown = [replace(view, target=Target(view.target.box)) for view in views]
    crops, _ = pipeline.crop_and_infer(unknown)
    return [Side.LEFT if crop.mirrored else Side.RIGHT for crop in crops]


def _camera(label: LabelledHand, image: np.ndarray) -> Camera | None:
    if label.camera_px is None:
        return None
    return Camera(*label.camera_px, width=image.shape[1], height=image.shape[0])
