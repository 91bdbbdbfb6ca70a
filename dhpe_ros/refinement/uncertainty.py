"""Uncertainty of the joints, by the curvature of the objective about the fitted hand."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dhpe_ros.config import RefinementConfig
from dhpe_ros.hand.projection import Projection
from dhpe_ros.refinement.fit_kernels import fill_variances
from dhpe_ros.refinement.gauss_newton import Fit
from dhpe_ros.refinement.terms import Observation
from dhpe_ros.types import JOINT_COUNT, PARAMETER_COUNT

# Whatever refined the hand; the mesh Laplacian has no curvature here.
_TERMS = RefinementConfig(
    laplacian_weight=0.0, mask_weight=0.0, estimate_weight=0.0, temporal_weight=0.0
)
_RIDGE = 1e-6  # added to the curvature, which some combinations of the parameters leave at zero
# Deviations of rendered hands' joints, by the curvature's: the terms are weighted to fit well and
# are no likelihood. Fitted by dhpe_lab.evaluation.uncertainty (docs/explanation/distance.md).
CALIBRATION = 0.103


@torch.no_grad()
def joint_stds(parameters: Tensor, observation: Observation, projection: Projection) -> Tensor:
    """``(B, 21)`` on the CPU: standard deviation of each joint's place, crop coordinates.

    The covariance of the parameters ``(B, 63)`` is the inverse of the objective's Gauss-Newton
    curvature, as in any least-squares problem: the 2D joints by their confidence, pose and shape
    by their priors. z counts from the joints' mean, of which a scaled orthographic picture tells
    nothing.
    """
    if parameters.is_cuda:
        parameters, observation = parameters.cpu(), observation.on_cpu()
        projection = projection.on_cpu
    curvatures = Fit(observation, projection, _TERMS).curvature(parameters).numpy()
    slopes = projection.skeleton.derivatives(parameters)[1].numpy()  # (B, 21, 3, 63)
    slopes[:, :, 2] -= slopes[:, :, 2].mean(1, keepdims=True)
    variances = np.empty((len(slopes), 3 * JOINT_COUNT))
    for curvature, rows, filled in zip(curvatures, slopes, variances, strict=True):
        fill_variances(curvature, _RIDGE, rows.reshape(-1, PARAMETER_COUNT), filled)
    total = torch.from_numpy(variances).unflatten(1, (JOINT_COUNT, 3)).sum(2)
    return CALIBRATION * total.sqrt()
