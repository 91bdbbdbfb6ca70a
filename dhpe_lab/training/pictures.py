"""Pictures of the networks' predictions on held-back hands, for the train log."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor

from dhpe_lab.datasets.samples import Sample, StoredSample
from dhpe_lab.training.validation import crops_of
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.weights import Networks
from dhpe_ros.rendering import rasterize
from dhpe_ros.types import BONES

_TRUE, _FOUND, _MESH = (255, 255, 255), (255, 140, 0), (120, 190, 255)
_COLUMNS = 4


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
