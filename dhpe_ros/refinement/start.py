"""Where the refinement starts, and what a hand's last frame tells about this one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dhpe_ros.config import RefinementConfig
from dhpe_ros.geometry.crop import Crop, crop_to_image
from dhpe_ros.hand.projection import Projection
from dhpe_ros.hand.skeleton_layer import skeleton_of
from dhpe_ros.refinement.camera_alignment import align_camera
from dhpe_ros.refinement.objective import Observation, joint_weights, objective_without_pictures
from dhpe_ros.types import PARAMETER_COUNT, Hand, Side

SAME_HAND_OVERLAP = 0.3  # of crops, intersection over union
_MISFIT = 10.0  # times the fresh estimate's objective: so bad a past is of something else


def carry(past: Sequence[Hand | None], crops: Sequence[Crop]) -> Tensor:
    """``(B, 63)``: parameters of a frame ago as those of the new crops; the mesh stays in place.

    NaN where there is no past: none is given, the hand has jumped, or was seen as the other one.
    """
    rows = np.full((len(crops), PARAMETER_COUNT), np.nan, np.float32)
    for row, hand, crop in zip(rows, past, crops, strict=True):
        if hand is not None and _same(hand, crop):
            row[:] = _carried(hand, crop)
    return torch.from_numpy(rows)


def _same(hand: Hand, crop: Crop) -> bool:
    mirrored = hand.side is Side.LEFT
    return mirrored == crop.mirrored and hand.box.overlap(crop.box) > SAME_HAND_OVERLAP


def _carried(hand: Hand, crop: Crop) -> np.ndarray:
    ratio = hand.box.width / crop.box.width
    parameters = np.asarray(hand.parameters, np.float64).copy()
    shift_px = crop_to_image(parameters[None, 1:3], hand.box, crop.mirrored)
    parameters[0] *= ratio
    parameters[1:3] = crop.to_crop(shift_px)[0]
    parameters[3] *= ratio
    return parameters


@torch.no_grad()
def choose_start(
    estimate: Tensor,
    observation: Observation,
    projection: Projection,
    config: RefinementConfig,
) -> tuple[Tensor, Observation]:
    """Where the steps begin, ``(B, 63)``, and what they are fitted to.

    They begin at the mesh estimate, moved onto the joints, also in a video: depth, of which the
    joints say little, is the network's to tell anew in every frame, and what the steps leave of it
    would else never be corrected. A past that, moved likewise, fits far worse than the estimate or
    is not finite is left out of the observation.
    """
    previous = observation.previous
    if previous is None or config.temporal_weight == 0:
        start = _aligned(estimate, observation, projection, config)
        return start, replace(observation, estimate=start)
    known = previous.isfinite().all(1, keepdim=True)
    both, seen = torch.cat((estimate, torch.where(known, previous, estimate))), observation.twice()
    both = _aligned(both, seen, projection, config)
    alone = replace(config, temporal_weight=0.0, estimate_weight=0.0)
    values = objective_without_pictures(both, seen, projection, alone)
    of_start, of_past = (value[:, None] for value in values.chunk(2))
    previous = previous.masked_fill(~(known & (of_past <= _MISFIT * of_start)), torch.nan)
    start = both[: len(estimate)]
    return start, replace(observation, estimate=start, previous=previous)


def _aligned(
    start: Tensor, observation: Observation, projection: Projection, config: RefinementConfig
) -> Tensor:
    if not config.align_camera:
        return start
    joints = skeleton_of(projection.hand_model, start.device).joints(start)
    weights = joint_weights(observation, config)
    return align_camera(start, joints[..., :2].to(start.dtype), observation.joints, weights)
