"""The fast way through Eq. 13: damped Gauss-Newton steps on the 63 parameters.

The joint term is a sum of few squares, so its curvature is known, as is that of what the hand is
held to and of fingers that touch: a handful of steps take it lower than fifty gradient steps do.
What is left is smooth and small beside it and comes in by its gradient. The feature term, whose
gradient is a pass through the network and back, is left out: the steps end no lower with it
(docs/refinement.md).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dhpe_ros.config import RefinementConfig
from dhpe_ros.hand_layer.skeleton_layer import gauss_newton, skeleton_of
from dhpe_ros.hand_model import HandModel
from dhpe_ros.hand_parameters import bounded
from dhpe_ros.projection import Projection
from dhpe_ros.refinement.mask_term import Outlines
from dhpe_ros.refinement.objective import (
    Observation,
    anchors,
    joint_term,
    joint_weights,
)
from dhpe_ros.refinement.priors import prior_derivatives

_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e-4, 1e5
_EASIER, _HARDER = 0.2, 20.0


def levenberg_marquardt(
    start: Tensor,
    observation: Observation,
    projection: Projection,
    config: RefinementConfig,
) -> tuple[Tensor, int, Observation]:
    """From ``start`` ``(B, 63)`` downhill, each hand at its own pace: parameters and steps taken.

    Ends after ``config.steps`` trials, when no hand's value falls by more than ``config.tolerance``
    of it any more, or when ``config.time_budget`` is over. A mask that is seen comes in once the
    first step has brought the mesh near it; it is then part of the observation, given back last.
    """
    begun = time.monotonic()
    model = projection.hand_model
    scales = _scales(model)
    held_to = anchors(start, observation, projection, config)

    def place(parameters: Tensor) -> _Place:
        bent = _with_joints(parameters, observation, projection, config)
        rest, gradient, curvature = prior_derivatives(parameters, projection, config)
        held, pull, stiffness = held_to.derivatives(parameters)
        curvature += bent.curvature
        curvature.diagonal(dim1=1, dim2=2).add_(stiffness)
        there = _Place(
            parameters,
            bent.value + rest + held,
            (bent.downhill - gradient - pull) * scales,
            curvature * scales * scales[:, None],
        )
        return there.with_outlines(observation.outlines, scales) if observation.outlines else there

    best = place(start.detach())
    damping = torch.full_like(best.value, _FIRST_DAMPING)
    step, awaited = 0, observation.distances is not None and config.looks_at_masks
    while step < config.steps:
        step += 1
        damped = best.curvature + torch.diag_embed(damping[:, None].expand_as(best.downhill))
        change = torch.linalg.solve_ex(damped, best.downhill[..., None])[0][..., 0]
        moved = best.parameters + (change * scales).to(start.dtype)
        tried = place(bounded(moved, model.theta_std))
        falls = tried.value < best.value
        enough = falls & (best.value - tried.value > config.tolerance * best.value)
        best = tried.where(falls, best)
        damping = torch.where(falls, damping * _EASIER, damping * _HARDER)
        damping = damping.clamp(min=_LEAST_DAMPING)
        going_on = enough | (~falls & (damping < _MOST_DAMPING) & best.value.isfinite())
        if not awaited and not going_on.any():
            break
        if config.time_budget and time.monotonic() - begun > config.time_budget:
            break
        if awaited:
            outlines = Outlines.of(best.parameters, observation.distances, projection, config)
            observation, awaited = replace(observation, outlines=outlines), False
            best = best.with_outlines(outlines, scales)
    return best.parameters, step, observation


@dataclass(frozen=True)
class _Place:
    """Parameters and what the objective is like about them."""

    parameters: Tensor  # (B, 63)
    value: Tensor  # (B,)
    downhill: Tensor  # (B, 63), minus the gradient
    curvature: Tensor  # (B, 63, 63)

    def with_outlines(self, outlines: Outlines, scales: Tensor) -> _Place:
        """The same parameters where seen masks count too; ``scales`` are the derivatives' units."""
        value, gradient, curvature = outlines.derivatives(self.parameters)
        return _Place(
            self.parameters,
            self.value + value,
            self.downhill - gradient * scales,
            self.curvature + curvature * scales * scales[:, None],
        )

    def where(self, chosen: Tensor, other: _Place) -> _Place:
        """This place for the hands that ``chosen`` ``(B,)`` marks, ``other`` for the rest."""
        if chosen.all():
            return self
        return _Place(
            torch.where(chosen[:, None], self.parameters, other.parameters),
            torch.where(chosen, self.value, other.value),
            torch.where(chosen[:, None], self.downhill, other.downhill),
            torch.where(chosen[:, None, None], self.curvature, other.curvature),
        )


@torch.no_grad()
def _with_joints(
    parameters: Tensor, observation: Observation, projection: Projection, config: RefinementConfig
) -> _Place:
    """What the joint term is like: Gauss-Newton, with the weights that outliers have just now."""
    skeleton = skeleton_of(projection.hand_model, parameters.device)
    joints, slopes = skeleton.derivatives(parameters, coordinates=2)
    joints = joints[..., :2]
    away = joints - observation.joints
    weights = 2 * joint_weights(observation, config).double()
    if config.outlier_distance > 0:
        weights = weights / (1 + (away**2).sum(2) / config.outlier_distance**2) ** 2
    curvature, downhill = gauss_newton(
        slopes.flatten(1, 2), away.flatten(1), weights.repeat_interleave(2, 1)
    )
    return _Place(parameters, joint_term(joints, observation, config), downhill, curvature)


def _scales(model: HandModel) -> Tensor:
    """``(63,)``: by how much each number commonly differs from where the steps begin."""
    camera = model.theta_std.new_tensor((1.0, 0.1, 0.1, 1e-3, 0.2, 0.2, 0.2, 0.2))
    shape = torch.ones(10, device=camera.device)
    return torch.cat((camera, model.theta_std, shape)).double()
