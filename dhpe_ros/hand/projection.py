"""f_Proj: the 63 parameters to a mesh in the crop, its skeleton and its silhouette.

Fixed, never trained (docs/explanation/method.md, section 1); refinement and training share it.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dhpe_ros.hand.linear_points import LinearPoints
from dhpe_ros.hand.model import HandModel, linear_over_vertices
from dhpe_ros.hand.parameters import Bounds, HandParameters, deviations_between, step_scales
from dhpe_ros.hand.pose_prior import PoseSpace
from dhpe_ros.hand.rotations import rotation_from_quaternion
from dhpe_ros.rendering import silhouette
from dhpe_ros.rendering.topology import topology_of
from dhpe_ros.types import CROP_SIZE, JOINT_COUNT

_TINY = 1e-14  # crop half-sides squared


@dataclass(frozen=True)
class ProjectedHand:
    """Mesh and joints in crop coordinates (x right, y down, z away; half-sides of the crop)."""

    vertices: Tensor  # (B, 778, 3)
    joints: Tensor  # (B, 21, 3)


class Projection(nn.Module):
    """f_Reg and f_Ren of the paper over one hand model.

    ``skeleton``, ``pose_space``, ``prior_arrays``, ``fit_arrays`` and
    ``on_cpu`` are derived from the model on its device when they are first asked for.
    """

    hand_model: HandModel
    laplacian: Tensor  # (778, 778)
    _DERIVED = ("skeleton", "pose_space", "prior_arrays", "fit_arrays", "on_cpu")

    def __init__(self, hand_model: HandModel) -> None:
        super().__init__()
        self.hand_model = hand_model
        self.register_buffer("laplacian", _uniform_laplacian(hand_model), persistent=False)

    def forward(self, parameters: Tensor) -> ProjectedHand:
        """``(B, 63)`` to mesh and joints: ``p = s * R(q) v + t``."""
        frame, p = hand_frame(parameters), HandParameters.split(parameters)
        pose = self.hand_model.pose_from_theta(p.pose)
        return ProjectedHand(*self.hand_model.pose_hand(pose, p.shape, frame))

    def joints_2d(self, parameters: Tensor) -> Tensor:
        """``(B, 21, 2)``, crop coordinates, without a gradient; on a CPU without the mesh."""
        if parameters.device.type == "cpu":
            return self.skeleton.place(parameters)[..., :2].to(parameters.dtype)
        return self(parameters.detach()).joints[..., :2]

    def silhouette(self, hand: ProjectedHand, size: int = CROP_SIZE) -> Tensor:
        """f_Ren: ``(B, size, size)`` in 0..1."""
        return silhouette(hand.vertices, self.hand_model.triangles, size)

    def smoothness(self, hand: ProjectedHand) -> Tensor:
        """L_Lap (Eqs. 10-11): mean norm of the uniform mesh Laplacian, ``(B,)``."""
        deviations = linear_over_vertices(hand.vertices, self.laplacian)
        # The last term is negligible beside lengths; it gives the root a slope at zero.
        return ((deviations**2).sum(2) + _TINY).sqrt().mean(1)

    @cached_property
    def skeleton(self) -> LinearPoints:
        return LinearPoints(self.hand_model, self.hand_model.skeleton_regressor)

    @cached_property
    def pose_space(self) -> PoseSpace:
        return PoseSpace(self.hand_model)

    @cached_property
    def prior_arrays(self) -> tuple[tuple, ...]:
        """Components, mesh model, neighbours, limits and spheres for ``prior_kernels``."""
        model = self.hand_model
        components = model.hands_components, model.hands_components.T, model.hands_mean
        doubles = tuple(part.double().contiguous().numpy() for part in components)
        mesh = tuple(part.to(self.laplacian).contiguous().numpy() for part in model.tensors)
        return doubles, mesh, _neighbours(self.laplacian), *self.pose_space.arrays

    @cached_property
    def fit_arrays(self) -> tuple[Any, ...]:
        """``hand_model`` of ``fit_kernels``."""
        topology = topology_of(self.hand_model.triangles, len(self.hand_model.v_template))
        mesh = (
            topology.triangles, topology.edges, topology.triangle_edges,
            topology.triangle_edge_signs,
        )  # fmt: skip
        theta_std = self.hand_model.theta_std
        lowest, highest, _ = Bounds.of(theta_std)
        parts = step_scales(theta_std), lowest, highest, deviations_between(theta_std)
        *numbers, stds = (part.double().cpu().numpy() for part in parts)
        return self.skeleton.arrays, self.prior_arrays, mesh, tuple(numbers), stds

    @cached_property
    def on_cpu(self) -> Projection:
        """Copy on the CPU."""
        return copy.deepcopy(self).cpu()

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Projection:
        for name in self._DERIVED:  # they are of the device and the type that were
            self.__dict__.pop(name, None)
        return super()._apply(fn, recurse)


class JointProjection(nn.Module):
    """`Projection` to the joints alone: a third of the mesh's work."""

    bones: Tensor  # (P,), of each pair of a joint and a bone that moves it
    points: Tensor  # (P, 4)
    blend: Tensor  # (3 P, 145)
    to_joint: Tensor  # (21, P)

    def __init__(self, projection: Projection) -> None:
        super().__init__()
        self.hand_model = projection.hand_model
        pairs, points, blend = (torch.from_numpy(part) for part in projection.skeleton.arrays[:3])
        to_joint = torch.eye(JOINT_COUNT)[:, pairs[:, 0]]
        parts = {"bones": pairs[:, 1], "points": points.float(), "to_joint": to_joint}
        parts["blend"] = blend.flatten(0, 1).float()
        for name, part in parts.items():
            self.register_buffer(name, part.to(projection.laplacian.device), persistent=False)

    def forward(self, parameters: Tensor) -> ProjectedHand:
        """``(B, 63)`` to the joints ``(B, 21, 3)``; there are no vertices."""
        frame, p = hand_frame(parameters), HandParameters.split(parameters)
        chain, coefficients = self.hand_model.pose_chain(
            self.hand_model.pose_from_theta(p.pose), p.shape, frame
        )
        points = functional.linear(coefficients, self.blend).unflatten(1, (-1, 3))
        points = torch.cat(
            (self.points[:, :3] + points, self.points[:, 3:].expand_as(points[..., :1])), 2
        )
        moved = (chain[:, self.bones] * points[:, :, None]).sum(3)
        return ProjectedHand(moved[:, :0], self.to_joint @ moved)


def hand_frame(parameters: Tensor) -> Tensor:
    """``(B, 3, 4)``: the affine map ``[s R(q) | t]`` of ``(B, 63)``."""
    p = HandParameters.split(parameters)
    turn = p.scale[..., None] * rotation_from_quaternion(p.rotation)
    return torch.cat((turn, p.translation[..., None]), 2)


def _uniform_laplacian(hand_model: HandModel) -> Tensor:
    """``(778, 778)``: each vertex minus the mean of its neighbours."""
    count = hand_model.v_template.shape[0]
    triangles = hand_model.triangles
    adjacency = torch.zeros(count, count, dtype=torch.float32)
    for a, b in ((0, 1), (1, 2), (2, 0)):
        adjacency[triangles[:, a], triangles[:, b]] = 1.0
        adjacency[triangles[:, b], triangles[:, a]] = 1.0
    return torch.eye(count, dtype=torch.float32) - adjacency / adjacency.sum(1, keepdim=True).clamp(
        min=1.0
    )


def _neighbours(laplacian: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """First index of each vertex's neighbours ``(V + 1,)``, and the neighbours."""
    row, column = laplacian.nonzero().T
    kept = row != column
    starts = torch.searchsorted(row[kept].contiguous(), torch.arange(len(laplacian) + 1))
    return starts.numpy(), column[kept].contiguous().numpy()
