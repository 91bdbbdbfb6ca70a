"""The mesh's outline on that of the hand which the networks see: a term the paper does not have.

Its feature term asks a network whether a silhouette fits, and tells little of where it does not.
The mask head says where the hand ends; what its outline lacks to the mesh's are squares, a vertex
of the outline each, with a curvature that is known (docs/refinement.md). Computed on the CPU.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import torch
from numba import njit
from torch import Tensor

from dhpe_ros.config import RefinementConfig
from dhpe_ros.hand_layer.skeleton_layer import gauss_newton
from dhpe_ros.hand_layer.surface_points import surface_points_of
from dhpe_ros.projection import Projection
from dhpe_ros.rendering import outline_lengths
from dhpe_ros.types import MIDDLE_MCP, PARAMETER_COUNT

GRID = 128  # cells along a crop's side in which distances are kept
_REACH = 0.15  # half-sides of the crop; what is farther off is hardly pulled any more
_OF_PALM = 0.05  # of the way from the wrist to the middle MCP: nearer, the arm has no outline


def signed_distances(mask: Tensor) -> Tensor:
    """``(B, M, M)`` probabilities to ``(B, 128, 128)`` float32: how far off the hand's outline is.

    In half-sides of the crop, negative within the hand; NaN where the crop shows no hand at all.
    """
    cells = mask.detach().float().cpu().numpy()
    return torch.from_numpy(np.stack([_distances(one) for one in cells]))


def _distances(mask: np.ndarray) -> np.ndarray:
    hand = cv2.resize(mask, (GRID, GRID), interpolation=cv2.INTER_LINEAR) > 0.5
    if hand.all() or not hand.any():
        return np.full((GRID, GRID), np.nan, np.float32)
    inside, outside = (
        cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
        for part in (hand, ~hand)
    )
    return np.where(hand, 0.5 - inside, outside - 0.5).astype(np.float32) * np.float32(2 / GRID)


def mask_term(
    parameters: Tensor, distances: Tensor, projection: Projection, config: RefinementConfig
) -> Tensor:
    """``(B,)`` float64: mean over the outline of its squared distance to the seen one, weighted.

    A distance ``d^2`` saturates, as ``d^2 / (1 + d^2 / 0.15^2)``. ``distances`` are those of
    ``signed_distances``, for each of ``parameters`` ``(B, 63)``.
    """
    outlines = _outlines(parameters, distances, projection)
    return _values([one.value for one in outlines], parameters, config)


def mask_derivatives(
    parameters: Tensor, distances: Tensor, projection: Projection, config: RefinementConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """``mask_term``, its gradient ``(B, 63)`` and Gauss-Newton's curvature ``(B, 63, 63)``.

    As long as the outline is made of the same vertices.
    """
    outlines = _outlines(parameters, distances, projection)
    surface = surface_points_of(projection.hand_model)
    rows = parameters.detach().double().cpu().numpy()
    gradients = np.zeros((len(rows), PARAMETER_COUNT))
    curvatures = np.zeros((len(rows), PARAMETER_COUNT, PARAMETER_COUNT))
    for row, one, gradient, curvature in zip(rows, outlines, gradients, curvatures, strict=True):
        if len(one.vertices):
            slopes = surface.slopes(row, one.vertices, one.directions)
            weights = 2 * config.mask_weight * one.shares / (1 + (one.away / _REACH) ** 2) ** 2
            parts = (torch.from_numpy(part)[None] for part in (slopes, one.away, weights))
            (curvature[:], downhill) = (part[0].numpy() for part in gauss_newton(*parts))
            gradient[:] = -downhill
    values = _values([one.value for one in outlines], parameters, config)
    derivatives = (torch.from_numpy(part).to(values.device) for part in (gradients, curvatures))
    return values, *derivatives


def _values(values: list[float], parameters: Tensor, config: RefinementConfig) -> Tensor:
    return config.mask_weight * torch.tensor(values, dtype=torch.float64, device=parameters.device)


@dataclass(frozen=True)
class _Outline:
    """The vertices that a hand's outline is made of, and where they lie to the seen one."""

    vertices: np.ndarray  # (N,)
    shares: np.ndarray  # (N,) of the outline's length
    away: np.ndarray  # (N,) half-sides of the crop, negative within the seen hand
    directions: np.ndarray  # (N, 2) in which that grows

    @property
    def value(self) -> float:
        squared = self.away**2
        return float((self.shares * squared / (1 + squared / _REACH**2)).sum())


@torch.no_grad()
def _outlines(parameters: Tensor, distances: Tensor, projection: Projection) -> list[_Outline]:
    hand = projection(parameters.detach())
    meshes, skeletons = (
        part.double().cpu().numpy() for part in (hand.vertices, hand.joints[..., :2])
    )
    triangles = projection.hand_model.triangles
    rows = zip(meshes, skeletons, distances.numpy(), strict=True)
    return [_outline(*row, triangles) for row in rows]


def _outline(
    mesh: np.ndarray, joints: np.ndarray, distances: np.ndarray, triangles: Tensor
) -> _Outline:
    lengths = outline_lengths(mesh, triangles)
    points, wrist = mesh[:, :2], joints[0]
    palm = joints[MIDDLE_MCP] - wrist
    counts = (points - wrist) @ palm > _OF_PALM * (palm @ palm)
    counts &= (np.abs(points) < 1).all(1) & (lengths > 0)
    counts[::2] = False  # half of a hand's outline says as much, in half the time
    (vertices,) = counts.nonzero()
    if not len(vertices) or np.isnan(distances[0, 0]):
        return _Outline(np.zeros(0, int), np.zeros(0), np.zeros(0), np.zeros((0, 2)))
    away, directions = np.empty(len(vertices)), np.empty((len(vertices), 2))
    _read(distances, points[vertices], away, directions)
    shares = lengths[vertices]
    return _Outline(vertices, shares / shares.sum(), away, directions)


@njit(nogil=True, cache=True)
def _read(distances, points, values, slopes):
    """Between the cells' centres linearly; flat beyond the outermost ones."""
    size = len(distances)
    for n in range(len(points)):
        column, row = (points[n] + 1) * (size / 2) - 0.5
        j, i = min(max(int(column), 0), size - 2), min(max(int(row), 0), size - 2)
        u, v = min(max(column - j, 0.0), 1.0), min(max(row - i, 0.0), 1.0)
        a, b, c, d = (
            distances[i, j],
            distances[i, j + 1],
            distances[i + 1, j],
            distances[i + 1, j + 1],
        )
        values[n] = (1 - v) * ((1 - u) * a + u * b) + v * ((1 - u) * c + u * d)
        slopes[n, 0] = ((1 - v) * (b - a) + v * (d - c)) * (size / 2)
        slopes[n, 1] = ((1 - u) * (c - a) + u * (d - b)) * (size / 2)
