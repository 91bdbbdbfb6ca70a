"""Eq. 13: gradient steps on the 63 parameters, for the image at hand (docs/method.md)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from dhpe_ros.camera_alignment import align_camera
from dhpe_ros.config import RefinementConfig
from dhpe_ros.evidence import EvidenceNetwork
from dhpe_ros.hand_parameters import HandParameters, normalize_parameters
from dhpe_ros.pose_space import pose_space_of
from dhpe_ros.projection import ProjectedHand, Projection


@dataclass(frozen=True)
class Observation:
    """What the parameters are fitted to; none of it moves."""

    image: Tensor  # (B, 3, S, S), x as the feature network sees it
    features: Tensor  # (B, 2048), F(x)
    joints: Tensor  # (B, 21, 2), the refined 2D joints, crop coordinates
    confidences: Tensor  # (B, 21)


@dataclass(frozen=True)
class RefinedParameters:
    """The result, per hand of the batch."""

    parameters: Tensor  # (B, 63)
    steps: int
    residual_before: Tensor  # (B,) mean joint distance to the observation, crop coordinates
    residual_after: Tensor  # (B,)
    accepted: Tensor  # (B,) bool; False: the steps did not lower the objective, the start was kept


def objective(
    parameters: Tensor,
    observation: Observation,
    projection: Projection,
    evidence: EvidenceNetwork,
    config: RefinementConfig,
) -> Tensor:
    """Eq. 13's three terms and the pose space's, weighted and added: ``(B,)``.

    The joint term is a sum over the joints; the feature term is the mean over the 2048 features,
    so that its weight does not hang on their number. A term without weight is not computed.
    """
    hand = projection(parameters)
    total = config.joints_weight * _joint_term(hand, observation, config)
    if config.features_weight > 0:
        mask = projection.silhouette(hand, observation.image.shape[-1])
        masked = evidence.features(observation.image * mask[:, None])
        distance = ((observation.features - masked) ** 2).mean(dim=1)
        total = total + config.features_weight * distance
    if config.laplacian_weight > 0:
        total = total + config.laplacian_weight * projection.smoothness(hand)
    if config.pose_weight > 0:
        pose_space = pose_space_of(projection.hand_model, parameters.device)
        unlikely = pose_space(HandParameters.split(parameters).pose)
        total = total + config.pose_weight * unlikely
    return total


def _joint_term(hand: ProjectedHand, observation: Observation, config: RefinementConfig) -> Tensor:
    squared = ((hand.joints[..., :2] - observation.joints) ** 2).sum(dim=2)
    if config.confidence_weighting:
        squared = squared * observation.confidences
    return squared.sum(dim=1)


def refine(
    start: Tensor,
    observation: Observation,
    projection: Projection,
    evidence: EvidenceNetwork,
    config: RefinementConfig,
) -> RefinedParameters:
    """Take ``config.steps`` steps from ``start`` ``(B, 63)``, all hands at once.

    A hand whose objective is not lower at the end, or not finite, gets its start back.
    """
    if config.steps == 0:
        distance = residual(start, observation, projection)
        unchanged = torch.ones_like(distance, dtype=torch.bool)
        return RefinedParameters(start, 0, distance, distance, unchanged)

    def value(parameters: Tensor) -> Tensor:
        return objective(parameters, observation, projection, evidence, config)

    begin = _aligned(start, observation, projection, config) if config.align_camera else start
    parameters = begin.detach().clone().requires_grad_(True)
    optimizer = _optimizer(parameters, config)
    for _ in range(config.steps):
        (parameters.grad,) = torch.autograd.grad(value(parameters).sum(), parameters)
        optimizer.step()
        with torch.no_grad():
            parameters.copy_(normalize_parameters(parameters))
    with torch.no_grad():
        after = value(parameters)
        accepted = after.isfinite() & (after <= value(start))
        result = torch.where(accepted[:, None], parameters, start)
        return RefinedParameters(
            result,
            config.steps,
            residual(start, observation, projection),
            residual(result, observation, projection),
            accepted,
        )


@torch.no_grad()
def _aligned(
    start: Tensor, observation: Observation, projection: Projection, config: RefinementConfig
) -> Tensor:
    joints, sure = projection(start).joints[..., :2], observation.confidences
    weights = sure if config.confidence_weighting else torch.ones_like(sure)
    return align_camera(start, joints, observation.joints, weights)


def residual(parameters: Tensor, observation: Observation, projection: Projection) -> Tensor:
    """``(B,)``: mean distance of the mesh's joints to the observed ones, crop coordinates."""
    joints = projection(parameters).joints[..., :2]
    return (joints - observation.joints).norm(dim=2).mean(dim=1)


def _optimizer(parameters: Tensor, config: RefinementConfig) -> torch.optim.Optimizer:
    if config.optimizer == "adam":
        return torch.optim.Adam([parameters], lr=config.step_size)
    return torch.optim.SGD([parameters], lr=config.step_size)
