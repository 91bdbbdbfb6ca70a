"""The MANO-format hand layer: pose and shape to a mesh and its skeleton.

Romero, Tzionas, Black, *Embodied Hands*, SIGGRAPH Asia 2017, for the format and the formulas.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from dhpe_ros.geometry.scale import hand_length_m
from dhpe_ros.hand.kernels import compiled_hand
from dhpe_ros.hand.kernels.layout import BONE_COUNT, VERTEX_COUNT, HandTensors
from dhpe_ros.hand.mano_file import read_mano_file
from dhpe_ros.hand.rotations import rotation_from_axis_angle
from dhpe_ros.types import JOINT_COUNT

# MANO's 16 joints and 5 tips (thumb, index, middle, ring, little) in OpenPose's order.
OPENPOSE_FROM_MANO = (0, 13, 14, 15, 16, 1, 2, 3, 17, 4, 5, 6, 18, 10, 11, 12, 19, 7, 8, 9, 20)


class HandModel(nn.Module):
    """A right hand; everything in metres, in MANO's frame (fingers -x, palm -y, thumb +z)."""

    template: Tensor  # (3, 778): coordinate by coordinate, as the skinning wants it
    triangles: Tensor  # (F, 3)
    blend_shapes: Tensor  # (3 * 778, 10 + 135), of shape and of bends
    bone_weights: Tensor  # (16, 778)
    hands_components: Tensor  # (45, 45)
    hands_mean: Tensor  # (45,)
    joint_template: Tensor  # (16, 3)
    jointdirs: Tensor  # (16, 3, 10)
    pivot_regressor: Tensor  # (21, 778): where bones turn and fingers end
    skeleton_regressor: Tensor  # (21, 778): where people see joints
    identity: Tensor  # (4, 4)
    theta_std: Tensor  # (45,)

    def __init__(self, path: str | Path) -> None:
        """Load the open hand or a MANO file; errors as in ``read_mano_file``."""
        super().__init__()
        file = read_mano_file(path)
        arrays = {key: torch.from_numpy(np.ascontiguousarray(a)) for key, a in file.arrays.items()}
        regressor, template, shapes = (
            arrays[k] for k in ("J_regressor", "v_template", "shapedirs")
        )
        blend_shapes = torch.cat((shapes, arrays["posedirs"]), 2)
        pivots = _pivot_regressor(regressor, file.tips)
        landmarks = torch.as_tensor(file.extras.get("landmarks", np.eye(JOINT_COUNT))).float()
        # MANO has no statistics of its pose components; half a radian is a wide guess.
        theta_std = torch.as_tensor(file.extras.get("theta_std", np.full(45, 0.5))).float()
        buffers = {
            "template": template.T.contiguous(),
            "triangles": arrays["f"],
            "blend_shapes": blend_shapes.transpose(0, 1).reshape(-1, 145),
            "bone_weights": arrays["weights"].T.contiguous(),
            "hands_components": arrays["hands_components"],
            "hands_mean": arrays["hands_mean"],
            # Joints are linear in the vertices, so at rest they are linear in the shape.
            "joint_template": regressor @ template,
            "jointdirs": torch.einsum("jv,vcs->jcs", regressor, shapes),
            "pivot_regressor": pivots,
            "skeleton_regressor": landmarks @ pivots,
            "identity": torch.eye(4, dtype=torch.float32),
            "theta_std": theta_std,
        }
        for name, value in buffers.items():
            self.register_buffer(name, value)
        self.extras = file.extras
        self._file = file
        self.length_ratio = _length_ratio(self, file.tips[2])

    def save(self, path: str | Path) -> None:
        """Write an ``.npz`` in this project's format, which needs no pickle to be read."""
        path = Path(path)
        partial = path.with_name(path.name + ".partial")
        with partial.open("wb") as target:
            file = self._file
            arrays: dict[str, Any] = {**file.arrays, "tips": file.tips, **file.extras}
            np.savez_compressed(target, **arrays)
        partial.replace(path)

    def pose_from_theta(self, theta: Tensor) -> Tensor:
        """``(B, 45)`` pose components to ``(B, 15, 3)`` axis-angle rotations."""
        return (theta @ self.hands_components + self.hands_mean).reshape(-1, BONE_COUNT - 1, 3)

    def theta_from_pose(self, pose: Tensor) -> Tensor:
        """Inverse of ``pose_from_theta``; the components are orthonormal."""
        return (pose.reshape(-1, 45) - self.hands_mean) @ self.hands_components.T

    def forward(self, pose: Tensor, shape: Tensor) -> Tensor:
        """``(B, 15, 3)`` axis-angle and ``(B, 10)`` shape to ``(B, 778, 3)``, the wrist fixed."""
        return self.pose_hand(pose, shape, self.identity[:3].expand(pose.shape[0], 3, 4))[0]

    def pose_hand(self, pose: Tensor, shape: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Mesh and skeleton, ``(B, 778, 3)`` and ``(B, 21, 3)``.

        ``frame`` ``(B, 3, 4)`` is an affine map ``[A | b]`` that moves what ``forward`` returns.
        """
        if compiled_hand.is_fit_for(pose, shape, frame, self.template):
            plain = self.pose_hand_in_torch
            return compiled_hand.PosedHand.apply(pose, shape, frame, self.tensors, plain)
        return self.pose_hand_in_torch(pose, shape, frame)

    def pose_hand_in_torch(
        self, pose: Tensor, shape: Tensor, frame: Tensor
    ) -> tuple[Tensor, Tensor]:
        """``pose_hand`` by torch's own operations, for compilers, exporters and transforms."""
        chain, coefficients = self.pose_chain(pose, shape, frame)
        offsets = functional.linear(coefficients, self.blend_shapes)
        v_posed = self.template + offsets.unflatten(1, (3, VERTEX_COUNT))
        # Linear blend skinning with vertices last: no product of tiny matrices.
        blended = (chain.flatten(2).mT @ self.bone_weights).unflatten(1, (3, 4))
        homogeneous = torch.cat((v_posed, torch.ones_like(v_posed[:, :1])), 1)
        moved = (blended * homogeneous[:, None]).sum(2)
        return moved.mT, functional.linear(moved, self.skeleton_regressor).mT

    def pose_chain(self, pose: Tensor, shape: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        """Each bone's map ``(B, 16, 3, 4)``, and the coefficients of ``blend_shapes``."""
        turns = rotation_from_axis_angle(pose)
        joints = functional.linear(
            shape, self.jointdirs[1:].flatten(0, 1), self.joint_template[1:].flatten()
        )
        joints = joints.unflatten(1, (BONE_COUNT - 1, 3, 1))
        bend = (turns - self.identity[:3, :3]).flatten(1)
        chain = bone_transforms(turns, joints, frame, self.identity[3:])
        return chain, torch.cat((shape, bend), 1)

    @property
    def tensors(self) -> HandTensors:
        """Buffers that the kernels read."""
        return HandTensors(*(getattr(self, name) for name in HandTensors._fields))

    @property
    def v_template(self) -> Tensor:
        """``(778, 3)``: the hand at rest."""
        return self.template.T

    @property
    def weights(self) -> Tensor:
        """Skinning weights, ``(778, 16)``."""
        return self.bone_weights.T

    def skeleton(self, vertices: Tensor) -> Tensor:
        """``(B, 778, 3)`` posed vertices to ``(B, 21, 3)`` joints, OpenPose's order."""
        return linear_over_vertices(vertices, self.skeleton_regressor)

    def pivots(self, vertices: Tensor) -> Tensor:
        """Centres that the bones turn about, and fingertips: ``(B, 21, 3)``, OpenPose's order.

        The same as ``skeleton`` for a MANO file, which has no landmarks of its own.
        """
        return linear_over_vertices(vertices, self.pivot_regressor)


def _length_ratio(model: HandModel, tip: int) -> float:
    """Length from the wrist's crease, where the skeleton begins, to the vertex of the middle tip.

    In units of ``hand_length_m``.
    """
    vertices_m = model.template.T
    joints_m = model.skeleton(vertices_m[None])[0].numpy()
    return float(np.linalg.norm(vertices_m[tip].numpy() - joints_m[0]) / hand_length_m(joints_m))


def bone_transforms(turns: Tensor, joints: Tensor, frame: Tensor, last_row: Tensor) -> Tensor:
    """Rest-to-posed transform of each bone, ``(B, 16, 3, 4)``.

    A bone turns space about its joint at rest, so the transform of a vertex is the plain product of
    the bones above it. Each finger is three bones in a row: three batched products.

    Args:
        turns: ``(B, 15, 3, 3)``, each bone's rotation against the one before it.
        joints: ``(B, 15, 3, 1)``, at rest.
        frame: ``(B, 3, 4)``, of the wrist.
        last_row: ``(1, 4)``, 0 0 0 1.
    """
    about_joint = torch.cat((turns, joints - turns @ joints), 3)
    last_row = last_row.expand(*turns.shape[:2], 1, 4)
    first, second, third = torch.cat((about_joint, last_row), 2).unflatten(1, (5, 3)).unbind(2)
    wrist = frame[:, None]
    first = wrist @ first
    second = first @ second
    third = second @ third
    return torch.cat((wrist, torch.stack((first, second, third), 2).flatten(1, 2)), 1)


def linear_over_vertices(vertices: Tensor, matrix: Tensor) -> Tensor:
    """``(B, V, 3)`` and ``(N, V)`` to ``(B, N, 3)``, as one product for the whole batch."""
    return functional.linear(vertices.mT.contiguous(), matrix).mT


def _pivot_regressor(joint_regressor: Tensor, tips: np.ndarray) -> Tensor:
    """``(21, 778)``: the 16 joint rows and five one-hot tips, in OpenPose's order."""
    one_hot = joint_regressor.new_zeros(5, VERTEX_COUNT)
    one_hot[torch.arange(5), torch.from_numpy(np.asarray(tips, np.int64))] = 1.0
    return torch.cat((joint_regressor, one_hot))[list(OPENPOSE_FROM_MANO)]
