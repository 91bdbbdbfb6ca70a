"""f_E3D and f_Ref: evidence to the 63 parameters, iterated (docs/explanation/method.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from dhpe_ros.hand.parameters import HandParameters, normalize_parameters
from dhpe_ros.hand.projection import JointProjection, ProjectedHand, Projection
from dhpe_ros.networks.evidence import Evidence
from dhpe_ros.types import FEATURE_COUNT, JOINT_COUNT, JOINT_NAMES, PARAMETER_COUNT

ITERATIONS = 3
_KNUCKLES = slice(JOINT_NAMES.index("index1"), JOINT_NAMES.index("little1") + 1, 4)
_TINY = 1e-6
_RADIUS = 0.35  # of canonical joints about their centre, root mean square: a hand at START_SCALE
_JOINTS_2D = 2 * JOINT_COUNT


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
    Without ``refiner`` (an ablation) the 2D joints stay those of the heat maps. ``canonical``
    networks see 2D joints in one place, of one size, the palm upright, and estimate such hands.
    Without ``features`` they lift 2D joints alone and F does not count.
    """

    def __init__(
        self,
        hidden: int = 0,
        refiner: bool = True,
        canonical: bool = False,
        features: bool = True,
    ) -> None:
        super().__init__()
        self.hidden, self.canonical, self.features = hidden, canonical, features
        inputs = FEATURE_COUNT * features + _JOINTS_2D + PARAMETER_COUNT
        self.regressor = _head(inputs, PARAMETER_COUNT, hidden)
        self.refiner = _head(inputs + 3 * JOINT_COUNT, _JOINTS_2D, hidden) if refiner else None

    def forward(
        self, evidence: Evidence, projection: Projection | JointProjection
    ) -> list[MeshEstimate]:
        """All iterations' estimates, the last one last."""
        joints_2d = evidence.joints
        view = _View.of(joints_2d) if self.canonical else None
        if view is not None:
            joints_2d = view.canonical(joints_2d)
        parameters = HandParameters.start(joints_2d.shape[0], joints_2d.device)
        features = evidence.features if self.features else None
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
        return estimates if view is None else [view.in_crop(estimate) for estimate in estimates]

    @torch.no_grad()
    def change_scale(self, factor: float) -> None:
        """Estimate scales ``factor`` times as large, of hands as much smaller, from the same."""
        _layers(self.regressor)[0].weight[:, FEATURE_COUNT * self.features + _JOINTS_2D] /= factor
        last = _layers(self.regressor)[-1]
        last.weight[0] *= factor
        last.bias[0] *= factor
        if self.refiner is not None:
            _layers(self.refiner)[0].weight[:, 0] /= factor


@dataclass(frozen=True)
class _View:
    """Canonical points ``zoom * turn @ (p - center)`` of points ``p`` of a crop."""

    center: Tensor  # (B, 2)
    zoom: Tensor  # (B, 1)
    turn: Tensor  # (B, 2, 2)

    @staticmethod
    def of(joints_2d: Tensor) -> _View:
        """The view in which 2D joints are canonical; any turn where the palm has no direction."""
        center = joints_2d.mean(1)
        radius = ((joints_2d - center[:, None]) ** 2).sum(2).mean(1, keepdim=True).sqrt()
        x, y = (joints_2d[:, _KNUCKLES].mean(1) - joints_2d[:, 0]).unbind(1)
        length = (x**2 + y**2).sqrt()
        directed = length > _TINY  # else upright: no constant tensor, for it would be elsewhere
        x, y = torch.where(directed, x / length, 0.0), torch.where(directed, y / length, -1.0)
        turn = torch.stack((-y, x, -x, -y), 1).unflatten(1, (2, 2))
        return _View(center, _RADIUS / radius.clamp(min=_TINY), turn)

    def canonical(self, points: Tensor) -> Tensor:
        """``(B, N, 2)`` of the crop to canonical ones."""
        return self.zoom[..., None] * (points - self.center[:, None]) @ self.turn.mT

    def in_crop(self, estimate: MeshEstimate) -> MeshEstimate:
        """An estimate of canonical 2D joints in the crop's coordinates."""
        p = HandParameters.split(estimate.parameters)
        moved = HandParameters(
            p.scale / self.zoom,
            self._solid(p.translation[:, None])[:, 0],
            self._rotation(p.rotation),
            p.pose,
            p.shape,
        )
        hand = ProjectedHand(*map(self._solid, (estimate.hand.vertices, estimate.hand.joints)))
        return MeshEstimate(moved.join(), hand, self._flat(estimate.joints_2d))

    def _solid(self, points: Tensor) -> Tensor:
        """Canonical ``(B, N, 3)`` to those of the crop."""
        return torch.cat((self._flat(points[..., :2]), points[..., 2:] / self.zoom[..., None]), 2)

    def _flat(self, points: Tensor) -> Tensor:
        """Canonical ``(B, N, 2)`` to those of the crop."""
        return points @ self.turn / self.zoom[..., None] + self.center[:, None]

    def _rotation(self, rotation: Tensor) -> Tensor:
        """Quaternions ``(B, 4)``, turned back about the line of sight."""
        cosine, sine = self.turn[:, 0, 0], self.turn[:, 1, 0]
        # Half the angle, of two forms the one that is not near 0 / 0.
        ahead = cosine > 0
        w, z = torch.where(ahead, 1 + cosine, sine), torch.where(ahead, sine, 1 - cosine)
        length = (w**2 + z**2).sqrt()
        w, z = w / length, z / length
        a, b, c, d = rotation.unbind(1)
        return torch.stack((w * a + z * d, w * b + z * c, w * c - z * b, w * d - z * a), 1)


def _with_constant(
    head: nn.Module, constant: Tensor | None, first: int
) -> Callable[[Tensor], Tensor]:
    """``head`` as a function of its other inputs; ``constant`` are those from ``first`` on, if any.

    F is most of the input and the same in all iterations: its weights are read once.
    """
    if constant is None:
        return head
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
