"""Validation of the networks on labelled hands, without refinement."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dhpe_lab.datasets.samples import Sample, StoredSample
from dhpe_ros.config import TrackingConfig
from dhpe_ros.geometry.crop import crop_image
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.weights import Networks
from dhpe_ros.types import Box

CROP_SCALE = TrackingConfig().crop_scale
FIGURES = ("evidence", "mesh", "side")


@torch.no_grad()
def validate(
    networks: Networks,
    projection: Projection,
    samples: Sequence[Sample | StoredSample],
    batch: int = 64,
) -> dict[str, float]:
    """``FIGURES``: mean 2D errors in percent of the longer side of the joints' box, and sides.

    Crops are about the labels. ``evidence`` is the heat maps' error, ``mesh`` that of the regressed
    mesh's joints, ``side`` the percentage of hands whose side is told wrong; left hands are
    mirrored first.
    """
    device = projection.laplacian.device
    sums = np.zeros(3)
    for start in range(0, len(samples), batch):
        some = samples[start : start + batch]
        crops, truth, length = (tensor.to(device) for tensor in crops_of(some))
        evidence = networks.evidence(crops)
        mesh = networks.mesh_estimator(evidence, projection)[-1]
        for k, found in enumerate((evidence.joints, mesh.hand.joints[..., :2])):
            error = (found - truth).norm(dim=-1).mean(1) / length
            sums[k] += float(error.sum())
        sums[2] += float((evidence.right < 0.5).sum())
    percent = 100 * sums / max(len(samples), 1)
    return dict(zip(FIGURES, percent.tolist(), strict=True))


def crops_of(
    samples: Sequence[Sample | StoredSample],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Crops ``(B, 3, 224, 224)`` about the labels, joints ``(B, 21, 2)``, sides of boxes ``(B,)``.

    Left hands are mirrored; synthetic ones stand before grey.
    """
    images, joints = [], []
    for sample in (sample.opened() for sample in samples):
        box = Box.around(sample.joints_px).squared(CROP_SCALE)
        image = np.ascontiguousarray(sample.image)
        if sample.synthetic:
            image = np.where(sample.opacity[..., None] > 127, image, 127).astype(np.uint8)
        crop = crop_image(image, box, mirrored=not sample.right)
        images.append(crop.image)
        joints.append(crop.to_crop(sample.joints_px))
    truth = torch.from_numpy(np.stack(joints)).float()
    crops = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    return crops, truth, (truth.amax(1) - truth.amin(1)).amax(1)
