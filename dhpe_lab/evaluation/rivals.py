"""Other ways to a hand, in the same harness: each gives predictions as ``predict`` does."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from dhpe_lab.evaluation.labelled import LabelledSet
from dhpe_lab.evaluation.predict import Prediction, given_view, milliseconds, predict
from dhpe_lab.evaluation.refinement_study import baseline, infer, placed
from dhpe_ros.geometry.crop import Crop, crop_image
from dhpe_ros.geometry.lift import root_position_m
from dhpe_ros.pipeline import HandPipeline, StageClock, View
from dhpe_ros.types import ANGLE_NAMES, JOINT_COUNT, PARAMETER_COUNT, Box, Hand, Refinement, Side

Predictor = Callable[[LabelledSet], Iterator[Prediction]]


def predictor(method: str, pipeline: HandPipeline, search: bool, seed: int) -> Predictor:
    """The way of ``method``, one of ``methods.METHODS``, over a set.

    Raises ``ValueError`` where a method cannot search, or needs a package that is not there.
    """
    if method == "dhpe":
        return lambda labelled: predict(pipeline, labelled, search)
    if method == "networks":
        return lambda labelled: _networks_alone(pipeline, labelled, search)
    if method == "mediapipe":
        _require_mediapipe()
        return lambda labelled: _mediapipe(pipeline, labelled, search)
    if search:
        raise ValueError(f"{method} fits hands that are given: leave --search out")
    return lambda labelled: _fitted(pipeline, labelled, method, seed)


def _networks_alone(
    pipeline: HandPipeline, labelled: LabelledSet, search: bool
) -> Iterator[Prediction]:
    configured = pipeline.config
    pipeline.configure(configured.replace({"refinement.steps": 0}))
    try:
        yield from predict(pipeline, labelled, search)
    finally:
        pipeline.configure(configured)


def _fitted(
    pipeline: HandPipeline, labelled: LabelledSet, method: str, seed: int
) -> Iterator[Prediction]:
    """One hand at a time, from what the networks say of it."""
    for label, image in labelled.pictures():
        clock = StageClock(pipeline.device)
        hand = infer(pipeline, label, image)
        clock.lap("networks")
        found = baseline(method, pipeline, hand, seed)
        clock.lap("fit")
        yield replace(placed(pipeline, hand, found), ms=milliseconds(clock.seconds))


# ---------------------------------------------------------------- MediaPipe Hands


def _require_mediapipe() -> None:
    try:
        import mediapipe  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "mediapipe is not installed; pip install mediapipe==0.10.21, in an environment of its "
            "own with NumPy 1 (docs/how-to/evaluate.md)"
        ) from error


def _mediapipe(pipeline: HandPipeline, labelled: LabelledSet, search: bool) -> Iterator[Prediction]:
    """Its two models as they come, on the same crop that the others see or the whole picture."""
    import mediapipe

    tracker = mediapipe.solutions.hands.Hands(static_image_mode=True, max_num_hands=1)
    with tracker:
        for label, image in labelled.pictures():
            height, width = image.shape[:2]
            view = given_view(pipeline, label, image)
            box = Box(0, 0, width, height) if search else view.target.box
            crop = None if search else crop_image(image, box)
            clock = StageClock(pipeline.device)
            result = tracker.process(image if crop is None else crop.image)
            clock.lap("picture")
            hand = None
            if result.multi_hand_landmarks:
                hand = _tracked(view, box, crop, result)
            side = hand.side if hand else None
            ms = milliseconds(clock.seconds)
            yield Prediction(label, (height, width), hand, hand is not None, side, ms)


def _tracked(view: View, box: Box, crop: Crop | None, result: Any) -> Hand:
    """Its landmarks as a hand without a mesh, placed in the camera as ours are."""
    places = np.array([(p.x, p.y) for p in result.multi_hand_landmarks[0].landmark])
    if crop is None:
        joints_px = places * view.image.shape[1::-1] - 0.5
    else:
        joints_px = crop.to_image(2 * places - 1)
    about_m = np.array([(p.x, p.y, p.z) for p in result.multi_hand_world_landmarks[0].landmark])
    told = result.multi_handedness[0].classification[0]
    # It takes pictures for mirrored ones, as of a camera that one looks into.
    side = Side.LEFT if told.label == "Right" else Side.RIGHT
    nothing = np.zeros((0, 3), np.float32)
    return Hand(
        side=side,
        score=float(told.score),
        box=box,
        joints_px=joints_px.astype(np.float32),
        joints_m=(about_m + root_position_m(view.camera, about_m, joints_px)).astype(np.float32),
        joint_confidences=np.full(JOINT_COUNT, told.score, np.float32),
        vertices_px=nothing,
        vertices_m=nothing,
        normals=nothing,
        triangles=nothing.astype(np.int32),
        joint_rotations=np.full((JOINT_COUNT, 3, 3), np.nan, np.float32),
        joint_angles=np.full(len(ANGLE_NAMES), np.nan, np.float32),
        fit_stds_m=np.full(JOINT_COUNT, np.nan, np.float32),
        occluded=np.zeros(JOINT_COUNT, bool),
        parameters=np.zeros(PARAMETER_COUNT, np.float32),
        intrinsics_known=not view.camera.assumed,
        refinement=Refinement(0, 0.0, 0.0),
    )
