"""All losses of Eqs. 2-12 on one batch, weighted."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn import functional

from dhpe_lab.training import distributed, losses
from dhpe_lab.training.batches import Batch
from dhpe_lab.training.config import LossConfig
from dhpe_ros.hand.projection import ProjectedHand, Projection
from dhpe_ros.networks.evidence import Evidence, EvidenceMaps, EvidenceNetwork, read_joints
from dhpe_ros.networks.mesh_estimator import MeshEstimate
from dhpe_ros.networks.weights import Networks

SILHOUETTE_SIZE = 56
SOME = 6  # hands of a batch for the two terms that cost most: masked features and silhouettes


def total_loss(
    networks: Networks,
    projection: Projection,
    batch: Batch,
    *,
    evidence_only: bool = False,
    config: LossConfig | None = None,
    precision: torch.dtype = torch.bfloat16,
) -> dict[str, Tensor]:
    """Each term's mean over the instances it concerns, weighted; their sum is the loss.

    The mesh terms are for hands that look like right hands: left ones are mirrored before the
    mesh networks ever see them. ``evidence_only`` is the first stage, without the mesh terms.
    Of ``config`` the gate of Eq. 12 and the targets of Eq. 3 are taken; its factors are not.
    ``precision`` is that of the evidence networks. Of several processes, each has its part of the
    sum over the instances of all, so that the mean of their gradients is that of one large batch.
    """
    config = config or LossConfig()
    masked, near = (batch.mask_known & batch.near).float(), batch.near.float()
    some, shown = _some_with_masks(batch), _some_to_render(batch)
    counts = _instances(masked, near, torch.ones_like(some), torch.ones_like(shown))
    masked_count, near_count, some_count, shown_count = counts
    maps = _maps(networks.evidence, batch, precision)
    heatmaps = losses.joint_heatmaps(maps, batch, config.heatmap_sigma, config.left_hands)
    terms = {
        "heatmaps": heatmaps.mean(),
        "side": 2 * losses.side(maps, batch).mean(),
        "hand": losses.hand(maps, batch).mean(),
        "masks": (losses.masks(maps, batch) * masked).sum() / masked_count,
    }
    if evidence_only:
        return terms
    with torch.no_grad():
        joints, confidences = read_joints(maps.heatmaps[-1])
    evidence = Evidence(maps.features, joints, confidences, maps.right_logit.sigmoid())
    estimates = networks.mesh_estimator(evidence, projection)
    for estimate in estimates:
        per_hand = mesh_terms(estimate, batch, projection)
        per_hand["laplacian"] = projection.smoothness(estimate.hand)
        if networks.mesh_estimator.refiner is not None:
            per_hand["refined"] = 5 * losses.refined_joints(estimate, batch)
        for name, value in per_hand.items():
            mean = (value * near).sum() / near_count / len(estimates)
            terms[name] = terms.get(name, 0.0) + mean
    changed = _masked_features(networks.evidence, maps, batch, some, precision)
    terms["features"] = changed.sum() / some_count
    apart = _silhouettes(projection, estimates[-1].hand, batch, shown, config.gate)
    terms["silhouette"] = apart.sum() / shown_count
    return terms


def mesh_terms(estimate: MeshEstimate, batch: Batch, projection: Projection) -> dict[str, Tensor]:
    """Terms of one estimate that its joints and parameters give, weighted: ``(B,)`` each."""
    return {
        "skeleton": 5 * losses.skeleton(estimate.hand, batch),
        "parameters": losses.model_parameters(estimate, batch, projection.hand_model),
        "prior": 0.01 * losses.plausibility(estimate, projection.pose_space),
    }


def _instances(*marked: Tensor) -> tuple[Tensor, ...]:
    """Number of instances that each marks, on average over the processes; at least one.

    Asked for all at once: processes wait for each other.
    """
    counts = torch.stack([flags.sum(dtype=torch.float32) for flags in marked])
    return distributed.average(counts).clamp(min=1 / distributed.count()).unbind()


def _some_with_masks(batch: Batch) -> Tensor:
    """``(N,)`` rows for L_Feat; none where there is but one: batch statistics need two."""
    rows = batch.mask_known.nonzero()[:SOME, 0]
    return rows if len(rows) > 1 else rows[:0]


def _some_to_render(batch: Batch) -> Tensor:
    """``(N,)`` rows for L_Sh, half of them with masks that end where the mesh does."""
    known = batch.mask_known & batch.near
    exact, cut = (rows.nonzero()[:, 0] for rows in (batch.mask_exact, known & ~batch.mask_exact))
    exact = exact[: max(SOME // 2, SOME - len(cut))]
    return torch.cat((exact, cut[: SOME - len(exact)]))


def _maps(network: EvidenceNetwork, batch: Batch, precision: torch.dtype) -> EvidenceMaps:
    with _autocast(batch, precision):
        maps = network.maps(batch.images)
    heatmaps = tuple(stage.float() for stage in maps.heatmaps)
    rest = (maps.right_logit, maps.mask_logits, maps.hand_logit)
    return EvidenceMaps(maps.features.float(), heatmaps, *(part.float() for part in rest))


def _autocast(batch: Batch, precision: torch.dtype) -> torch.autocast:
    device = batch.images.device.type
    return torch.autocast(device, precision, enabled=precision != torch.float32)


def _masked_features(
    network: EvidenceNetwork,
    maps: EvidenceMaps,
    batch: Batch,
    rows: Tensor,
    precision: torch.dtype,
) -> Tensor:
    """Eq. 2 of the ``rows`` ``(N,)``."""
    if len(rows) == 0:
        return maps.features.new_zeros(0)
    with _autocast(batch, precision), frozen_statistics(network):
        image = network.feature_input(batch.images[rows])
        mask = functional.interpolate(batch.mask[rows, None], network.feature_size, mode="area")
        masked = network.features(image * mask)
    return losses.masked_features(maps.features[rows], masked.float())


@contextmanager
def frozen_statistics(network: nn.Module) -> Iterator[None]:
    """Leave the batch norms' running statistics alone: masked crops are not what they are of."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, momentum in zip(norms, momenta, strict=True):
            norm.momentum = momentum


def _silhouettes(
    projection: Projection, hand: ProjectedHand, batch: Batch, rows: Tensor, gated: bool
) -> Tensor:
    """Eqs. 9 and 12 of the ``rows`` ``(N,)``.

    A photograph's mask goes on over the forearm, where the mesh ends: what lies beyond the wrist
    does not count there.
    """
    if len(rows) == 0:
        return batch.mask.new_zeros(0)
    some, joints = ProjectedHand(hand.vertices[rows], hand.joints[rows]), batch.joints[rows]
    gate = losses.shape_gate(some, joints) if gated else 1.0
    rendered = projection.silhouette(some, SILHOUETTE_SIZE)
    truth = functional.interpolate(batch.mask[rows, None], SILHOUETTE_SIZE, mode="area")[:, 0]
    counted = (
        losses.hand_side_of_wrist(joints, SILHOUETTE_SIZE) | batch.mask_exact[rows, None, None]
    )
    return gate * losses.silhouettes(rendered, truth, counted)
