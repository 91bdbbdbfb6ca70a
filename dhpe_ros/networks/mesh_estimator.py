"""f_E3D and f_Ref: evidence to the 63 parameters, iterated (docs/explanation/method.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dhpe_ros.hand.parameters import HandParameters, normalize_parameters
from dhpe_ros.hand.projection import ProjectedHand, Projection
from dhpe_ros.networks.evidence import Evidence
from dhpe_ros.types import FEATURE_COUNT, JOINT_COUNT, PARAMETER_COUNT

ITERATIONS = 3
_JOINTS_2D = 2 * JOINT_COUNT
_REGRESSOR_INPUTS = FEATURE_COUNT + _JOINTS_2D + PARAMETER_COUNT  # 2153
_REFINER_INPUTS = PARAMETER_COUNT + FEATURE_COUNT + 3 * JOINT_COUNT + _JOINTS_2D  # 2216


@dataclass(frozen=True)
class MeshEstimate:
    """One iteration's result."""

    parameters: Tensor  # (B, 63)
    hand: ProjectedHand  # projection of the parameters
    joints_2d: Tensor  # (B, 21, 2) refined 2D joints, crop coordinates


class MeshEstimator(nn.Module):
    """``h(t) = h(t-1) + f_E3D(F, j2D(t-1), h(t-1))``, ``j2D(t) = f_Ref(h(t), F, j3D(t), j2D(t-1))``

    ``hidden`` 0 makes both single layers, as in the paper; otherwise each is a small network with
    two hidden layers of that width, and the refiner is residual, as in the authors' later code.
    Without ``refiner`` (an ablation) the 2D joints stay those of the heat maps.
    """

    def __init__(self, hidden: int = 0, refiner: bool = True) -> None:
        super().__init__()
        self.hidden = hidden
        self.regressor = _head(_REGRESSOR_INPUTS, PARAMETER_COUNT, hidden)
        self.refiner = _head(_REFINER_INPUTS, _JOINTS_2D, hidden) if refiner else None

    def forward(self, evidence: Evidence, projection: Projection) -> list[MeshEstimate]:
        """All iterations' estimates, the last one last."""
        features, joints_2d = evidence.features, evidence.joints
        parameters = HandParameters.start(features.shape[0], features.device)
        regressor = _with_constant(self.regressor, features, first=0)
        refiner = self.refiner and _with_constant(self.refiner, features, first=PARAMETER_COUNT)
        estimates = []
        for _ in range(ITERATIONS):
            step = regressor(torch.cat((joints_2d.flatten(1), parameters), 1))
            parameters = normalize_parameters(parameters + step)
            hand = projection(parameters)
            if refiner is not None:
                inputs = (parameters, hand.joints.flatten(1), joints_2d.flatten(1))
                refined = refiner(torch.cat(inputs, 1)).reshape(-1, JOINT_COUNT, 2)
                joints_2d = joints_2d + refined if self.hidden else refined
            estimates.append(MeshEstimate(parameters, hand, joints_2d))
        return estimates

    @torch.no_grad()
    def change_scale(self, factor: float) -> None:
        """Estimate scales ``factor`` times as large, of hands as much smaller, from the same."""
        _layers(self.regressor)[0].weight[:, FEATURE_COUNT + _JOINTS_2D] /= factor
        last = _layers(self.regressor)[-1]
        last.weight[0] *= factor
        last.bias[0] *= factor
        if self.refiner is not None:
            _layers(self.refiner)[0].weight[:, 0] /= factor


def _with_constant(head: nn.Module, constant: Tensor, first: int) -> Callable[[Tensor], Tensor]:
    """``head`` as a function of its other inputs; ``constant`` are those from ``first`` on.

    F is most of the input and the same in all iterations: its weights are read once.
    """
    linear, *rest = _layers(head)
    weight, bias = linear.weight, linear.bias
    last = first + constant.shape[1]
    of_constant = functional.linear(constant, weight[:, first:last], bias)
    others = torch.cat((weight[:, :first], weight[:, last:]), 1)
    after = nn.Sequential(*rest)
    return lambda inputs: after(of_constant + functional.linear(inputs, others))


def _layers(head: nn.Module) -> list[Any]:
    return list(head) if isinstance(head, nn.Sequential) else [head]


def _head(inputs: int, outputs: int, hidden: int) -> nn.Module:
    last = nn.Linear(hidden or inputs, outputs)
    # Variance scaling 0.01, as in HMR: the first estimates stay near the start.
    bound = (3 * 0.01 / last.in_features) ** 0.5
    nn.init.uniform_(last.weight, -bound, bound)
    nn.init.zeros_(last.bias)
    if not hidden:
        return last
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Dropout(0.1),
        nn.Linear(hidden, hidden), nn.ReLU(inplace=True), nn.Dropout(0.1),
        last,
    )  # fmt: skip
