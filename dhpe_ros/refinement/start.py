"""Start of the refinement: the camera aligned in closed form, the last frame's hand carried on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from dhpe_ros.config import RefinementConfig
from dhpe_ros.geometry.association import MOVED_OVERLAP, same_box
from dhpe_ros.geometry.crop import Crop, crop_to_image
from dhpe_ros.hand.parameters import normalize_parameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.refinement.objective import geometric_objective
from dhpe_ros.refinement.terms import Observation, joint_weights
from dhpe_ros.types import PARAMETER_COUNT, Hand, Side

_MOST_COST = 10.0  # times the fresh estimate's objective: a past above it is of something else


def carry(past: Sequence[Hand | None], crops: Sequence[Crop]) -> Tensor:
    """Convert parameters of a frame ago to the new crops, ``(B, 63)``; the mesh stays in place.

    NaN where there is no past: none is given, the hand has jumped, or its side has changed.
    """
    rows = np.full((len(crops), PARAMETER_COUNT), np.nan, np.float32)
    for row, hand, crop in zip(rows, past, crops, strict=True):
        if hand is not None and _same(hand, crop):
            row[:] = _converted(hand, crop)
    return torch.from_numpy(rows)


def _same(hand: Hand, crop: Crop) -> bool:
    mirrored = hand.side is Side.LEFT
    return mirrored == crop.mirrored and same_box(hand.box, crop.box, MOVED_OVERLAP)


def _converted(hand: Hand, crop: Crop) -> np.ndarray:
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
    """Return where the steps begin, ``(B, 63)``, and what they are fitted to.

    They begin at the mesh estimate, moved onto the joints, also in a video: the joints say little
    about depth, and an error of the last frame's depth would never be corrected. A past that, moved
    likewise, fits far worse than the estimate or is not finite is left out of the observation.
    """
    previous = observation.previous
    if previous is None or config.temporal_weight == 0:
        start = _aligned(estimate, observation, projection, config)
        return start, replace(observation, estimate=start)
    known = previous.isfinite().all(1, keepdim=True)
    both = torch.cat((estimate, torch.where(known, previous, estimate)))
    observed = observation.twice()
    both = _aligned(both, observed, projection, config)
    alone = replace(config, temporal_weight=0.0, estimate_weight=0.0, laplacian_weight=0.0)
    values = geometric_objective(both, observed, projection, alone)
    of_start, of_past = (value[:, None] for value in values.chunk(2))
    previous = previous.masked_fill(~(known & (of_past <= _MOST_COST * of_start)), torch.nan)
    start = both[: len(estimate)]
    return start, replace(observation, estimate=start, previous=previous)


def _aligned(
    start: Tensor, observation: Observation, projection: Projection, config: RefinementConfig
) -> Tensor:
    if not config.align_camera:
        return start
    weights = joint_weights(observation, config)
    return align_camera(start, projection.joints_2d(start), observation.joints, weights)


@np.errstate(all="ignore")  # what is not finite shows in the numbers
def align_camera(parameters: Tensor, joints: Tensor, observed: Tensor, weights: Tensor) -> Tensor:
    """Move the camera so that the joints lie nearest to the observed ones: ``(B, 63)``.

    The weighted 2D Procrustes problem with complex numbers: ``observed = a * joints + b``. Pose,
    shape and out-of-plane rotation stay. A hand without two joints of weight is left alone.

    Args:
        parameters: ``(B, 63)``.
        joints: ``(B, 21, 2)``, the joints of ``parameters`` in crop coordinates.
        observed: ``(B, 21, 2)``.
        weights: ``(B, 21)``, not negative.
    """
    numbers, x, y, share = (
        part.detach().double().cpu().numpy() for part in (parameters, joints, observed, weights)
    )
    x, y = x[..., 0] + 1j * x[..., 1], y[..., 0] + 1j * y[..., 1]
    share = share / np.maximum(share.sum(1, keepdims=True), 1e-9)
    mean_x, mean_y = (share * x).sum(1, keepdims=True), (share * y).sum(1, keepdims=True)
    x, y = x - mean_x, y - mean_y
    spread = (share * np.abs(x) ** 2).sum(1)
    a = (share * x.conj() * y).sum(1) / spread.clip(min=1e-9)
    size, half_angle = np.abs(a), np.angle(a) / 2

    moved = numbers.copy()
    shift = a * (numbers[:, 1] + 1j * numbers[:, 2] - mean_x[:, 0]) + mean_y[:, 0]
    moved[:, 0] *= size
    moved[:, 1], moved[:, 2] = shift.real, shift.imag
    moved[:, 3] *= size
    c, s, (qw, qx, qy, qz) = np.cos(half_angle), np.sin(half_angle), numbers[:, 4:8].T
    turned = c * qw - s * qz, c * qx - s * qy, c * qy + s * qx, c * qz + s * qw
    moved[:, 4:8] = np.stack(turned, 1)
    sound = np.isfinite(moved).all(1) & (spread > 1e-6) & (size > 1e-3)
    aligned = normalize_parameters(torch.from_numpy(moved).to(parameters))
    return torch.where(torch.from_numpy(sound).to(parameters.device)[:, None], aligned, parameters)
