"""The joints alone: what a mesh of 778 vertices says about 21 of them, condensed beforehand.

Joints are linear in the posed vertices, and these are sums over bones, so a joint is a sum over the
few bones that move what it is regressed from. Exactly the hand layer's joints, at a fiftieth of the
work; in double precision, so that differences of two of them are derivatives.
"""

from __future__ import annotations

from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from dhpe_ros.hand.kernels.compiled_hand import is_fit_for
from dhpe_ros.hand.kernels.skeleton_kernels import add_squares, differentiate_joints, place_joints
from dhpe_ros.hand.model import (
    HandModel,
    bone_transforms,
    rotation_from_axis_angle,
    rotation_from_quaternion,
)
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.types import JOINT_COUNT, PARAMETER_COUNT

_STEP = 1e-6  # of a finite difference; in double precision good to about as many digits


class SkeletonLayer(nn.Module):
    """``(B, 63)`` to the joints of ``Projection``, and their derivatives; float64."""

    def __init__(self, model: HandModel) -> None:
        super().__init__()
        regressor, weights = model.skeleton_regressor.double(), model.bone_weights.double()
        shares = regressor[:, None] * weights  # (21, 16, 778)
        self._pairs = (shares.abs().sum(2) > 1e-9).nonzero().T  # joint and bone of each pair
        shares = shares[self._pairs[0], self._pairs[1]]  # (P, 778)
        template = torch.cat((model.template.double(), torch.ones_like(model.template[:1])))
        directions = model.blend_shapes.double().reshape(3, -1, model.blend_shapes.shape[1])
        self.register_buffer("points", shares @ template.T, persistent=False)  # (P, 4)
        blend = torch.einsum("pv,cvk->pck", shares, directions)
        self.register_buffer("blend", blend.flatten(0, 1), persistent=False)  # (3 P, 145)
        to_joint = torch.zeros(JOINT_COUNT, len(shares), dtype=torch.float64)
        to_joint[self._pairs[0], torch.arange(len(shares))] = 1.0
        self.register_buffer("to_joint", to_joint, persistent=False)
        for name in ("joint_template", "jointdirs", "hands_components", "hands_mean", "identity"):
            self.register_buffer(name, getattr(model, name).double(), persistent=False)
        self.register_buffer("steps", _STEP * torch.eye(PARAMETER_COUNT).double(), persistent=False)

    def forward(self, parameters: Tensor) -> Tensor:
        """``(B, 63)`` to ``(B, 21, 3)``, crop coordinates."""
        p = HandParameters.split(parameters.double())
        turns = rotation_from_axis_angle(
            (p.pose @ self.hands_components + self.hands_mean).unflatten(1, (15, 3))
        )
        frame = p.scale[..., None] * rotation_from_quaternion(p.rotation)
        frame = torch.cat((frame, p.translation[..., None]), 2)
        joints = self.joint_template[1:].flatten() + p.shape @ self.jointdirs[1:].flatten(0, 1).T
        bend = (turns - self.identity[:3, :3]).flatten(1)
        offsets = torch.cat((p.shape, bend), 1) @ self.blend.T
        points = self.points.expand(len(offsets), -1, -1)
        points = torch.cat((points[..., :3] + offsets.unflatten(1, (-1, 3)), points[..., 3:]), 2)
        joints = joints.unflatten(1, (15, 3, 1))
        chain = bone_transforms(turns, joints, frame, self.identity[3:])
        moved = (chain[:, self._pairs[1]] @ points[..., None])[..., 0]
        return self.to_joint @ moved

    def joints(self, parameters: Tensor) -> Tensor:
        """As ``forward``, in a fraction of the time, but without gradients."""
        if not _is_compiled_for(parameters):
            return self(parameters).detach()
        rows = parameters.detach().double().contiguous()
        joints = rows.new_empty(len(rows), JOINT_COUNT, 3)
        place_joints(rows.numpy(), self._arrays, joints.numpy())
        return joints

    def derivatives(self, parameters: Tensor, coordinates: int = 3) -> tuple[Tensor, Tensor]:
        """Joints ``(B, 21, 3)`` and their derivatives by the raw 63 numbers.

        ``(B, 21, coordinates, 63)``, of the first 2 coordinates or of all 3.
        """
        if not _is_compiled_for(parameters):
            joints, slopes = self.differences(parameters)
            return joints, slopes[:, :, :coordinates]
        rows = parameters.detach().double().contiguous()
        joints = rows.new_empty(len(rows), JOINT_COUNT, 3)
        slopes = rows.new_empty(len(rows), JOINT_COUNT, coordinates, PARAMETER_COUNT)
        differentiate_joints(rows.numpy(), self._arrays, joints.numpy(), slopes.numpy())
        return joints, slopes

    def differences(self, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """What ``derivatives`` computes, as differences in plain torch: its oracle."""
        count = len(parameters)
        parameters = parameters.double()
        moved = torch.cat((parameters[:, None], parameters[:, None] + self.steps), 1)
        joints = self(moved.flatten(0, 1)).unflatten(0, (count, PARAMETER_COUNT + 1))
        here = joints[:, 0]
        return here, ((joints[:, 1:] - here[:, None]) / _STEP).permute(0, 2, 3, 1)

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        """The model as ``skeleton_kernels`` wants it."""
        parts = (
            self._pairs.T,
            self.points,
            self.blend.unflatten(0, (-1, 3)),
            self.joint_template,
            self.jointdirs,
            self.hands_components.T,
            self.hands_mean,
        )
        return tuple(part.contiguous().numpy() for part in parts)


def gauss_newton(slopes: Tensor, residuals: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """Curvature ``(B, 63, 63)`` and way down ``(B, 63)`` of half the weighted sum of squares.

    Args:
        slopes: ``(B, R, 63)``, of the residuals.
        residuals: ``(B, R)``; float64 like all.
        weights: ``(B, R)``.
    """
    if not _is_compiled_for(slopes):
        weighted = slopes * weights[..., None]
        return weighted.mT @ slopes, -(weighted.mT @ residuals[..., None])[..., 0]
    count, _, size = slopes.shape
    curvatures, downhills = slopes.new_zeros(count, size, size), slopes.new_zeros(count, size)
    arrays = (slopes, residuals, weights)
    add_squares(*(t.contiguous().numpy() for t in arrays), curvatures.numpy(), downhills.numpy())
    return curvatures, downhills


def _is_compiled_for(parameters: Tensor) -> bool:
    return parameters.device.type == "cpu" and is_fit_for(parameters)


@lru_cache(maxsize=8)
def skeleton_of(model: HandModel, device: torch.device) -> SkeletonLayer:
    """The condensed skeleton of a model on a device, made once."""
    return SkeletonLayer(model).to(device)
