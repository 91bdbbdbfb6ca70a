"""Eq. 13: what a hand should agree with, as one number per hand (docs/explanation/method.md)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from dhpe_ros.config import RefinementConfig
from dhpe_ros.hand.projection import ProjectedHand, Projection
from dhpe_ros.hand.skeleton_layer import skeleton_of
from dhpe_ros.networks.evidence import EvidenceNetwork
from dhpe_ros.refinement.anchors import Anchors
from dhpe_ros.refinement.priors import prior_terms


@dataclass(frozen=True)
class Observation:
    """What the parameters are fitted to; none of it moves."""

    image: Tensor | None  # (B, 3, S, S), x as the feature network sees it, for its term alone
    features: Tensor  # (B, 2048), F(x)
    joints: Tensor  # (B, 21, 2), the refined 2D joints, crop coordinates
    confidences: Tensor  # (B, 21)
    previous: Tensor | None = None  # (B, 63), a frame ago, in this crop; NaN: not known
    estimate: Tensor | None = None  # (B, 63), the mesh network's, its camera moved onto the joints
    distances: Tensor | None = None  # (B, 128, 128), of ``signed_distances``, on the CPU

    def twice(self) -> Observation:
        """For two sets of parameters, one behind the other."""
        parts = vars(self).values()
        return Observation(*(None if p is None else torch.cat((p, p)) for p in parts))

    def on_cpu(self) -> Observation:
        """For steps that ask neither the picture nor its features."""
        parts = {name: part for name, part in vars(self).items() if part is not None}
        needless = {"image": None, "features": self.features[:, :0]}
        return replace(self, **{name: part.cpu() for name, part in parts.items()} | needless)


def objective(
    parameters: Tensor,
    observation: Observation,
    projection: Projection,
    evidence: EvidenceNetwork,
    config: RefinementConfig,
) -> Tensor:
    """All terms, weighted and added: ``(B,)``. A term without weight is not computed."""
    hand = projection(parameters)
    total = joint_term(hand.joints[..., :2], observation, config)
    if config.features_weight > 0:
        total = total + feature_term(hand, observation, projection, evidence, config)
    return total + terms_of_parameters(parameters, hand, observation, projection, config)


@torch.no_grad()
def objective_without_pictures(
    parameters: Tensor, observation: Observation, projection: Projection, config: RefinementConfig
) -> Tensor:
    """Likewise without what asks the picture, its features or its mask: ``(B,)``."""
    total = joint_term(_joints(parameters, projection), observation, config)
    return total + terms_of_parameters(parameters, None, observation, projection, config)


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
    """``(B, 21)``: what a squared distance of each joint costs.

    The less sure a joint is, the farther off it lies: the square of the confidence comes near the
    inverse variance that a least-squares problem wants (docs/explanation/refinement.md).
    """
    if config.confidence_weighting:
        return config.joints_weight * observation.confidences**2
    return torch.full_like(observation.confidences, config.joints_weight)


def feature_term(
    hand: ProjectedHand,
    observation: Observation,
    projection: Projection,
    evidence: EvidenceNetwork,
    config: RefinementConfig,
) -> Tensor:
    """How much the features change with the mean colour wherever the hand is not: ``(B,)``.

    The mean over the 2048 features, so that its weight does not hang on their number.
    """
    mask = projection.silhouette(hand, observation.image.shape[-1])
    masked = evidence.features(observation.image * mask[:, None])
    return config.features_weight * ((observation.features - masked) ** 2).mean(dim=1)


def terms_of_parameters(
    parameters: Tensor,
    hand: ProjectedHand | None,
    observation: Observation,
    projection: Projection,
    config: RefinementConfig,
) -> Tensor:
    """Those that ask no picture: priors, the estimate and the frame before; ``(B,)``.

    ``hand`` is ``projection(parameters)``, for those who have it.
    """
    total = prior_terms(parameters, projection, config, hand)
    held_to = anchors(parameters, observation, projection, config)
    return total if held_to is None else total + held_to.distance(parameters)


def anchors(
    parameters: Tensor, observation: Observation, projection: Projection, config: RefinementConfig
) -> Anchors | None:
    """What ``parameters`` ``(B, 63)`` are held to, if to anything."""
    both = (
        (observation.estimate, config.estimate_weight),
        (observation.previous, config.temporal_weight),
    )
    others = [(other, weight) for other, weight in both if other is not None and weight > 0]
    if not others:
        return None
    return Anchors.of(others, parameters, projection.hand_model.theta_std)


def residual(parameters: Tensor, observation: Observation, projection: Projection) -> Tensor:
    """``(B,)``: mean distance of the mesh's joints to the observed ones, crop coordinates."""
    away = _joints(parameters, projection) - observation.joints
    return away.norm(dim=2).mean(dim=1)


def _joints(parameters: Tensor, projection: Projection) -> Tensor:
    """``(B, 21, 2)``, crop coordinates, without the mesh and without a gradient."""
    skeleton = skeleton_of(projection.hand_model, parameters.device)
    return skeleton.joints(parameters)[..., :2].to(parameters.dtype)
