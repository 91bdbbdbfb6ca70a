"""f_Feat and f_J2D: features, 2D joints, side and mask of a hand, without any hand model.

Two profiles with the same outputs: ``full`` is the paper's pair of networks, ``lite`` one small
shared trunk for machines without a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from dhpe_ros.networks.fused_resnet import FusedResNet50
from dhpe_ros.networks.layers import ConvBlock, Normalisation, double
from dhpe_ros.networks.posenet import PoseNet
from dhpe_ros.networks.resnet import ResNet50
from dhpe_ros.networks.trunks import DEFAULT_TRUNK, LITE_TRUNKS
from dhpe_ros.types import CROP_SIZE, FEATURE_COUNT, JOINT_COUNT, JOINT_NAMES

_WRIST = JOINT_NAMES.index("wrist")
_BASES = JOINT_NAMES.index("index1"), JOINT_NAMES.index("little1")
_DOUBT = 2.0  # taken off a hand's logit: crops of a search look more like hands than training's do
_HAND_LOGIT = 6.0  # of an untrained head: it takes every crop for a hand


@dataclass(frozen=True)
class Evidence:
    """Outputs of the evidence networks for ``B`` crops."""

    features: Tensor  # (B, 2048), F of the paper
    joints: Tensor  # (B, 21, 2) crop coordinates, j2D of the paper
    confidences: Tensor  # (B, 21) height of each heat map's peak, 0..1
    right: Tensor  # (B,) probability that the hand, as it looks in the crop, is a right one
    mask: Tensor | None = None  # (B, M, M) probability that a cell shows the hand, without the arm
    hand: Tensor | None = None  # (B,) probability that there is a hand at all

    @property
    def score(self) -> Tensor:
        """``(B,)``: mean confidence of the joints, times the probability of a hand.

        Joints alone are detected in ears and shoulders too, with confidence.
        """
        joints = self.confidences.mean(dim=1)
        return joints if self.hand is None else joints * self.hand

    def rows(self, index: Tensor) -> Evidence:
        """Select the evidence of some of the crops, by their numbers."""
        return self._mapped(lambda part, _: part.index_select(0, index), self)

    def replaced(self, where: Tensor, other: Evidence) -> Evidence:
        """Replace this evidence by ``other``'s in the crops that ``where`` ``(B,)`` marks."""
        return self._mapped(
            lambda own, its: torch.where(where.reshape(-1, *[1] * (own.ndim - 1)), its, own), other
        )

    def _mapped(self, change: Callable[[Tensor, Tensor], Tensor], other: Evidence) -> Evidence:
        known = {name: part for name, part in vars(self).items() if part is not None}
        return replace(self, **{k: change(part, vars(other)[k]) for k, part in known.items()})


@dataclass(frozen=True)
class EvidenceMaps:
    """Raw output of the networks, which training needs."""

    features: Tensor  # (B, 2048)
    heatmaps: tuple[Tensor, ...]  # (B, 21, 32, 32) each; the last stage counts
    right_logit: Tensor  # (B,)
    mask_logits: Tensor  # (B, M, M)
    hand_logit: Tensor  # (B,)


class MaskHead(nn.Module):
    """Features ``(B, coarse, S / 2, S / 2)`` and ``(B, fine, S, S)`` to logits ``(B, S, S)``.

    Of the hand without the arm, from features that were learnt for something else.
    """

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        width = 24
        self.coarse = nn.Sequential(ConvBlock(coarse, 2 * width), ConvBlock(2 * width, width, 1))
        self.fine = ConvBlock(fine, width, 1)
        self.both = nn.Sequential(ConvBlock(width, width), nn.Conv2d(width, 1, 1))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return self.both(double(self.coarse(coarse)) + self.fine(fine))[:, 0]


class FeatureNetwork(Protocol):
    """Network that the feature term of the refinement asks."""

    def features(self, x: Tensor) -> Tensor:
        """F of pictures from ``feature_input``: ``(B, 2048)``."""


class EvidenceNetwork(nn.Module):
    """Crops ``(B, 3, 224, 224)`` in 0..1, RGB, to evidence. Subclasses bring the networks."""

    mask_head: MaskHead
    feature_size: int  # side in pixels of the feature network's input; training may halve it

    def __init__(self) -> None:
        super().__init__()
        # A right palm and a left back look alike but for their surface: it takes the joints' layout
        # and the features together to tell them apart.
        self.right_head = _scalar_head(FEATURE_COUNT + 2 * JOINT_COUNT, 128)
        self.hand_head = _scalar_head()
        last = self.hand_head[-1]
        nn.init.zeros_(last.get_parameter("weight"))
        nn.init.constant_(last.get_parameter("bias"), _HAND_LOGIT)
        self.facing_head: nn.Module | None = None  # palm or back; with the layout that is a side
        self.normalise = Normalisation()

    @property
    def scalar_heads(self) -> tuple[nn.Module | None, ...]:
        """Heads with one output per crop."""
        return self.right_head, self.hand_head, self.facing_head

    def features(self, x: Tensor) -> Tensor:
        """F of ``(B, 3, feature_size, feature_size)`` from ``feature_input``: ``(B, 2048)``.

        F(x * m) is that of the product with a mask: what it hides becomes the mean colour, zero.
        """
        raise NotImplementedError

    def feature_input(self, crops: Tensor) -> Tensor:
        """Crops of any size, brought to ``feature_size`` and normalised."""
        return self.normalise(_resized(crops, self.feature_size))

    def maps(self, crops: Tensor) -> EvidenceMaps:
        raise NotImplementedError

    def _maps(
        self, features: Tensor, heatmaps: tuple[Tensor, ...], pyramid: Sequence[Tensor]
    ) -> EvidenceMaps:
        """Add the heads' outputs; ``pyramid`` are the two inputs of the mask head."""
        right_logit = self.right_logit(features, heatmaps[-1])
        hand_logit = self.hand_head(features)[:, 0]
        return EvidenceMaps(features, heatmaps, right_logit, self.mask_head(*pyramid), hand_logit)

    def right_logit(self, features: Tensor, heatmaps: Tensor) -> Tensor:
        """``(B,)``: positive for a right hand, from F and the layout of the joints."""
        joints = read_joints(heatmaps.detach().float())[0]
        layout = joints - joints.mean(1, keepdim=True)
        layout = layout / layout.abs().amax((1, 2), keepdim=True).clamp(min=0.01)
        inputs = torch.cat((features, layout.flatten(1).to(features.dtype)), 1)
        logit = self.right_head(inputs)[:, 0]
        if self.facing_head is None:
            return logit
        return logit + turning_sense(joints).to(logit.dtype) * self.facing_head(features)[:, 0]

    def forward(self, crops: Tensor) -> Evidence:
        maps = self.maps(crops)
        joints, confidences = read_joints(maps.heatmaps[-1])
        hand = (maps.hand_logit - _DOUBT).sigmoid()
        right, mask = maps.right_logit.sigmoid(), maps.mask_logits.sigmoid()
        return Evidence(maps.features, joints, confidences, right, mask, hand)


class FullEvidence(EvidenceNetwork):
    """ResNet-50 for the features, PoseNet for the joints (docs/explanation/method.md)."""

    feature_size = CROP_SIZE

    def __init__(self) -> None:
        super().__init__()
        self.feature_network = ResNet50()
        self.joint_network = PoseNet()
        self.mask_head = MaskHead(coarse=512, fine=256)

    def features(self, x: Tensor) -> Tensor:
        return self.feature_network(x)[0]

    def maps(self, crops: Tensor) -> EvidenceMaps:
        features, *pyramid = self.feature_network(self.feature_input(crops))
        heatmaps = self.joint_network(_resized(crops, self.feature_size * 8 // 7) - 0.5)  # 256
        return self._maps(features, heatmaps, pyramid)


class LiteEvidence(EvidenceNetwork):
    """One trunk for both."""

    def __init__(self, trunk: str = DEFAULT_TRUNK, input_size: int = 0) -> None:
        """With a trunk of ``LITE_TRUNKS``, at ``input_size`` pixels; 0: the trunk's own size."""
        super().__init__()
        self.trunk_name, self.trunk = trunk, LITE_TRUNKS[trunk]()
        self.mask_head = MaskHead(self.trunk.decoded, self.trunk.widths[0])
        if self.trunk.tells_facing:
            self.facing_head = _scalar_head()
        self.set_input_size(input_size or self.trunk.input_size)

    def set_input_size(self, input_size: int) -> None:
        """Resize crops to ``input_size`` pixels a side from now on, a multiple of 32."""
        if input_size % 32:
            raise ValueError(f"the input's side must be a multiple of 32 pixels, got {input_size}")
        self.input_size = self.feature_size = input_size

    def features(self, x: Tensor) -> Tensor:
        return self.trunk.features(x)

    def maps(self, crops: Tensor) -> EvidenceMaps:
        features, heatmaps, *pyramid = self.trunk(self.feature_input(crops))
        return self._maps(features, (heatmaps,), pyramid)


def for_one_picture(evidence: FeatureNetwork | None) -> FeatureNetwork | None:
    """Fastest way to the features of one picture and their gradient on a GPU; norms are folded."""
    if not isinstance(evidence, FullEvidence):
        return evidence
    return FusedResNet50(evidence.feature_network, torch.float16)


def build_evidence(profile: str, trunk: str = "", input_size: int = 0) -> EvidenceNetwork:
    """The evidence networks of ``lite`` or ``full``; the trunk and its input are ``lite``'s."""
    return FullEvidence() if profile == "full" else LiteEvidence(trunk or DEFAULT_TRUNK, input_size)


def turning_sense(joints: Tensor) -> Tensor:
    """Turning sense from the index to the little finger, seen from the wrist: ``(B,)``, -1..1.

    ``joints`` ``(B, 21, 2)``. The mirror image has the other sign, a hand seen edge-on none: right
    hands with the palm to the camera are negative.
    """
    (x1, y1), (x2, y2) = (
        functional.normalize(joints[:, base] - joints[:, _WRIST], dim=1).unbind(1)
        for base in _BASES
    )
    return (4 * (x1 * y2 - y1 * x2)).clamp(-1, 1)


def _scalar_head(inputs: int = FEATURE_COUNT, hidden: int = 64) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, hidden), nn.ReLU(inplace=True), nn.Linear(hidden, 1))


def _resized(crops: Tensor, side: int) -> Tensor:
    """``(B, 3, S, S)`` of any size brought to ``side`` pixels."""
    if crops.shape[-2:] == (side, side):
        return crops
    smaller = side < crops.shape[-1]
    return functional.interpolate(crops, (side, side), mode="bilinear", antialias=smaller)


def read_joints(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Peaks of ``(B, 21, S, S)``: joints ``(B, 21, 2)`` in crop coordinates, heights ``(B, 21)``.

    The argmax [P], moved by less than a cell to the top of the Gaussian through its neighbours: for
    the targets' ``exp(-d^2 / sigma^2)`` that is exact.
    """
    heatmaps = heatmaps.nan_to_num(0.0)
    size = heatmaps.shape[-1]
    height, index = heatmaps.flatten(2).max(dim=2)
    row, column = index // size, index % size
    log = heatmaps.clamp(min=1e-4).log().flatten(2)
    x, y = (
        column + _peak_offset(log, index, column, size, 1),
        row + _peak_offset(log, index, row, size, size),
    )
    joints = (torch.stack((x, y), -1) + 0.5) * (2 / size) - 1
    return joints, height.clamp(0, 1)


def _peak_offset(log: Tensor, index: Tensor, place: Tensor, size: int, stride: int) -> Tensor:
    """Offset of a parabola's top through a peak and its neighbours, in cells; 0 at the border."""
    inside = (place > 0) & (place < size - 1)
    step = torch.where(inside, stride, 0)
    before, peak, after = log.gather(2, torch.stack((index - step, index, index + step), 2)).unbind(
        2
    )
    curvature = (2 * peak - before - after).clamp(min=1e-6)
    return torch.where(inside, (after - before) / (2 * curvature), 0.0).clamp(-0.5, 0.5)
