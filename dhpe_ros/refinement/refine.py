"""Refinement of the 63 parameters at test time (Eq. 13, docs/explanation/method.md)."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dhpe_ros.config import RefinementConfig
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.evidence import EvidenceNetwork
from dhpe_ros.refinement.gauss_newton import levenberg_marquardt
from dhpe_ros.refinement.gradient import OPTIMIZERS, StepGraphs, gradient_steps
from dhpe_ros.refinement.start import choose_start
from dhpe_ros.refinement.terms import Observation

_GRAPHS = StepGraphs()  # default, for programs of one thread


@dataclass(frozen=True)
class RefinedParameters:
    """Result of the refinement, for a batch of ``B`` hands."""

    parameters: Tensor  # (B, 63)
    steps: int
    residual_before: Tensor  # (B,) mean joint distance to the observation, crop coordinates
    residual_after: Tensor  # (B,)
    accepted: Tensor  # (B,) bool; False: the steps did not lower the objective, the start was kept
    seconds: float = 0.0  # of all hands together

    def to(self, device: torch.device) -> RefinedParameters:
        return replace(
            self,
            parameters=self.parameters.to(device),
            residual_before=self.residual_before.to(device),
            residual_after=self.residual_after.to(device),
            accepted=self.accepted.to(device),
        )


def refine(
    start: Tensor,
    observation: Observation,
    projection: Projection,
    evidence: EvidenceNetwork | None,
    config: RefinementConfig,
    graphs: StepGraphs = _GRAPHS,
) -> RefinedParameters:
    """Take ``config.steps`` steps from ``start`` ``(B, 63)``, all hands at once.

    ``evidence`` is for the feature term. A hand whose objective is not lower at the end, or not
    finite, gets its start back.
    Levenberg-Marquardt runs on the CPU: its steps are compiled there, and too small for a GPU.
    """
    begun = time.monotonic()
    if start.is_cuda and config.optimizer not in OPTIMIZERS:
        here = refine(start.cpu(), observation.on_cpu(), projection.on_cpu, evidence, config)
        return here.to(start.device)
    if config.steps == 0 or not len(start):
        distance = _joint_distance(start, observation, projection)
        unchanged = torch.ones_like(distance, dtype=torch.bool)
        return RefinedParameters(start, 0, distance, distance, unchanged)

    begin, observation = choose_start(start, observation, projection, config)
    if config.optimizer in OPTIMIZERS:
        end = gradient_steps(start, begin, observation, projection, evidence, config, graphs)
    else:
        end = levenberg_marquardt(start, begin, observation, projection, config)
    with torch.no_grad():
        accepted = end.after.isfinite() & (end.after <= end.before)
        at_start, at_end = (
            _joint_distance(parameters, observation, projection)
            for parameters in (start, end.parameters)
        )
        return RefinedParameters(
            torch.where(accepted[:, None], end.parameters, start),
            end.steps,
            at_start,
            torch.where(accepted, at_end, at_start),
            accepted,
            time.monotonic() - begun,
        )


def _joint_distance(parameters: Tensor, observation: Observation, projection: Projection) -> Tensor:
    """Mean distance of the projected joints to the observed ones, crop coordinates: ``(B,)``."""
    residuals = projection.joints_2d(parameters) - observation.joints
    return residuals.norm(dim=2).mean(dim=1)
