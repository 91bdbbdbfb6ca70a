"""Figures and pictures of the networks on labelled hands, without refinement."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from dhpe_lab.datasets.samples import Sample, StoredSample
from dhpe_lab.rendering.raster import rasterize
from dhpe_ros.config import TrackingConfig
from dhpe_ros.geometry.crop import crop_image
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.weights import Networks
from dhpe_ros.types import BONES, Box

CROP_SCALE = TrackingConfig().crop_scale
FIGURES = ("evidence", "mesh", "side")
_TRUE, _FOUND, _MESH = (255, 255, 255), (255, 140, 0), (120, 190, 255)
_COLUMNS = 4


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


@torch.no_grad()
def picture_grid(
    networks: Networks, projection: Projection, samples: Sequence[Sample | StoredSample]
) -> np.ndarray:
    """``(H, W, 3)`` uint8 RGB: per hand, joints found (orange) and true (white), and the mesh."""
    crops, truth, _ = crops_of(samples)
    evidence = networks.evidence(crops.to(projection.laplacian.device))
    hand = networks.mesh_estimator(evidence, projection)[-1].hand
    triangles = projection.hand_model.triangles.cpu().numpy()
    tiles = []
    for crop, joints, true, vertices in zip(
        crops, evidence.joints.cpu(), truth, hand.vertices.cpu(), strict=True
    ):
        image = np.ascontiguousarray((crop.permute(1, 2, 0) * 255).byte().numpy())
        flat = image.copy()
        _draw_skeleton(flat, true, _TRUE)
        _draw_skeleton(flat, joints, _FOUND)
        tiles.append(np.concatenate((flat, _with_mesh(image, vertices.numpy(), triangles)), 1))
    blank = np.zeros_like(tiles[0])
    tiles += [blank] * (-len(tiles) % _COLUMNS)
    rows = [np.concatenate(tiles[k : k + _COLUMNS], 1) for k in range(0, len(tiles), _COLUMNS)]
    return np.concatenate(rows)


def _draw_skeleton(image: np.ndarray, joints: Tensor, color: tuple[int, int, int]) -> None:
    points = ((joints.clamp(-2, 2) + 1) * (len(image) / 2) - 0.5).round().int().tolist()
    for start, end in BONES:
        cv2.line(image, points[start], points[end], color, 1, cv2.LINE_AA)


def _with_mesh(image: np.ndarray, vertices: np.ndarray, triangles: np.ndarray) -> np.ndarray:
    """The mesh ``(778, 3)`` in crop coordinates over the picture, lit from the viewer."""
    face = rasterize(vertices[None], triangles, len(image)).face_index[0]
    a, b, c = (vertices[triangles[:, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    facing = np.abs(normal[:, 2]) / np.maximum(np.linalg.norm(normal, axis=1), 1e-12)
    shade = (0.35 + 0.65 * facing)[face][..., None] * np.array(_MESH)
    blended = (0.4 * image + 0.6 * shade).astype(np.uint8)
    return np.where((face >= 0)[..., None], blended, image)
