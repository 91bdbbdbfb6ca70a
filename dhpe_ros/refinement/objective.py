"""Objective of the refinement: Eq. 13, and what this project adds, as a sum of terms."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dhpe_ros.config import RefinementConfig
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.evidence import FeatureNetwork
from dhpe_ros.refinement.terms import (
    FeatureTerm,
    HandPrior,
    JointTerm,
    Observation,
    ParameterPrior,
    PosedHands,
    Term,
    known_hands,
)


def geometric_terms(
    observation: Observation, projection: Projection, config: RefinementConfig
) -> list[Term]:
    """Terms that need neither the picture nor its features or mask."""
    terms: list[Term] = [
        JointTerm.of(observation, projection, config),
        HandPrior.of(projection, config),
    ]
    known = known_hands(observation, config)
    if known:
        terms.append(ParameterPrior.of(known, projection.hand_model.theta_std))
    return terms


def objective(
    parameters: Tensor,
    observation: Observation,
    projection: Projection,
    evidence: FeatureNetwork | None,
    config: RefinementConfig,
) -> Tensor:
    """Sum of all terms but the outline's, ``(B,)``. A term without weight is not computed."""
    hand = projection(parameters)
    terms = geometric_terms(observation, projection, config)
    if config.features_weight > 0:
        assert evidence is not None and observation.image is not None
        picture = observation.image, observation.features
        terms.insert(1, FeatureTerm(*picture, projection, evidence, config.features_weight))
    return _total(terms, PosedHands(parameters, hand.joints[..., :2], hand))


@torch.no_grad()
def geometric_objective(
    parameters: Tensor, observation: Observation, projection: Projection, config: RefinementConfig
) -> Tensor:
    """Sum of ``geometric_terms``, ``(B,)``, without a gradient."""
    joints = projection.joints_2d(parameters)
    terms = geometric_terms(observation, projection, config)
    return _total(terms, PosedHands(parameters, joints, None))


def _total(terms: Sequence[Term], posed: PosedHands) -> Tensor:
    first, *others = (term.value(posed) for term in terms)
    return sum(others, first)
