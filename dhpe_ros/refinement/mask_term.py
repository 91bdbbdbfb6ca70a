"""The mesh's outline on that of the hand which the networks see: a term the paper does not have.

Its feature term asks a network whether a silhouette fits, and tells little of where it does not.
The mask head says where the hand ends; what its outline lacks to the mesh's are squares, a vertex
of the outline each, with a known curvature (docs/explanation/refinement.md). Computed on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from torch import Tensor

from dhpe_ros.config import RefinementConfig
from dhpe_ros.hand.kernels.skeleton_kernels import add_squares, read_field
from dhpe_ros.hand.projection import Projection
from dhpe_ros.hand.surface_points import SurfacePoints, surface_points_of
from dhpe_ros.rendering import outline_lengths
from dhpe_ros.types import MIDDLE_MCP, PARAMETER_COUNT

GRID = 128  # cells along a crop's side in which distances are kept
_OF_PALM = 0.05  # of the way from the wrist to the middle MCP: nearer, the arm has no outline


def signed_distances(mask: Tensor) -> Tensor:
    """``(B, M, M)`` probabilities to ``(B, 128, 128)`` float32: how far off the hand's outline is.

    In half-sides of the crop, negative within the hand; NaN where the crop shows no hand at all.
    """
    cells = mask.detach().float().cpu().numpy()
    return torch.from_numpy(np.stack([_distances(one) for one in cells]))


def _distances(mask: np.ndarray) -> np.ndarray:
    """To where the probability passes 1/2, between cells too: whole ones would jump."""
    seen = cv2.resize(mask, (GRID, GRID), interpolation=cv2.INTER_LINEAR)
    hand = seen > 0.5
    if hand.all() or not hand.any():
        return np.full((GRID, GRID), np.nan, np.float32)
    slopes = [cv2.Sobel(seen, cv2.CV_32F, *along, scale=1 / 8) for along in ((1, 0), (0, 1))]
    near = np.abs(seen - 0.5) / np.hypot(*slopes).clip(min=1e-3)
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
class Outlines:
    """What the meshes' outlines are made of, for ``B`` hands, and where the seen ones run.

    Found once, and kept while steps are taken: what they go down has no jumps then.
    """

    hands: list[_Outline]
    distances: np.ndarray  # (B, 128, 128), of ``signed_distances``
    weight: float
    reach: float  # half-sides of the crop; what is farther off is hardly pulled any more

    @staticmethod
    def of(
        parameters: Tensor,
        distances: Tensor,
        projection: Projection,
        config: RefinementConfig,
        reach: float,
    ) -> Outlines:
        """As they are at ``parameters`` ``(B, 63)``."""
        with torch.no_grad():
            hand = projection(parameters.detach())
        meshes, skeletons = (
            part.double().cpu().numpy() for part in (hand.vertices, hand.joints[..., :2])
        )
        rows = zip(meshes, skeletons, distances.numpy(), strict=True)
        model = projection.hand_model
        outlines = [_Outline.of(*row, model.triangles, surface_points_of(model)) for row in rows]
        return Outlines(outlines, distances.numpy(), config.mask_weight, reach)

    def derivatives(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Value ``(B,)``, gradient ``(B, 63)``, Gauss-Newton's curvature ``(B, 63, 63)``; float64.

        The value is the mean over an outline of its squared distance to the seen one, weighted. A
        distance ``d^2`` saturates, as ``d^2 / (1 + d^2 / reach^2)``.
        """
        rows = parameters.detach().double().cpu().numpy()
        values, downhills = np.zeros(len(rows)), np.zeros((len(rows), PARAMETER_COUNT))
        curvatures = np.zeros((len(rows), PARAMETER_COUNT, PARAMETER_COUNT))
        for k, one in enumerate(self.hands):
            away, slopes = one.read(rows[k], self.distances[k])
            saturated = 1 + (away / self.reach) ** 2
            values[k] = self.weight * (one.shares * away**2 / saturated).sum()
            weights = 2 * self.weight * one.shares / saturated**2
            squares = slopes[None], away[None], weights[None]
            add_squares(*squares, curvatures[k : k + 1], downhills[k : k + 1])
        parts = (torch.from_numpy(part) for part in (values, -downhills, curvatures))
        return tuple(part.to(parameters.device) for part in parts)


@dataclass(frozen=True)
class _Outline:
    """The vertices of one hand's outline."""

    points: tuple[np.ndarray, ...]  # as ``read_field`` wants them
    shares: np.ndarray  # (N,) of the outline's length

    @staticmethod
    def of(
        mesh: np.ndarray,
        joints: np.ndarray,
        distances: np.ndarray,
        triangles: Tensor,
        surface: SurfacePoints,
    ) -> _Outline:
        lengths = outline_lengths(mesh, triangles)
        points, wrist = mesh[:, :2], joints[0]
        palm = joints[MIDDLE_MCP] - wrist
        counts = (points - wrist) @ palm > _OF_PALM * (palm @ palm)
        counts &= (np.abs(points) < 1).all(1) & (lengths > 0)
        (vertices,) = counts.nonzero()
        if np.isnan(distances[0, 0]):
            vertices = vertices[:0]
        shares = lengths[vertices]
        return _Outline(surface.some(vertices), shares / max(shares.sum(), 1e-9))

    def read(self, row: np.ndarray, distances: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How far from the seen outline they are ``(N,)``, by the 63 numbers too ``(N, 63)``."""
        away, slopes = np.empty(len(self.shares)), np.empty((len(self.shares), PARAMETER_COUNT))
        read_field(row, self.points, distances, away, slopes)
        return away, slopes
