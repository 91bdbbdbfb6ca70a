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
from dhpe_ros.hand.parameters import HandParameters, normalize_parameters
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
    alone = replace(config, temporal_weight=0.0, estimate_weight=0.0)
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
    x, y = (torch.complex(*points.unbind(2)) for points in (joints, observed))
    share = weights / weights.sum(1, keepdim=True).clamp(min=1e-9)
    mean_x, mean_y = ((share * points).sum(1, keepdim=True) for points in (x, y))
    centred_x, centred_y = x - mean_x, y - mean_y
    spread = (share * centred_x.abs() ** 2).sum(1)
    a = (share * centred_x.conj() * centred_y).sum(1) / spread.clamp(min=1e-9)

    p = HandParameters.split(parameters)
    shift = torch.complex(p.translation[:, 0], p.translation[:, 1])
    shift = a * (shift - mean_x[:, 0]) + mean_y[:, 0]
    aligned = HandParameters(
        scale=p.scale * a.abs()[:, None],
        translation=torch.stack((shift.real, shift.imag, p.translation[:, 2] * a.abs()), 1),
        rotation=_turn_about_z(p.rotation, a.angle()),
        pose=p.pose,
        shape=p.shape,
    )
    moved = normalize_parameters(aligned.join())
    sound = moved.isfinite().all(1) & (spread > 1e-6) & (a.abs() > 1e-3)
    return torch.where(sound[:, None], moved, parameters)


def _turn_about_z(quaternion: Tensor, angle: Tensor) -> Tensor:
    """``(B, 4)`` w x y z, turned by ``(B,)`` radians in the image plane, x towards y."""
    w, x, y, z = quaternion.unbind(1)
    c, s = (angle / 2).cos(), (angle / 2).sin()
    return torch.stack((c * w - s * z, c * x - s * y, c * y + s * x, c * z + s * w), 1)
