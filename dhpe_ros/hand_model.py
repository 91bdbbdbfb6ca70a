"""The MANO-format hand layer: pose and shape to a mesh and its skeleton (docs/method.md).

Romero, Tzionas, Black, *Embodied Hands*, SIGGRAPH Asia 2017, for the format and the formulas.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dhpe_ros.mano_file import BONE_COUNT, PARENTS, VERTEX_COUNT, read_mano_file

# MANO's 16 joints and 5 tips (thumb, index, middle, ring, little) in OpenPose's order.
OPENPOSE_FROM_MANO = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)

# Bones by depth in the tree, so that the chain is three batched products, not fifteen.
_DEPTHS = ((1, 4, 7, 10, 13), (2, 5, 8, 11, 14), (3, 6, 9, 12, 15))


class HandModel(nn.Module):
    """A right hand; everything in metres, in MANO's frame (fingers -x, palm -y, thumb +z)."""

    def __init__(self, path: str | Path) -> None:
        """Load the open hand or a MANO file; errors as in ``read_mano_file``."""
        super().__init__()
        file = read_mano_file(path)
        arrays = {key: torch.from_numpy(np.ascontiguousarray(a)) for key, a in file.arrays.items()}
        self.register_buffer("v_template", arrays["v_template"])
        self.register_buffer("triangles", arrays["f"])
        blend_shapes = torch.cat((arrays["shapedirs"], arrays["posedirs"]), 2)
        # (3 * 778, 10 + 135), coordinate by coordinate, as the skinning wants it
        self.register_buffer("blend_shapes", blend_shapes.transpose(0, 1).reshape(-1, 145))
        self.register_buffer("weights", arrays["weights"])
        self.register_buffer("hands_components", arrays["hands_components"])
        self.register_buffer("hands_mean", arrays["hands_mean"])
        # Joints are linear in the vertices, so at rest they are linear in the shape.
        regressor = arrays["J_regressor"]
        self.register_buffer("joint_template", regressor @ arrays["v_template"])
        self.register_buffer(
            "jointdirs", torch.einsum("jv,vcs->jcs", regressor, arrays["shapedirs"])
        )
        self.register_buffer("skeleton_regressor", _skeleton_regressor(regressor, file.tips))
        # MANO has no statistics of its pose components; half a radian is a wide guess.
        theta_std = file.extras.get("theta_std", np.full(45, 0.5))
        self.register_buffer("theta_std", torch.from_numpy(np.asarray(theta_std, np.float32)))
        self.extras = file.extras
        self._file = file

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` in this project's format, which needs no pickle to be read."""
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as target:
            extras = self._file.extras
            np.savez_compressed(target, **self._file.arrays, tips=self._file.tips, **extras)
        partial.replace(path)

    def pose_from_theta(self, theta: Tensor) -> Tensor:
        """``(B, 45)`` pose components to ``(B, 15, 3)`` axis-angle rotations."""
        return (theta @ self.hands_components + self.hands_mean).reshape(-1, BONE_COUNT - 1, 3)

    def theta_from_pose(self, pose: Tensor) -> Tensor:
        """Inverse of ``pose_from_theta``; the components are orthonormal."""
        return (pose.reshape(-1, 45) - self.hands_mean) @ self.hands_components.T

    def forward(self, pose: Tensor, shape: Tensor) -> Tensor:
        """``(B, 15, 3)`` axis-angle and ``(B, 10)`` shape to ``(B, 778, 3)``, the wrist fixed."""
        batch = pose.shape[0]
        rotations = rotation_from_axis_angle(pose.reshape(-1, 3)).reshape(batch, 15, 3, 3)
        joints = self.joint_template + torch.einsum("jcs,bs->bjc", self.jointdirs, shape)
        bend = (rotations - torch.eye(3, dtype=pose.dtype, device=pose.device)).reshape(batch, 135)
        offsets = functional.linear(torch.cat((shape, bend), 1), self.blend_shapes)
        v_posed = self.v_template.T + offsets.reshape(batch, 3, VERTEX_COUNT)
        return self._skin(v_posed, *_bone_transforms(rotations, joints))

    def skeleton(self, vertices: Tensor) -> Tensor:
        """``(B, 778, 3)`` posed vertices to ``(B, 21, 3)`` joints, OpenPose's order."""
        return linear_over_vertices(vertices, self.skeleton_regressor)

    def _skin(self, v_posed: Tensor, rotation: Tensor, translation: Tensor) -> Tensor:
        """Linear blend skinning of ``(B, 3, 778)``: vertices last, no product of tiny matrices."""
        batch = v_posed.shape[0]
        blended = functional.linear(
            rotation.reshape(batch, BONE_COUNT, 9).mT.contiguous(), self.weights
        )
        turned = (blended.reshape(batch, 3, 3, VERTEX_COUNT) * v_posed[:, None]).sum(2)
        return (turned + functional.linear(translation.mT.contiguous(), self.weights)).mT


def linear_over_vertices(vertices: Tensor, matrix: Tensor) -> Tensor:
    """``(B, V, 3)`` and ``(N, V)`` to ``(B, N, 3)``, as one product for the whole batch."""
    return functional.linear(vertices.mT.contiguous(), matrix).mT


def _skeleton_regressor(joint_regressor: Tensor, tips: np.ndarray) -> Tensor:
    """``(21, 778)``: the 16 joint rows and five one-hot tips, in OpenPose's order."""
    one_hot = torch.zeros(5, VERTEX_COUNT)
    one_hot[torch.arange(5), torch.from_numpy(np.asarray(tips, np.int64))] = 1.0
    return torch.cat((joint_regressor, one_hot))[list(OPENPOSE_FROM_MANO)]


def _bone_transforms(rotations: Tensor, joints: Tensor) -> tuple[Tensor, Tensor]:
    """Rest-to-posed transform of each bone: ``(B, 16, 3, 3)`` and ``(B, 16, 3)``.

    ``rotations`` are ``(B, 15, 3, 3)``, local, of bones 1..15; ``joints`` ``(B, 16, 3)`` at rest.
    """
    batch = joints.shape[0]
    identity = torch.eye(3, dtype=joints.dtype, device=joints.device).expand(batch, 5, 3, 3)
    parent_rotation, parent_position = identity, joints[:, :1].expand(batch, 5, 3)
    wrist = identity[:, :1], joints[:, :1]
    chain_rotation, chain_position = [wrist[0]], [wrist[1]]
    for bones in _DEPTHS:
        parents = [PARENTS[bone] for bone in bones]
        offset = joints[:, list(bones)] - joints[:, parents]
        position = parent_position + (parent_rotation @ offset[..., None])[..., 0]
        rotation = parent_rotation @ rotations[:, [bone - 1 for bone in bones]]
        chain_rotation.append(rotation)
        chain_position.append(position)
        parent_rotation, parent_position = rotation, position
    order = [0] + [1 + 5 * depth + finger for finger in range(5) for depth in range(3)]
    world_rotation = torch.cat(chain_rotation, 1)[:, order]
    world_position = torch.cat(chain_position, 1)[:, order]
    return world_rotation, world_position - (world_rotation @ joints[..., None])[..., 0]


def rotation_from_axis_angle(vector: Tensor) -> Tensor:
    """``(N, 3)`` to ``(N, 3, 3)``, Rodrigues; smooth and finite at zero."""
    squared = (vector * vector).sum(-1)
    small = squared < 1e-8
    safe = torch.where(small, torch.ones_like(squared), squared)
    angle = safe.sqrt()
    sine = torch.where(small, 1 - squared / 6, angle.sin() / angle)
    cosine = torch.where(small, 0.5 - squared / 24, (1 - angle.cos()) / safe)
    cross = cross_matrix(vector)
    identity = torch.eye(3, dtype=vector.dtype, device=vector.device)
    return identity + sine[:, None, None] * cross + cosine[:, None, None] * (cross @ cross)


def rotation_from_quaternion(quaternion: Tensor) -> Tensor:
    """``(B, 4)`` w x y z, of any length but zero, to ``(B, 3, 3)``."""
    w, x, y, z = functional.normalize(quaternion, dim=-1, eps=1e-6).unbind(-1)
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)),
        (2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)),
        (2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, -1) for row in rows], -2)


def cross_matrix(vector: Tensor) -> Tensor:
    """``(N, 3)`` to the ``(N, 3, 3)`` matrices of the cross product."""
    x, y, z = vector.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).reshape(-1, 3, 3)
