"""Joints and single vertices without the whole mesh, and their derivatives.

Joints are linear in the posed vertices, and these are sums over bones, so a joint is a sum over the
few bones that move its vertices. Exactly the hand layer's joints, at a fiftieth of the
work; in double precision.
"""

from __future__ import annotations

from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from dhpe_ros.hand.kernels.compiled_hand import is_fit_for
from dhpe_ros.hand.kernels.skeleton_kernels import differentiate_joints, place_joints
from dhpe_ros.hand.model import HandModel, bone_transforms
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.rotations import rotation_from_axis_angle, rotation_from_quaternion
from dhpe_ros.types import JOINT_COUNT, PARAMETER_COUNT

_LEAST_WEIGHT = 1e-6  # of a bone that moves a vertex


class SkeletonLayer(nn.Module):
    """``(B, 63)`` to the joints of ``Projection``, and their derivatives; float64.

    P is the number of pairs of a joint and a bone that moves it.
    """

    points: Tensor  # (P, 4)
    blend: Tensor  # (3 P, 145)
    to_joint: Tensor  # (21, P)
    joint_template: Tensor
    jointdirs: Tensor
    hands_components: Tensor
    hands_mean: Tensor
    identity: Tensor

    def __init__(self, model: HandModel) -> None:
        super().__init__()
        regressor, weights = model.skeleton_regressor.double(), model.bone_weights.double()
        shares = regressor[:, None] * weights  # (21, 16, 778)
        self._pairs = (shares.abs().sum(2) > 1e-9).nonzero().T  # joint and bone of each pair
        shares = shares[self._pairs[0], self._pairs[1]]  # (P, 778)
        template = torch.cat((model.template.double(), torch.ones_like(model.template[:1])))
        directions = model.blend_shapes.double().reshape(3, -1, model.blend_shapes.shape[1])
        self.register_buffer("points", shares @ template.T, persistent=False)
        blend = torch.einsum("pv,cvk->pck", shares, directions)
        self.register_buffer("blend", blend.flatten(0, 1), persistent=False)
        to_joint = torch.zeros(JOINT_COUNT, len(shares), dtype=torch.float64)
        to_joint[self._pairs[0], torch.arange(len(shares))] = 1.0
        self.register_buffer("to_joint", to_joint, persistent=False)
        for name in ("joint_template", "jointdirs", "hands_components", "hands_mean", "identity"):
            self.register_buffer(name, getattr(model, name).double(), persistent=False)

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
        if parameters.device.type != "cpu" or not is_fit_for(parameters):
            return self(parameters).detach()
        rows = parameters.detach().double().contiguous()
        joints = rows.new_empty(len(rows), JOINT_COUNT, 3)
        place_joints(rows.numpy(), self._arrays, joints.numpy())
        return joints

    def derivatives(self, parameters: Tensor, coordinates: int = 3) -> tuple[Tensor, Tensor]:
        """Joints ``(B, 21, 3)`` and their derivatives by the raw 63 numbers; on the CPU.

        The latter are ``(B, 21, coordinates, 63)``, of the first 2 coordinates or of all 3.
        """
        rows = parameters.detach().double().contiguous()
        joints = rows.new_empty(len(rows), JOINT_COUNT, 3)
        slopes = rows.new_empty(len(rows), JOINT_COUNT, coordinates, PARAMETER_COUNT)
        differentiate_joints(rows.numpy(), self._arrays, joints.numpy(), slopes.numpy())
        return joints, slopes

    @cached_property
    def _arrays(self) -> tuple[np.ndarray, ...]:
        """Arrays of the model for ``skeleton_kernels``."""
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


class SurfacePoints:
    """Vertices of ``Projection``, as sums over the bones that move them; float64, on the CPU.

    Serves callers that need a few of the 778, with derivatives.
    """

    def __init__(self, model: HandModel) -> None:
        weights = model.bone_weights.T.double().cpu().numpy()  # (778, 16)
        template = model.template.T.double().cpu().numpy()  # (778, 3)
        count = len(weights)
        directions = model.blend_shapes.double().cpu().numpy().reshape(3, count, -1)
        vertex, bone = (weights > _LEAST_WEIGHT).nonzero()
        share = weights[vertex, bone][:, None]
        self._bones = bone
        self._first = np.searchsorted(vertex, np.arange(count + 1))
        self._points = share * np.concatenate((template, np.ones((count, 1))), 1)[vertex]
        self._blend = share[..., None] * directions[:, vertex].transpose(1, 0, 2)
        rest = (model.joint_template, model.jointdirs, model.hands_components.T, model.hands_mean)
        self._rest = tuple(np.ascontiguousarray(part.double().cpu().numpy()) for part in rest)

    def select(self, vertices: np.ndarray) -> tuple[np.ndarray, ...]:
        """Arrays of ``vertices`` ``(N,)`` for ``read_field``."""
        first, count = self._first[vertices], np.diff(self._first)[vertices]
        point = np.repeat(np.arange(len(vertices)), count)
        pair = np.arange(len(point)) - np.repeat(count.cumsum() - count, count)
        pair += np.repeat(first, count)
        pairs = np.stack((point, self._bones[pair]), 1)
        return pairs, self._points[pair], self._blend[pair], *self._rest
