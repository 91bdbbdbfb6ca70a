"""Eq. 13's terms that ask no image: a smooth mesh, a pose hands take, a common shape."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from dhpe_ros.config import RefinementConfig
from dhpe_ros.hand.kernels import prior_kernels
from dhpe_ros.hand.kernels.compiled_hand import is_fit_for
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.pose_prior import CM_PER_M, LIMITS_WEIGHT, PoseSpace, pose_space_of
from dhpe_ros.hand.projection import ProjectedHand, Projection
from dhpe_ros.system.threads import for_each
from dhpe_ros.types import PARAMETER_COUNT

_OF_SHAPE = slice(53 * (PARAMETER_COUNT + 1), None, PARAMETER_COUNT + 1)  # of a diagonal
_HANDS_PER_THREAD = 4  # fewer are done before another thread has woken up


def prior_terms(
    parameters: Tensor,
    projection: Projection,
    config: RefinementConfig,
    hand: ProjectedHand | None = None,
) -> Tensor:
    """Laplacian, pose space and shape, weighted and added: ``(B,)``.

    ``hand`` is ``projection(parameters)``, for those who have it.
    """
    if _is_compiled_for(parameters, projection):
        return _CompiledPriors.apply(parameters, projection, _weights(config))
    return reference(parameters, projection, config, hand)


def prior_derivatives(
    parameters: Tensor, projection: Projection, config: RefinementConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """``prior_terms``, their gradient ``(B, 63)`` and their curvature ``(B, 63, 63)``, float64.

    The curvature is what is known of it, none below zero: the shape's and ``PoseSpace.curvature``.
    """
    kind = projection.laplacian.dtype
    if not _is_compiled_for(parameters.to(kind), projection):
        return reference_derivatives(parameters.to(kind), projection, config)
    rows = parameters.detach().double().contiguous()
    values, gradients = rows.new_zeros(len(rows)), torch.zeros_like(rows)
    curvatures = rows.new_zeros(len(rows), PARAMETER_COUNT, PARAMETER_COUNT)
    out = values.numpy(), gradients.numpy(), curvatures.numpy()
    _add_priors(rows.numpy(), out, _arrays_of(projection, kind), _weights(config))
    return values, gradients, curvatures


def reference_derivatives(
    parameters: Tensor, projection: Projection, config: RefinementConfig
) -> tuple[Tensor, Tensor, Tensor]:
    """What ``prior_derivatives`` computes, in plain torch: its oracle."""
    with torch.enable_grad():
        moving = parameters.detach().requires_grad_(True)
        values = reference(moving, projection, config)
        (gradients,) = torch.autograd.grad(values.sum(), moving)
    by_shape = torch.full_like(parameters[0, 53:], config.shape_weight / 5).diag()
    curvatures = parameters.new_zeros(len(parameters), PARAMETER_COUNT, PARAMETER_COUNT)
    curvatures[:, 53:, 53:] = by_shape
    if config.pose_weight > 0:
        pose_space = pose_space_of(projection.hand_model, parameters.device)
        bent = pose_space.curvature(parameters.detach()[:, 8:53])
        curvatures[:, 8:53, 8:53] = config.pose_weight * bent
    return values.detach().double(), gradients.double(), curvatures.double()


def _is_compiled_for(parameters: Tensor, projection: Projection) -> bool:
    return parameters.device.type == "cpu" and is_fit_for(parameters, projection.laplacian)


def _weights(config: RefinementConfig) -> tuple[float, float, float]:
    return config.laplacian_weight, config.pose_weight, config.shape_weight


def reference(
    parameters: Tensor,
    projection: Projection,
    config: RefinementConfig,
    hand: ProjectedHand | None = None,
) -> Tensor:
    """What ``prior_terms`` computes, in plain torch: for GPUs and tracing, as its oracle."""
    p = HandParameters.split(parameters)
    total = parameters.new_zeros(len(parameters))
    if config.laplacian_weight > 0:
        total = total + config.laplacian_weight * projection.smoothness(
            hand or projection(parameters)
        )
    if config.pose_weight > 0:
        pose_space = pose_space_of(projection.hand_model, parameters.device)
        total = total + config.pose_weight * pose_space(p.pose)
    if config.shape_weight > 0:
        total = total + config.shape_weight * (p.shape**2).mean(1)
    return total


class _CompiledPriors(torch.autograd.Function):
    """Value and gradient in one go: who asks for the one soon asks for the other."""

    @staticmethod
    def forward(
        ctx: Any, parameters: Tensor, projection: Projection, weights: tuple[float, float, float]
    ) -> Tensor:
        rows = parameters.detach().double().contiguous()
        arrays = _arrays_of(projection, parameters.dtype)
        values, gradients = rows.new_zeros(len(rows)), torch.zeros_like(rows)
        nothing = np.zeros((0, 0, 0))  # nobody asks for the curvature
        share = max(1, min(torch.get_num_threads(), len(rows) // _HANDS_PER_THREAD))

        def work(index: int) -> None:
            part = slice(index * len(rows) // share, (index + 1) * len(rows) // share)
            own, *out = (t[part].numpy() for t in (rows, values, gradients))
            _add_priors(own, (*out, nothing), arrays, weights)

        for_each(share, work)
        ctx.save_for_backward(gradients.to(parameters.dtype))
        return values.to(parameters.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, pull: Tensor) -> tuple[Tensor | None, ...]:
        (gradients,) = ctx.saved_tensors
        return pull[:, None] * gradients, None, None


def _add_priors(
    rows: np.ndarray,
    out: tuple[np.ndarray, np.ndarray, np.ndarray],
    arrays: tuple[tuple, ...],
    weights: tuple[float, float, float],
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


@lru_cache(maxsize=8)
def _arrays_of(projection: Projection, kind: torch.dtype) -> tuple[tuple, ...]:
    """The models as ``prior_kernels`` wants them; the mesh's of type ``kind``."""
    model, space = projection.hand_model, pose_space_of(projection.hand_model, torch.device("cpu"))
    components = model.hands_components, model.hands_components.T, model.hands_mean
    mesh = (
        model.template,
        model.blend_shapes,
        model.bone_weights,
        model.joint_template,
        model.jointdirs,
        model.skeleton_regressor,
    )
    return (
        _doubles(*components),
        tuple(part.to(kind).contiguous().numpy() for part in mesh),
        _rings(projection.laplacian),
        (*_doubles(space.theta_std, space.axes, space.lower, space.upper), LIMITS_WEIGHT),
        _spheres(space),
    )


def _spheres(space: PoseSpace) -> tuple:
    pairs = space.reach.triu(1).nonzero()
    near = space.reach[pairs[:, 0], pairs[:, 1]]
    wrist, offsets, centers, near = _doubles(space.wrist, space.offsets, space.centers, near)
    return wrist, offsets, centers, space.bones.numpy(), pairs.numpy(), near, CM_PER_M**2


def _rings(laplacian: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Where the neighbours of each vertex begin, and the neighbours."""
    row, column = laplacian.nonzero().T
    kept = row != column
    starts = torch.searchsorted(row[kept].contiguous(), torch.arange(len(laplacian) + 1))
    return starts.numpy(), column[kept].contiguous().numpy()


def _doubles(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    return tuple(tensor.double().contiguous().numpy() for tensor in tensors)
