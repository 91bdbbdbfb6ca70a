"""The fast way through Eq. 13: damped Gauss-Newton steps on the 63 parameters.

The joint term is a sum of few squares, so its curvature is known, as is that of what the hand is
held to and of fingers that touch: a handful of steps take it lower than fifty gradient steps do.
What is left is smooth and small beside it and comes in by its gradient. The feature term, whose
gradient is a pass through the network and back, is left out: the steps end no lower with it
(docs/explanation/refinement.md). All of it on the CPU, and but for the mesh in double precision.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from dhpe_ros.config import RefinementConfig
from dhpe_ros.hand.kernels.prior_kernels import bring_within
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import Bounds
from dhpe_ros.hand.projection import Projection
from dhpe_ros.hand.skeleton_layer import gauss_newton, skeleton_of
from dhpe_ros.refinement.gradient_steps import Descended
from dhpe_ros.refinement.mask_term import Outlines
from dhpe_ros.refinement.objective import Observation, anchors, joint_weights
from dhpe_ros.refinement.priors import prior_derivatives

_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e-4, 1e5
_EASIER, _HARDER = 0.2, 20.0
# After which steps the mesh's outline is found, and from how far, in half-sides of the crop, the
# seen one pulls it from then on: what is nearly right comes near, then what stayed far is let go.
_LOOKS = {1: 0.1, 3: 0.05}


@np.errstate(all="ignore")  # what is not finite shows in the values
def levenberg_marquardt(
    start: Tensor,
    begin: Tensor,
    observation: Observation,
    projection: Projection,
    config: RefinementConfig,
) -> Descended:
    """From ``begin`` ``(B, 63)`` downhill, each hand at its own pace; judged against ``start``.

    Ends after ``config.steps`` trials, when no hand's value falls by more than ``config.tolerance``
    of it any more, or when ``config.time_budget`` is over. A mask that is seen comes in once the
    first step has brought the mesh near it, and again with the outline that it has a little later.
    """
    begun = time.monotonic()
    slope = _Slope(begin, observation, projection, config)
    lowest, highest, _ = Bounds.of(projection.hand_model.theta_std.double())
    best = slope.at(_rows(begin))
    damping = np.full(len(best.value), _FIRST_DAMPING)
    masked = observation.distances is not None and config.looks_at_masks
    step, looks = 0, dict(_LOOKS) if masked else {}
    while step < config.steps:
        step += 1
        moved = best.parameters + slope.scales * best.step(damping)
        bring_within(moved, lowest.numpy(), highest.numpy())
        tried = slope.at(moved)
        falls = tried.value < best.value
        enough = falls & (best.value - tried.value > config.tolerance * best.value)
        best = tried.where(falls, best)
        damping = np.maximum(damping * np.where(falls, _EASIER, _HARDER), _LEAST_DAMPING)
        going_on = enough | (~falls & (damping < _MOST_DAMPING) & np.isfinite(best.value))
        if config.time_budget and time.monotonic() - begun > config.time_budget:
            break
        reach = looks.pop(step, None)
        if reach:
            here = torch.from_numpy(best.parameters).to(start.dtype)
            slope.outlines = Outlines.of(here, observation.distances, projection, config, reach)
            best = slope.at(best.parameters)
        elif not (looks or going_on.any()):
            break
    before, after = slope.at(_rows(start)).value, best.value
    parameters = torch.from_numpy(best.parameters).to(start.dtype)
    return Descended(parameters, step, torch.from_numpy(before), torch.from_numpy(after))


@dataclass(frozen=True)
class _Place:
    """Parameters of ``B`` hands and what the objective is like about them; float64."""

    parameters: np.ndarray  # (B, 63)
    value: np.ndarray  # (B,)
    downhill: np.ndarray  # (B, 63), minus the gradient
    curvature: np.ndarray  # (B, 63, 63)

    def step(self, damping: np.ndarray) -> np.ndarray:
        """``(B, 63)``: to where the objective would be least, were it as it is here."""
        damped = self.curvature.copy()
        np.einsum("bkk->bk", damped)[...] += damping[:, None]  # a view of the diagonals
        system, right = torch.from_numpy(damped), torch.from_numpy(self.downhill[..., None])
        return torch.linalg.solve_ex(system, right)[0][..., 0].numpy()

    def where(self, chosen: np.ndarray, other: _Place) -> _Place:
        """This place for the hands that ``chosen`` ``(B,)`` marks, ``other`` for the rest."""
        if chosen.all():
            return self
        if not chosen.any():
            return other
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        shaped = ((chosen.reshape(-1, *[1] * (ours.ndim - 1)), ours, o) for ours, o in pairs)
        return _Place(*(np.where(*three) for three in shaped))


class _Slope:
    """The objective that is gone down."""

    def __init__(
        self,
        begin: Tensor,
        observation: Observation,
        projection: Projection,
        config: RefinementConfig,
    ) -> None:
        self.scales = _scales(projection.hand_model)
        self.outlines: Outlines | None = None  # None: none is seen yet
        self._observed = observation.joints.double().numpy()
        self._weights = joint_weights(observation, config).double().numpy()
        self._anchors = anchors(begin, observation, projection, config)
        self._projection, self._config = projection, config

    def at(self, rows: np.ndarray) -> _Place:
        """What it is like about ``(B, 63)``, in units of ``scales``."""
        parameters = torch.from_numpy(rows)
        terms = [
            self._joints(parameters),
            prior_derivatives(parameters, self._projection, self._config),
            *(term.derivatives(parameters) for term in (self._anchors, self.outlines) if term),
        ]
        value, gradient, curvature = (sum(parts).numpy() for parts in zip(*terms, strict=True))
        by_scale = curvature * (self.scales * self.scales[:, None])
        return _Place(rows, value, -gradient * self.scales, by_scale)

    def _joints(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """``objective.joint_term``, its gradient, and the curvature with the weights of now."""
        skeleton = skeleton_of(self._projection.hand_model, parameters.device)
        joints, slopes = skeleton.derivatives(parameters, coordinates=2)
        away = joints.numpy()[..., :2] - self._observed
        squared, weights, reach = (away**2).sum(2), self._weights, self._config.outlier_distance
        saturated = 1 + squared / reach**2 if reach > 0 else np.ones_like(squared)
        value = (weights * squared / saturated).sum(1)
        weights = np.repeat(2 * weights / saturated**2, 2, axis=1)
        parts = slopes.flatten(1, 2), torch.from_numpy(away).flatten(1), torch.from_numpy(weights)
        curvature, downhill = gauss_newton(*parts)
        return torch.from_numpy(value), -downhill, curvature


def _rows(parameters: Tensor) -> np.ndarray:
    return parameters.detach().double().numpy()


def _scales(model: HandModel) -> np.ndarray:
    """``(63,)``: by how much each number commonly differs from where the steps begin."""
    camera = (1.0, 0.1, 0.1, 1e-3, 0.2, 0.2, 0.2, 0.2)
    return np.concatenate((camera, model.theta_std.double().numpy(), np.ones(10)))
