"""The fast way through Eq. 13: damped Gauss-Newton steps on the 63 parameters.

The joint term is a sum of few squares, so its curvature is known: a handful of steps take it lower
than fifty gradient steps do. The other terms are smooth and small beside it and come in by their
gradients; that of the feature term, which costs a pass through the network and back, is taken once.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import lru_cache

import torch
from torch import Tensor

from dhpe_ros.config import RefinementConfig
from dhpe_ros.evidence import EvidenceNetwork
from dhpe_ros.hand_layer.skeleton_layer import SkeletonLayer
from dhpe_ros.hand_model import HandModel
from dhpe_ros.hand_parameters import bounded
from dhpe_ros.objective import (
    Observation,
    joint_term,
    joint_weights,
    other_terms,
    temporal_curvature,
    without_features,
)
from dhpe_ros.projection import Projection

_FIRST_DAMPING, _MOST_DAMPING = 1e-3, 1e5
_EASIER, _HARDER = 0.2, 5.0


def levenberg_marquardt(
    start: Tensor,
    observation: Observation,
    projection: Projection,
    evidence: EvidenceNetwork,
    config: RefinementConfig,
) -> tuple[Tensor, int]:
    """From ``start`` ``(B, 63)`` downhill, each hand at its own pace: parameters and steps taken.

    Ends after ``config.steps`` trials, when no hand's value falls by more than ``config.tolerance``
    of it any more, or when ``config.time_budget`` is over.
    """
    begun = time.monotonic()
    skeleton = _skeleton_of(projection.hand_model, start.device)
    scales = _scales(projection.hand_model)
    slope = _feature_slope(start, observation, projection, evidence, config)
    cheap = without_features(config)

    def others(parameters: Tensor) -> Tensor:
        hand = projection(parameters)
        rest = other_terms(parameters, hand, observation, projection, evidence, cheap)
        return rest.double() + ((parameters - start) * slope).sum(1)

    def value(parameters: Tensor) -> Tensor:
        joints = skeleton(parameters)[..., :2]
        return joint_term(joints, observation, config) + others(parameters)

    best = start
    with torch.no_grad():
        lowest = value(best)
    damping = torch.full_like(lowest, _FIRST_DAMPING)
    step, moved = 0, True
    while step < config.steps:
        if moved:
            curvature, downhill = _linearised(best, skeleton, others, observation, config, scales)
            if config.temporal_weight > 0 and observation.previous is not None:
                held = temporal_curvature(best, observation.previous, projection, config)
                curvature = curvature + torch.diag_embed(held * scales**2)
        step += 1
        damped = curvature + torch.diag_embed(damping[:, None].expand_as(downhill))
        change = torch.linalg.solve_ex(damped, downhill[..., None])[0][..., 0]
        with torch.no_grad():
            tried = bounded(
                best + (change * scales).to(best.dtype), projection.hand_model.theta_std
            )
            reached = value(tried)
        falls = reached < lowest
        gain = torch.where(falls, lowest - reached, 0.0)
        best = torch.where(falls[:, None], tried, best)
        enough = falls & (gain > config.tolerance * lowest)
        lowest = torch.where(falls, reached, lowest)
        damping = torch.where(falls, damping * _EASIER, damping * _HARDER)
        moved = bool(falls.any())
        going_on = enough | (~falls & (damping < _MOST_DAMPING))
        if not going_on.any():
            break
        if config.time_budget and time.monotonic() - begun > config.time_budget:
            break
    return best, step


def _linearised(
    parameters: Tensor,
    skeleton: SkeletonLayer,
    others: Callable[[Tensor], Tensor],
    observation: Observation,
    config: RefinementConfig,
    scales: Tensor,
) -> tuple[Tensor, Tensor]:
    """Curvature ``(B, 63, 63)`` and the way down ``(B, 63)``, in units of ``scales``."""
    with torch.no_grad():
        joints, derivatives = skeleton.derivatives(parameters)
    away = joints[..., :2] - observation.joints.double()
    weights = 2 * joint_weights(observation, config).double()
    if config.outlier_distance > 0:
        weights = weights / (1 + (away**2).sum(2) / config.outlier_distance**2) ** 2
    by_unit = (derivatives[:, :, :2] * scales).flatten(1, 2)  # (B, 42, 63)
    weighted = by_unit * weights.repeat_interleave(2, 1)[..., None]
    moving = parameters.detach().requires_grad_(True)
    (gradient,) = torch.autograd.grad(others(moving).sum(), moving)
    downhill = -(weighted.mT @ away.flatten(1)[..., None])[..., 0] - gradient * scales
    return weighted.mT @ by_unit, downhill


def _feature_slope(
    start: Tensor,
    observation: Observation,
    projection: Projection,
    evidence: EvidenceNetwork,
    config: RefinementConfig,
) -> Tensor:
    """``(B, 63)``: the gradient of the feature term where the steps begin."""
    if config.features_weight == 0:
        return torch.zeros_like(start)
    alone = RefinementConfig(
        joints_weight=0.0, laplacian_weight=0.0, features_weight=config.features_weight,
        pose_weight=0.0, shape_weight=0.0, temporal_weight=0.0,
    )  # fmt: skip
    moving = start.detach().requires_grad_(True)
    hand = projection(moving)
    value = other_terms(moving, hand, observation, projection, evidence, alone)
    return torch.autograd.grad(value.sum(), moving)[0]


def _scales(model: HandModel) -> Tensor:
    """``(63,)``: by how much each number commonly differs from where the steps begin."""
    camera = model.theta_std.new_tensor((1.0, 0.1, 0.1, 1e-3, 0.2, 0.2, 0.2, 0.2))
    shape = torch.ones(10, device=camera.device)
    return torch.cat((camera, model.theta_std, shape)).double()


@lru_cache(maxsize=8)
def _skeleton_of(model: HandModel, device: torch.device) -> SkeletonLayer:
    """The condensed skeleton of a model on a device, made once."""
    return SkeletonLayer(model).to(device)
