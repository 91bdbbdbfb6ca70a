"""Levenberg-Marquardt on the 63 parameters: damped Gauss-Newton steps.

The terms are sums of few squares, so their curvature is known: a handful of steps go lower than
fifty gradient steps do. The mesh Laplacian is smooth and small beside them and comes in by its
gradient alone. The feature term, whose gradient is a pass through the network and back, is left
out: the steps end no lower with it (docs/explanation/refinement.md). All of it runs on the CPU, in
double precision but for the mesh.
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
from dhpe_ros.refinement.gradient import OptimizerResult
from dhpe_ros.refinement.objective import geometric_terms
from dhpe_ros.refinement.outline_term import OutlineTerm
from dhpe_ros.refinement.terms import GaussNewtonTerm, Observation

_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e-4, 1e5
_ACCEPTED, _REJECTED = 0.2, 20.0  # factors of the damping
# After which steps the mesh's outline is found, and its saturation from then on, in half-sides of
# the crop: a wide one first brings the mesh near, a narrow one then ignores what stayed far.
_OUTLINE_STEPS = {1: 0.1, 3: 0.05}


@np.errstate(all="ignore")  # what is not finite shows in the values
def levenberg_marquardt(
    start: Tensor,
    begin: Tensor,
    observation: Observation,
    projection: Projection,
    config: RefinementConfig,
) -> OptimizerResult:
    """Minimise from ``begin`` ``(B, 63)``, each hand with its own damping; judge against ``start``.

    Ends after ``config.steps`` trials, when no hand's value falls by more than ``config.tolerance``
    of it any more, or when ``config.time_budget`` is over. The outline's term comes in once the
    first step has brought the mesh near the mask, and is found anew a little later.
    """
    begun = time.monotonic()
    terms = geometric_terms(observation, projection, config)
    scales = _scales(projection.hand_model)
    lowest, highest, _ = Bounds.of(projection.hand_model.theta_std.double())
    state = _State.at(_rows(begin), terms, scales)
    damping = np.full(len(state.value), _FIRST_DAMPING)
    masked = observation.distances is not None and config.looks_at_masks
    outline_steps = dict(_OUTLINE_STEPS) if masked else {}
    step, outline = 0, list[GaussNewtonTerm]()
    while step < config.steps:
        step += 1
        trial = state.parameters + scales * state.step(damping)
        bring_within(trial, lowest.numpy(), highest.numpy())
        candidate = _State.at(trial, [*terms, *outline], scales)
        lower = candidate.value < state.value
        enough = lower & (state.value - candidate.value > config.tolerance * state.value)
        state = candidate.where(lower, state)
        damping = np.maximum(damping * np.where(lower, _ACCEPTED, _REJECTED), _LEAST_DAMPING)
        may_fall = ~lower & (damping < _MOST_DAMPING) & np.isfinite(state.value)
        if config.time_budget and time.monotonic() - begun > config.time_budget:
            break
        saturation = outline_steps.pop(step, None)
        if saturation and observation.distances is not None:
            here = torch.from_numpy(state.parameters).to(start.dtype)
            about = observation.distances, projection, config.mask_weight
            outline = [OutlineTerm.of(here, *about, saturation)]
            state = _State.at(state.parameters, [*terms, *outline], scales)
        elif not (outline_steps or (enough | may_fall).any()):
            break
    before = _State.at(_rows(start), [*terms, *outline], scales).value
    parameters = torch.from_numpy(state.parameters).to(start.dtype)
    values = torch.from_numpy(before), torch.from_numpy(state.value)
    return OptimizerResult(parameters, step, *values)


@dataclass(frozen=True)
class _State:
    """Parameters of ``B`` hands and the objective, linearised about them; float64.

    Derivatives are by ``parameters / scales``.
    """

    parameters: np.ndarray  # (B, 63)
    value: np.ndarray  # (B,)
    negative_gradient: np.ndarray  # (B, 63)
    curvature: np.ndarray  # (B, 63, 63)

    @staticmethod
    def at(rows: np.ndarray, terms: list[GaussNewtonTerm], scales: np.ndarray) -> _State:
        """Linearise the objective at ``rows`` ``(B, 63)``."""
        parameters = torch.from_numpy(rows)
        parts = zip(*(term.linearise(parameters) for term in terms), strict=True)
        value, gradient, curvature = (sum(part).numpy() for part in parts)
        return _State(rows, value, -gradient * scales, curvature * (scales * scales[:, None]))

    def step(self, damping: np.ndarray) -> np.ndarray:
        """``(B, 63)``: damped Gauss-Newton step, in units of ``scales``."""
        damped = self.curvature.copy()
        np.einsum("bkk->bk", damped)[...] += damping[:, None]  # a view of the diagonals
        system, right = (
            torch.from_numpy(damped),
            torch.from_numpy(self.negative_gradient[..., None]),
        )
        return torch.linalg.solve_ex(system, right)[0][..., 0].numpy()

    def where(self, chosen: np.ndarray, other: _State) -> _State:
        """Take this state for the hands that ``chosen`` ``(B,)`` marks, ``other`` for the rest."""
        if chosen.all():
            return self
        if not chosen.any():
            return other
        pairs = zip(vars(self).values(), vars(other).values(), strict=True)
        shaped = ((chosen.reshape(-1, *[1] * (own.ndim - 1)), own, o) for own, o in pairs)
        return _State(*(np.where(*three) for three in shaped))


def _rows(parameters: Tensor) -> np.ndarray:
    return parameters.detach().double().numpy()


def _scales(model: HandModel) -> np.ndarray:
    """``(63,)``: common difference of each number from where the steps begin."""
    camera = np.array((1.0, 0.1, 0.1, 1e-3, 0.2, 0.2, 0.2, 0.2))
    return np.concatenate((camera, model.theta_std.double().numpy(), np.ones(10)))
