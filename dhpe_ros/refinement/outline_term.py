"""Distances for the term that brings the mesh's outline onto the hand's; the paper has none.

The paper's feature term asks a network whether a silhouette fits, and says little about where it
does not. The mask head says where the hand ends. Each vertex of the mesh's outline is a residual
whose Jacobian is known (docs/explanation/refinement.md). Computed on the CPU.
"""

from __future__ import annotations

import cv2
import numpy as np
import torch
from torch import Tensor

GRID = 128  # cells along a crop's side in which distances are kept


def signed_distances(mask: Tensor) -> Tensor:
    """Distance to the hand's outline: ``(B, M, M)`` probabilities to ``(B, 128, 128)`` float32.

    In half-sides of the crop, negative within the hand; NaN where the crop shows no hand at all.
    """
    cells = mask.detach().float().cpu().numpy()
    return torch.from_numpy(np.stack([_distances(one) for one in cells]))


def _distances(mask: np.ndarray) -> np.ndarray:
    """Distance to where the probability passes 1/2, between cells too: whole ones would jump."""
    fine = cv2.resize(mask, (GRID, GRID), interpolation=cv2.INTER_LINEAR)
    hand = fine > 0.5
    if hand.all() or not hand.any():
        return np.full((GRID, GRID), np.nan, np.float32)
    slopes = [cv2.Sobel(fine, cv2.CV_32F, *along, scale=1 / 8) for along in ((1, 0), (0, 1))]
    near = np.abs(fine - 0.5) / np.hypot(*slopes).clip(min=1e-3)
    inside, outside = (_to_the_edge(part, near.clip(max=1)) for part in (hand, ~hand))
    away = np.where(near < 1, near, inside + outside)
    return np.where(hand, -away, away) * np.float32(2 / GRID)


def _to_the_edge(part: np.ndarray, near: np.ndarray) -> np.ndarray:
    """Cells from those of ``part`` to its edge, ``near`` the nearest other cell; elsewhere 0."""
    away, nearest = cv2.distanceTransformWithLabels(
        part.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_5, labelType=cv2.DIST_LABEL_PIXEL
    )
    short = np.zeros(nearest.max() + 1, np.float32)
    short[nearest[~part]] = near[~part]
    return np.where(part, away - short[nearest], 0)
