"""Terms of the objective: Eq. 13 and more (docs/explanation/method.md, section 5).

Gradient steps differentiate their values. Those that are sums of squares have a Gauss-Newton form
in ``fit_kernels``, and so has the outline's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dhpe_ros.config import RefinementConfig
from dhpe_ros.hand.kernels.compiled_hand import is_fit_for
from dhpe_ros.hand.kernels.prior_kernels import OUTLIER_STDS, add_pose_space, add_smoothness
from dhpe_ros.hand.parameters import (
    HandParameters,
    deviations_between,
    normalize_parameters,
)
from dhpe_ros.hand.projection import ProjectedHand, Projection
from dhpe_ros.networks.evidence import FeatureNetwork

_Weights = tuple[float, float, float]


@dataclass(frozen=True)
class Observation:
    """Constant data that the parameters are fitted to."""

    image: Tensor | None  # (B, 3, S, S), x as the feature network sees it; for its term alone
    features: Tensor  # (B, 2048), F(x)
    joints: Tensor  # (B, 21, 2), the refined 2D joints, crop coordinates
    confidences: Tensor  # (B, 21)
    previous: Tensor | None = None  # (B, 63), a frame ago, in this crop; NaN: not known
    estimate: Tensor | None = None  # (B, 63), the mesh network's, its camera moved onto the joints
    distances: Tensor | None = None  # (B, 128, 128), of ``signed_distances``, on the CPU

    def twice(self) -> Observation:
        """Repeat each part, for two sets of parameters one behind the other."""
        parts = {name: part for name, part in vars(self).items() if part is not None}
        return replace(self, **{name: torch.cat((part, part)) for name, part in parts.items()})

    def on_cpu(self) -> Observation:
        """Copy to the CPU, without the picture and its features."""
        parts = {name: part for name, part in vars(self).items() if part is not None}
        dropped: dict[str, Tensor | None] = {"image": None, "features": self.features[:, :0]}
        return replace(self, **{name: part.cpu() for name, part in parts.items()} | dropped)


class PosedHands(NamedTuple):
    """Parameters and the hands that they pose."""

    parameters: Tensor  # (B, 63)
    joints: Tensor  # (B, 21, 2), crop coordinates
    hand: ProjectedHand | None  # with its mesh; None where only the joints were posed


class Term(Protocol):
    """Summand of the objective."""

    def value(self, posed: PosedHands) -> Tensor:
        """``(B,)``, weighted."""


@dataclass(frozen=True)
class JointTerm:
    """Squared distances of the projected joints to the observed ones, weighted and summed.

    Beyond ``outlier_distance`` a squared distance ``d^2`` saturates, as
    ``d^2 / (1 + d^2 / outlier_distance^2)`` (Geman and McClure, 1987).
    """

    observed: Tensor  # (B, 21, 2), crop coordinates
    weights: Tensor  # (B, 21)
    outlier_distance: float  # half-sides of the crop; 0: never an outlier
    projection: Projection

    @staticmethod
    def of(observation: Observation, projection: Projection, config: RefinementConfig) -> JointTerm:
        weights = joint_weights(observation, config)
        return JointTerm(observation.joints, weights, config.outlier_distance, projection)

    def value(self, posed: PosedHands) -> Tensor:
        observed, weights = (part.to(posed.joints.dtype) for part in (self.observed, self.weights))
        squared = ((posed.joints - observed) ** 2).sum(2)
        if self.outlier_distance > 0:
            squared = squared / (1 + squared / self.outlier_distance**2)
        return (weights * squared).sum(1)


@dataclass(frozen=True)
class FeatureTerm:
    """Change of the features where all that the hand does not cover takes the mean colour.

    The mean over the 2048 features, so that its weight does not depend on their number.
    """

    image: Tensor  # (B, 3, S, S), x
    features: Tensor  # (B, 2048), F(x)
    projection: Projection
    evidence: FeatureNetwork
    weight: float

    def value(self, posed: PosedHands) -> Tensor:
        assert posed.hand is not None
        mask = self.projection.silhouette(posed.hand, self.image.shape[-1])
        masked = self.evidence.features(self.image * mask[:, None])
        return self.weight * ((self.features - masked) ** 2).mean(dim=1)


@dataclass(frozen=True)
class ParameterPrior:
    """Proximal and temporal prior: rotation, pose and shape of ``A`` other hands for each of ``B``.

    The mean over these numbers of their squared difference ``d^2``, in standard deviations; it
    saturates, as ``d^2 / (1 + d^2 / 3^2)``. Scale and translation are free, so that nothing lags in
    the image.
    """

    centers: Tensor  # (A, B, 59), rotations of length one
    weights: Tensor  # (A, B, 1); zero where the other hand is not known
    stds: Tensor  # (59,)

    @staticmethod
    def of(others: Sequence[tuple[Tensor, float]], theta_std: Tensor) -> ParameterPrior:
        """From parameters ``(B, 63)``, NaN where not known, and their weights."""
        centers = torch.stack([_without_camera(other) for other, _ in others])
        known = [weight * other.isfinite().all(1, keepdim=True) for other, weight in others]
        return ParameterPrior(
            centers.nan_to_num(0.0),
            torch.stack(known).to(centers.dtype),
            deviations_between(theta_std),
        )

    def value(self, posed: PosedHands) -> Tensor:
        squared = self._residuals(_without_camera(posed.parameters)) ** 2
        return (self.weights * squared / (1 + squared / OUTLIER_STDS**2)).mean(2).sum(0)

    def _residuals(self, numbers: Tensor) -> Tensor:
        """``(A, B, 59)`` in standard deviations; q and -q are the same rotation."""
        opposite = (numbers[:, :4] * self.centers[..., :4]).sum(2, keepdim=True) < 0
        turn = numbers[:, :4] - torch.where(opposite, -1.0, 1.0) * self.centers[..., :4]
        return torch.cat((turn, numbers[:, 4:] - self.centers[..., 4:]), 2) / self.stds


@dataclass(frozen=True)
class HandPrior:
    """Mesh Laplacian (Eqs. 10-11), ``PoseSpace`` and mean squared shape, weighted and added."""

    projection: Projection
    weights: _Weights  # of the three, in this order; one without weight is not computed

    @staticmethod
    def of(projection: Projection, config: RefinementConfig) -> HandPrior:
        weights = config.laplacian_weight, config.pose_weight, config.shape_weight
        return HandPrior(projection, weights)

    def value(self, posed: PosedHands) -> Tensor:
        """Compiled on a CPU; plain torch on GPUs and where a compiler traces."""
        parameters = posed.parameters
        if parameters.device.type == "cpu" and is_fit_for(parameters, self.projection.laplacian):
            return _CompiledPrior.apply(parameters, self.projection, self.weights)
        smooth, pose, shape = self.weights
        p = HandParameters.split(parameters)
        total = parameters.new_zeros(len(parameters))
        if smooth > 0:
            hand = posed.hand or self.projection(parameters)
            total = total + smooth * self.projection.smoothness(hand)
        if pose > 0:
            total = total + pose * self.projection.pose_space(p.pose)
        if shape > 0:
            total = total + shape * (p.shape**2).mean(1)
        return total


class _CompiledPrior(torch.autograd.Function):
    """Value and gradient, computed together: callers of one soon need the other."""

    @staticmethod
    def forward(ctx: Any, parameters: Tensor, projection: Projection, weights: _Weights) -> Tensor:
        rows = parameters.detach().double().contiguous()
        values, gradients = rows.new_zeros(len(rows)), torch.zeros_like(rows)
        numbers, out = rows.numpy(), (values.numpy(), gradients.numpy())
        components, hand_model, rings, limits, spheres = projection.prior_arrays
        smooth, pose, shape = weights
        if smooth > 0:
            add_smoothness(numbers, smooth, components, hand_model, rings, *out)
        if pose > 0:
            nobody = np.zeros((0, 0, 0))
            add_pose_space(numbers, pose, components, limits, spheres, *out, nobody)
        if shape > 0:
            values += shape * (rows[:, 53:] ** 2).mean(1)
            gradients[:, 53:] += shape / 5 * rows[:, 53:]
        ctx.save_for_backward(gradients.to(parameters.dtype))
        return values.to(parameters.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pull: Tensor) -> tuple[Tensor | None, ...]:
        (gradients,) = ctx.saved_tensors
        return pull[:, None] * gradients, None, None


def known_hands(observation: Observation, config: RefinementConfig) -> list[tuple[Tensor, float]]:
    """Hands that the parameters are held to, and the weights of this."""
    others = (
        (observation.estimate, config.estimate_weight),
        (observation.previous, config.temporal_weight),
    )
    return [(other, weight) for other, weight in others if other is not None and weight > 0]


def _without_camera(parameters: Tensor) -> Tensor:
    """``(B, 59)``: rotation of length one, pose and shape of ``(B, 63)``."""
    return normalize_parameters(parameters)[:, 4:]


def joint_weights(observation: Observation, config: RefinementConfig) -> Tensor:
    """``(B, 21)``: weight of each joint's squared distance.

    The less sure a joint is, the farther off it lies: the square of the confidence comes near the
    inverse variance that a least-squares problem wants (docs/explanation/refinement.md).
    """
    if config.confidence_weighting:
        return config.joints_weight * observation.confidences**2
    return torch.full_like(observation.confidences, config.joints_weight)
