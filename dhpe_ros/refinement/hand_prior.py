"""Prior on the hand itself: a smooth mesh, a pose that hands take, a common shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dhpe_ros.config import RefinementConfig
from dhpe_ros.hand.kernels import prior_kernels
from dhpe_ros.hand.kernels.compiled_hand import is_fit_for
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.refinement.terms import Linearisation, PosedHands, empty_derivatives
from dhpe_ros.system.threads import for_each
from dhpe_ros.types import PARAMETER_COUNT

_OF_SHAPE = slice(53 * (PARAMETER_COUNT + 1), None, PARAMETER_COUNT + 1)  # of a diagonal
_HANDS_PER_THREAD = 4  # fewer are done before another thread has woken up
_Weights = tuple[float, float, float]


@dataclass(frozen=True)
class HandPrior:
    """Mesh Laplacian (Eqs. 10-11), ``PoseSpace`` and mean squared shape, weighted and added."""

    projection: Projection
    weights: _Weights  # of the three, in this order; one without weight is not computed

    @staticmethod
    def of(projection: Projection, config: RefinementConfig) -> HandPrior:
        weights = config.laplacian_weight, config.pose_weight, config.shape_weight
        return HandPrior(projection, weights)

    def value(self, posed: PosedHands) -> Tensor:
        """Compiled on a CPU; plain torch on GPUs and where a compiler traces."""
        parameters = posed.parameters
        if parameters.device.type == "cpu" and is_fit_for(parameters, self.projection.laplacian):
            return _CompiledPrior.apply(parameters, self.projection, self.weights)
        smooth, pose, shape = self.weights
        p = HandParameters.split(parameters)
        total = parameters.new_zeros(len(parameters))
        if smooth > 0:
            hand = posed.hand or self.projection(parameters)
            total = total + smooth * self.projection.smoothness(hand)
        if pose > 0:
            total = total + pose * self.projection.pose_space(p.pose)
        if shape > 0:
            total = total + shape * (p.shape**2).mean(1)
        return total

    def linearise(self, parameters: Tensor) -> Linearisation:
        """The curvature is that of the shape and ``PoseSpace.curvature``; the mesh has none."""
        rows = parameters.detach().double().contiguous()
        value = rows.new_zeros(len(rows))
        gradient, curvature = empty_derivatives(len(rows))
        out = value.numpy(), gradient.numpy(), curvature.numpy()
        _add_prior(rows.numpy(), out, self.projection.prior_arrays, self.weights)
        return Linearisation(value, gradient, curvature)


class _CompiledPrior(torch.autograd.Function):
    """Value and gradient, computed together: callers of one soon need the other."""

    @staticmethod
    def forward(ctx: Any, parameters: Tensor, projection: Projection, weights: _Weights) -> Tensor:
        rows = parameters.detach().double().contiguous()
        arrays = projection.prior_arrays
        values, gradients = rows.new_zeros(len(rows)), torch.zeros_like(rows)
        no_curvature = np.zeros((0, 0, 0))
        share = max(1, min(torch.get_num_threads(), len(rows) // _HANDS_PER_THREAD))

        def work(index: int) -> None:
            part = slice(index * len(rows) // share, (index + 1) * len(rows) // share)
            own, value, gradient = (t[part].numpy() for t in (rows, values, gradients))
            _add_prior(own, (value, gradient, no_curvature), arrays, weights)

        for_each(share, work)
        ctx.save_for_backward(gradients.to(parameters.dtype))
        return values.to(parameters.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pull: Tensor) -> tuple[Tensor | None, ...]:
        (gradients,) = ctx.saved_tensors
        return pull[:, None] * gradients, None, None


def _add_prior(
    rows: np.ndarray,
    out: tuple[np.ndarray, np.ndarray, np.ndarray],
    arrays: tuple[tuple, ...],
    weights: _Weights,
) -> None:
    """Add to values, gradients and, unless they are empty, curvatures."""
    components, hand_model, rings, limits, spheres = arrays
    values, gradients, curvatures = out
    smooth, pose, shape = weights
    if smooth > 0:
        mesh = components, hand_model, rings
        prior_kernels.add_smoothness(rows, smooth, *mesh, values, gradients)
    if pose > 0:
        prior_kernels.add_pose_space(rows, pose, components, limits, spheres, *out)
    if shape > 0:
        values += shape * (rows[:, 53:] ** 2).mean(1)
        gradients[:, 53:] += shape / 5 * rows[:, 53:]
        curvatures.reshape(-1, PARAMETER_COUNT**2)[:, _OF_SHAPE] += shape / 5
