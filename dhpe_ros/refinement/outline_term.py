"""Term that brings the mesh's outline onto the hand's in the picture; the paper does not have it.

The paper's feature term asks a network whether a silhouette fits, and says little about where it
does not. The mask head says where the hand ends. Each vertex of the mesh's outline is a residual
whose Jacobian is known (docs/explanation/refinement.md). Computed on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from dhpe_ros.hand.kernels.skeleton_kernels import add_normal_equations, read_field
from dhpe_ros.hand.linear_points import LinearPoints
from dhpe_ros.hand.projection import Projection
from dhpe_ros.refinement.terms import Linearisation, PosedHands, empty_derivatives
from dhpe_ros.rendering import outline_lengths
from dhpe_ros.types import MIDDLE_MCP, PARAMETER_COUNT

GRID = 128  # cells along a crop's side in which distances are kept
_ARM_END = 0.05  # of the way from the wrist to the middle MCP: nearer, the arm has no outline


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


@dataclass(frozen=True)
class OutlineTerm:
    """Mean squared distance of each mesh's outline to the mask's, weighted.

    A squared distance ``d^2`` saturates, as ``d^2 / (1 + d^2 / saturation^2)``. The vertices of the
    outline are found once and kept while steps are taken, so that the objective has no jumps.
    """

    outlines: list[_Outline]
    distances: np.ndarray  # (B, 128, 128), of ``signed_distances``
    weight: float
    saturation: float  # half-sides of the crop

    @staticmethod
    def of(
        parameters: Tensor,
        distances: Tensor,
        projection: Projection,
        weight: float,
        saturation: float,
    ) -> OutlineTerm:
        """Find the outlines of the hands at ``parameters`` ``(B, 63)``."""
        with torch.no_grad():
            hand = projection(parameters.detach())
        meshes, skeletons = (
            part.double().cpu().numpy() for part in (hand.vertices, hand.joints[..., :2])
        )
        rows = zip(meshes, skeletons, distances.numpy(), strict=True)
        triangles, surface = projection.hand_model.triangles, projection.surface_points
        outlines = [_Outline.of(*row, triangles, surface) for row in rows]
        return OutlineTerm(outlines, distances.numpy(), weight, saturation)

    def value(self, posed: PosedHands) -> Tensor:
        return self.linearise(posed.parameters).value

    def linearise(self, parameters: Tensor) -> Linearisation:
        rows = parameters.detach().double().numpy()
        value = torch.zeros(len(rows), dtype=torch.float64)
        gradient, curvature = empty_derivatives(len(rows))
        for k, outline in enumerate(self.outlines):
            residuals, jacobian = outline.read(rows[k], self.distances[k])
            saturated = 1 + (residuals / self.saturation) ** 2
            value[k] = self.weight * (outline.shares * residuals**2 / saturated).sum()
            weights = 2 * self.weight * outline.shares / saturated**2
            hand = slice(k, k + 1)
            add_normal_equations(
                jacobian[None], residuals[None], weights[None],
                curvature[hand].numpy(), gradient[hand].numpy(),
            )  # fmt: skip
        return Linearisation(value, gradient, curvature)


@dataclass(frozen=True)
class _Outline:
    """Vertices of one hand's outline."""

    points: tuple[np.ndarray, ...]  # arguments of ``read_field``
    shares: np.ndarray  # (N,) of the outline's length

    @staticmethod
    def of(
        mesh: np.ndarray,
        joints: np.ndarray,
        distances: np.ndarray,
        triangles: Tensor,
        surface: LinearPoints,
    ) -> _Outline:
        """Keep what lies within the crop and off the arm, and lies on the outline."""
        lengths = outline_lengths(mesh, triangles)
        points, wrist = mesh[:, :2], joints[0]
        palm = joints[MIDDLE_MCP] - wrist
        kept = (points - wrist) @ palm > _ARM_END * (palm @ palm)
        kept &= (np.abs(points) < 1).all(1) & (lengths > 0)
        (vertices,) = kept.nonzero()
        if np.isnan(distances[0, 0]):
            vertices = vertices[:0]
        shares = lengths[vertices]
        return _Outline(surface.select(vertices), shares / max(shares.sum(), 1e-9))

    def read(self, row: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Distances to the mask's outline ``(N,)`` and their Jacobian ``(N, 63)``."""
        values = np.empty(len(self.shares))
        jacobian = np.empty((len(self.shares), PARAMETER_COUNT))
        read_field(row, self.points, distances, values, jacobian)
        return values, jacobian
