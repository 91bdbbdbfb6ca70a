"""The objective of the fit about a hand, by its kernels."""

from dataclasses import replace

import numpy as np
import torch

from dhpe_ros.config import RefinementConfig
from dhpe_ros.refinement import fit_kernels
from dhpe_ros.refinement.gauss_newton import Fit
from dhpe_ros.refinement.terms import Observation

OUTLINE_ALONE = replace(
    RefinementConfig(), laplacian_weight=0.0, pose_weight=0.0, shape_weight=0.0,
    estimate_weight=0.0, temporal_weight=0.0,
)  # fmt: skip


def outline_of(fit, hand):
    """Shares of the vertices ``(778,)`` in the outline of ``(1, 63)``."""
    shares = np.zeros(778)
    row = hand[0].double().numpy().copy()
    fit_kernels.find_outline(row, fit.hand_model, fit.seen(0)[4], shares)
    return shares


def linearised(fit, hand, shares=None, saturation=0.0, index=0):
    """Value, gradient ``(63,)`` and curvature ``(63, 63)`` about ``(1, 63)``."""
    row = hand[0].double().numpy().copy()
    outline = fit_kernels.select(fit.hand_model[1][1], np.zeros(778) if shares is None else shares)
    tangent, gradient, curvature = np.empty(127), np.empty(63), np.empty((63, 63))
    fit_kernels.find_tangent(row, fit.hand_model, fit.weights, tangent)
    rest = saturation, tangent, fit.hand_model, fit.seen(index), fit.weights
    value = fit_kernels.linearise(row, outline, *rest, gradient, curvature)
    return value, gradient, curvature


def fit_to(projection, distances, config=OUTLINE_ALONE):
    """A fit to distances ``(1, 128, 128)`` and to no joints."""
    nothing = torch.zeros(1, 2048), torch.zeros(1, 21, 2), torch.zeros(1, 21)
    return Fit(Observation(None, *nothing, distances=distances), projection, config)
