"""The losses of joint training (Eqs. 2-12, docs/explanation/method.md), per instance ``(B,)``."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from dhpe_lab.training.batches import Batch
from dhpe_lab.training.config import LossConfig
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.pose_prior import PoseSpace
from dhpe_ros.hand.projection import ProjectedHand
from dhpe_ros.hand.rotations import rotation_from_axis_angle, rotation_from_quaternion
from dhpe_ros.networks.evidence import EvidenceMaps
from dhpe_ros.networks.mesh_estimator import MeshEstimate
from dhpe_ros.types import CROP_SIZE, HEATMAP_SIGMA, MIDDLE_MCP

# Crops without a hand are few, and easier than what a search finds beside hands.
HAND_WEIGHT, NONE_WEIGHT = 0.2, 10.0
# Of the joints of hands that look like left ones: enough to tell a side by. What might be either
# should be seen as a right hand, as all are mirrored to look like one before they are fitted.
LEFT_WEIGHT = LossConfig().left_hands
GATE_PX = 15.0  # tau of Eq. 12, in the 224 crop


def joint_heatmaps(
    maps: EvidenceMaps, batch: Batch, sigma: float = HEATMAP_SIGMA, left_weight: float = LEFT_WEIGHT
) -> Tensor:
    """Eq. 3, every stage: squared distance to the targets, summed over a map, mean over joints.

    Joints outside the crop, and all of a crop without a hand, have empty targets. What looks like
    a left hand counts by ``left_weight``. Maps of any size and ``sigma`` weigh as 32 cells and the
    paper's do.
    """
    size = maps.heatmaps[-1].shape[-1]
    inside = (batch.joints.abs() < 1).all(-1) & batch.hand[:, None]
    targets = heatmap_targets(batch.joints, size, sigma) * inside[..., None, None]
    stages = [((stage - targets) ** 2).sum((2, 3)).mean(1) for stage in maps.heatmaps]
    scale = (32 / size * HEATMAP_SIGMA / sigma) ** 2
    weight = torch.where(batch.hand & ~batch.right, left_weight, 1.0)
    return scale * torch.stack(stages).mean(0) * weight


def side(maps: EvidenceMaps, batch: Batch) -> Tensor:
    """Cross entropy of left against right, where there is a hand."""
    return batch.hand * functional.binary_cross_entropy_with_logits(
        maps.right_logit, batch.right.float(), reduction="none"
    )


def hand(maps: EvidenceMaps, batch: Batch) -> Tensor:
    """Cross entropy of there being a hand or not, by ``HAND_WEIGHT`` and ``NONE_WEIGHT``."""
    wrong = functional.binary_cross_entropy_with_logits(
        maps.hand_logit, batch.hand.float(), reduction="none"
    )
    return wrong * torch.where(batch.hand, HAND_WEIGHT, NONE_WEIGHT)


def masks(maps: EvidenceMaps, batch: Batch) -> Tensor:
    """Cross entropy of the seen mask's cells, the mean of those on the hand's side of the wrist."""
    size = maps.mask_logits.shape[-1]
    truth = functional.interpolate(batch.mask[:, None], size, mode="area")[:, 0]
    counted = hand_side_of_wrist(batch.joints, size) | batch.mask_exact[:, None, None]
    wrong = functional.binary_cross_entropy_with_logits(maps.mask_logits, truth, reduction="none")
    return (wrong * counted).sum((1, 2)) / counted.sum((1, 2)).clamp(min=1)


def masked_features(features: Tensor, masked: Tensor) -> Tensor:
    """Eq. 2: squared distance of F(x) and F(x * m), mean over the features."""
    return ((features - masked) ** 2).mean(1)


def skeleton(hand: ProjectedHand, batch: Batch) -> Tensor:
    """L_Art, Eq. 8: squared distance of the normalised skeletons, summed over the joints.

    Normalised by the paper's ``l = 1.5 max(w, h)`` of the true joints' box; x and y from the true
    root, so that the translation counts, z each from its own. Depth weighs as far as it is trusted.
    """
    length = box_length(batch.joints)[:, None]
    flat = ((hand.joints[..., :2] - batch.joints) ** 2).sum(-1)
    depth = hand.joints[..., 2] - hand.joints[:, MIDDLE_MCP, None, 2]
    deep = (depth - batch.depth) ** 2 * batch.depth_trust[:, None]
    return ((flat + deep) / length**2).sum(1)


def refined_joints(estimate: MeshEstimate, batch: Batch) -> Tensor:
    """L_Ref, Eq. 6: squared distance of the refined 2D joints, normalised alike."""
    length = box_length(batch.joints)
    return ((estimate.joints_2d - batch.joints) ** 2).sum((1, 2)) / length**2


def silhouettes(rendered: Tensor, truth: Tensor, counted: Tensor | None = None) -> Tensor:
    """L_Sh, Eq. 9: mean squared distance of rendered and true mask, where it is ``counted``."""
    squared = (rendered - truth) ** 2
    return (squared if counted is None else squared * counted).mean((1, 2))


def hand_side_of_wrist(joints: Tensor, size: int) -> Tensor:
    """``(B, size, size)`` bool: what lies on the fingers' side of the wrist."""
    cells = (torch.arange(size, device=joints.device) + 0.5) * (2 / size) - 1
    wrist, along = joints[:, 0], joints[:, MIDDLE_MCP] - joints[:, 0]
    x = (cells - wrist[:, :1]) * along[:, :1]
    y = (cells - wrist[:, 1:]) * along[:, 1:]
    return y[:, :, None] + x[:, None] > 0


def shape_gate(hand: ProjectedHand, joints: Tensor) -> Tensor:
    """Eq. 12: align first, then shape. 1 once the mean 2D joint error is at most tau, else 0."""
    error = (hand.joints[..., :2] - joints).norm(dim=-1).mean(1) * (CROP_SIZE / 2)
    return (error <= GATE_PX).float()


def model_parameters(estimate: MeshEstimate, batch: Batch, model: HandModel) -> Tensor:
    """Squared distance to the known rotation, pose and shape of synthetic hands, else 0."""
    p = HandParameters.split(estimate.parameters)
    turned = ((rotation_from_quaternion(p.rotation) - batch.rotation) ** 2).sum((1, 2))
    rotations = rotation_from_axis_angle(model.pose_from_theta(p.pose).reshape(-1, 3))
    true_rotations = rotation_from_axis_angle(batch.pose.reshape(-1, 3))
    bent = ((rotations - true_rotations) ** 2).sum((1, 2)).reshape(-1, 15).sum(1)
    shaped = ((p.shape - batch.shape) ** 2).sum(1)
    return batch.synthetic * (0.5 * turned + 0.1 * bent + 0.02 * shaped)


def plausibility(estimate: MeshEstimate, pose_space: PoseSpace) -> Tensor:
    """Gaussian prior on pose and shape, for pictures whose labels leave them open."""
    p = HandParameters.split(estimate.parameters)
    return pose_space.gaussian(p.pose) + (p.shape**2).mean(1)


def box_length(joints: Tensor) -> Tensor:
    """The paper's ``l``, ``(B,)``: 1.5 times the longer side of the joints' tight box."""
    return 1.5 * (joints.amax(1) - joints.amin(1)).amax(1).clamp(min=0.05)


def heatmap_targets(joints: Tensor, size: int = 32, sigma: float = HEATMAP_SIGMA) -> Tensor:
    """Eq. 3's targets ``(B, 21, size, size)``: ``exp(-d^2 / sigma^2)`` about ``(B, 21, 2)``.

    ``joints`` in crop coordinates; ``sigma`` as a part of the crop's side.
    """
    cells = (torch.arange(size, dtype=joints.dtype, device=joints.device) + 0.5) * (2 / size) - 1
    distance = (joints[..., None] - cells) / (2 * sigma)
    across, down = (-(distance**2)).exp().unbind(2)
    return down[..., :, None] * across[..., None, :]
