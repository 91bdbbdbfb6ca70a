"""Levenberg-Marquardt on the 63 parameters: damped Gauss-Newton steps.

The terms are sums of few squares, so their curvature is known: a handful of steps go lower than
fifty gradient steps do. The mesh Laplacian is smooth and small beside them and comes in by its
tangent alone. The feature term, whose gradient is a pass through the network and back, is left
out: the steps end no lower with it (docs/explanation/refinement.md). All of it runs on the CPU.

The outline's term comes in once the first step has brought the mesh near the mask, and is found
anew a little later.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dhpe_ros.config import RefinementConfig
from dhpe_ros.hand.projection import Projection
from dhpe_ros.refinement import fit_kernels
from dhpe_ros.refinement.gradient import OptimizerResult
from dhpe_ros.refinement.terms import (
    Observation,
    ParameterPrior,
    joint_weights,
    known_hands,
)
from dhpe_ros.system.threads import for_each


class Fit:
    """Hands and what they are fitted to, as arrays for ``fit_kernels``."""

    def __init__(
        self, observation: Observation, projection: Projection, config: RefinementConfig
    ) -> None:
        self.hand_model: tuple[Any, ...] = projection.fit_arrays
        theta_std = projection.hand_model.theta_std
        self.weights = tuple(
            float(weight)
            for weight in (
                config.outlier_distance,
                config.laplacian_weight,
                config.pose_weight,
                config.shape_weight,
                config.mask_weight,
            )
        )
        self._joints = _doubles(observation.joints)
        self._joint_weights = _doubles(joint_weights(observation, config))
        count = len(self._joints)
        self._others = np.zeros((0, count, 59)), np.zeros((0, count))
        known = known_hands(observation, config)
        if known:
            prior = ParameterPrior.of(known, theta_std)
            self._others = _doubles(prior.centers), _doubles(prior.weights[..., 0])
        self._fields = np.zeros((count, 0, 0), np.float32)
        if observation.distances is not None and config.looks_at_masks:
            self._fields = observation.distances.numpy()

    def seen(self, hand: int) -> tuple[np.ndarray, ...]:
        """Observation of one hand."""
        one = slice(hand, hand + 1)
        centers, weights = (np.ascontiguousarray(part[:, one]) for part in self._others)
        joints = self._joints[hand], self._joint_weights[hand]
        return *joints, centers, weights, self._fields[hand]

    def curvature(self, parameters: Tensor) -> Tensor:
        """``(B, 63, 63)``: Gauss-Newton's about ``parameters`` ``(B, 63)``, without the outline."""
        rows = _doubles(parameters)
        curvatures, gradient = np.empty((len(rows), 63, 63)), np.empty(63)
        nothing = fit_kernels.select(self.hand_model[1][1], np.zeros(rows.shape[1]))
        for hand, row in enumerate(rows):
            rest = 1.0, np.zeros(127), self.hand_model, self.seen(hand), self.weights
            fit_kernels.linearise(row, nothing, *rest, gradient, curvatures[hand])
        return torch.from_numpy(curvatures)


def levenberg_marquardt(
    start: Tensor,
    begin: Tensor,
    observation: Observation,
    projection: Projection,
    config: RefinementConfig,
) -> OptimizerResult:
    """Minimise from ``begin`` ``(B, 63)``, each hand by itself; judge against ``start``.

    A hand's steps end after ``config.steps`` trials, when its value falls by no more than
    ``config.tolerance`` of it, or when ``config.time_budget`` is over.
    """
    begun = time.monotonic()
    fit, ends, starts = Fit(observation, projection, config), _doubles(begin), _doubles(start)
    states = np.empty((len(ends), fit_kernels.STATE))
    shares = np.zeros((len(ends), len(projection.hand_model.v_template)))
    before, steps = np.empty(len(ends)), np.zeros(len(ends), int)
    at_once = 1 if config.time_budget else config.steps

    def work(hand: int) -> None:
        seen, place = fit.seen(hand), (states[hand], shares[hand])
        rest: tuple[Any, ...] = fit.hand_model, seen, fit.weights
        fit_kernels.begin_state(states[hand])
        while steps[hand] < config.steps and not states[hand, fit_kernels.ENDED]:
            steps[hand] += fit_kernels.descend(
                ends[hand], *place, steps[hand], at_once, config.tolerance, *rest
            )
            if config.time_budget and time.monotonic() - begun > config.time_budget:
                break
        before[hand] = fit_kernels.value_of(starts[hand], *place, *rest)

    for_each(len(ends), work)
    after = torch.from_numpy(states[:, fit_kernels.VALUE].copy())
    parameters = torch.from_numpy(ends).to(start.dtype)
    return OptimizerResult(parameters, int(steps.max()), torch.from_numpy(before), after)


def _doubles(tensor: Tensor) -> np.ndarray:
    return tensor.detach().double().contiguous().numpy().copy()
