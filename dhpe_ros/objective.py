"""Eq. 13: what a hand should agree with, as one number per hand (docs/method.md, section 5)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dhpe_ros.config import RefinementConfig
from dhpe_ros.evidence import EvidenceNetwork
from dhpe_ros.hand_parameters import HandParameters
from dhpe_ros.pose_space import pose_space_of
from dhpe_ros.projection import ProjectedHand, Projection


@dataclass(frozen=True)
class Observation:
    """What the parameters are fitted to; none of it moves."""

    image: Tensor  # (B, 3, S, S), x as the feature network sees it
    features: Tensor  # (B, 2048), F(x)
    joints: Tensor  # (B, 21, 2), the refined 2D joints, crop coordinates
    confidences: Tensor  # (B, 21)

    def twice(self) -> Observation:
        """For two sets of parameters, one behind the other."""
        return Observation(*(torch.cat((part, part)) for part in vars(self).values()))


def objective(
    parameters: Tensor,
    observation: Observation,
    projection: Projection,
    evidence: EvidenceNetwork,
    config: RefinementConfig,
) -> Tensor:
    """All terms, weighted and added: ``(B,)``. A term without weight is not computed."""
    hand = projection(parameters)
    joints = joint_term(hand.joints[..., :2], observation, config)
    return joints + other_terms(parameters, hand, observation, projection, evidence, config)


def joint_term(joints: Tensor, observation: Observation, config: RefinementConfig) -> Tensor:
    """Squared distances of ``(B, 21, 2)`` to the observed joints, weighted and summed: ``(B,)``.

    Beyond ``config.outlier_distance`` a squared distance ``d^2`` saturates, as
    ``d^2 / (1 + d^2 / outlier_distance^2)`` (Geman and McClure, 1987).
    """
    squared = ((joints - observation.joints.to(joints.dtype)) ** 2).sum(2)
    if config.outlier_distance > 0:
        squared = squared / (1 + squared / config.outlier_distance**2)
    return (joint_weights(observation, config).to(joints.dtype) * squared).sum(1)


def joint_weights(observation: Observation, config: RefinementConfig) -> Tensor:
    """``(B, 21)``: what a squared distance of each joint costs."""
    sure = observation.confidences
    return config.joints_weight * (sure if config.confidence_weighting else torch.ones_like(sure))


def other_terms(
    parameters: Tensor,
    hand: ProjectedHand,
    observation: Observation,
    projection: Projection,
    evidence: EvidenceNetwork,
    config: RefinementConfig,
) -> Tensor:
    """All but the joint term: features, Laplacian, pose space, shape, the frame before; ``(B,)``.

    The feature term is the mean over the 2048 features, so that its weight does not hang on their
    number.
    """
    p = HandParameters.split(parameters)
    total = parameters.new_zeros(len(parameters))
    if config.features_weight > 0:
        mask = projection.silhouette(hand, observation.image.shape[-1])
        masked = evidence.features(observation.image * mask[:, None])
        distance = ((observation.features - masked) ** 2).mean(dim=1)
        total = total + config.features_weight * distance
    if config.laplacian_weight > 0:
        total = total + config.laplacian_weight * projection.smoothness(hand)
    if config.pose_weight > 0:
        pose_space = pose_space_of(projection.hand_model, parameters.device)
        total = total + config.pose_weight * pose_space(p.pose)
    if config.shape_weight > 0:
        total = total + config.shape_weight * (p.shape**2).mean(1)
    return total


def residual(parameters: Tensor, observation: Observation, projection: Projection) -> Tensor:
    """``(B,)``: mean distance of the mesh's joints to the observed ones, crop coordinates."""
    joints = projection(parameters).joints[..., :2]
    return (joints - observation.joints).norm(dim=2).mean(dim=1)


def without_features(config: RefinementConfig) -> RefinementConfig:
    """The objective's cheap part."""
    return replace(config, features_weight=0.0)
