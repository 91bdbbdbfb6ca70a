"""The compiled hand layer as a function of torch's autograd, and its kernels on a CPU."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from dhpe_ros.hand.kernels import hand_kernels
from dhpe_ros.hand.kernels.layout import HandTensors
from dhpe_ros.system.threads import for_each

_PoseHand = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

_HAS_TRITON = find_spec("triton") is not None
_HANDS_PER_THREAD = 8  # fewer are done before another thread has woken up


def is_fit_for(*tensors: Tensor) -> bool:
    """True where the kernels may compute with these tensors.

    They must be plain tensors of one type on one device that has kernels (a CPU; with Triton, a
    CUDA device). Nobody may be tracing: compilers, exporters and the transforms of ``torch.func``
    need torch's own operations.
    """
    dtype, device = tensors[0].dtype, tensors[0].device
    return (
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not _is_transformed()
        and dtype in (torch.float32, torch.float64)
        and (device.type == "cpu" or (device.type == "cuda" and _HAS_TRITON))
        and all(type(t) is Tensor and t.dtype == dtype and t.device == device for t in tensors)
    )


def _is_transformed() -> bool:
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def kernels_for(device: torch.device) -> ModuleType:
    """This module or ``triton_hand``, which have the same ``pose_hands``, forward and backward."""
    if device.type == "cpu":
        return sys.modules[__name__]
    from dhpe_ros.hand.kernels import triton_hand  # imported only where needed: it may be missing

    return triton_hand


def pose_hands(
    model: HandTensors, pose: Tensor, shape: Tensor, frame: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Vertices (B, 778, 3), joints (B, 21, 3), and what the backward pass needs."""
    batch, count = pose.shape[0], model.template.shape[1]
    vertices, joints = pose.new_empty(batch, count, 3), pose.new_empty(batch, 21, 3)
    v_posed = pose.new_empty(batch, 3, count)
    arrays = _arrays(pose, shape, frame), _arrays(*model), _arrays(vertices, joints, v_posed)
    _spread(hand_kernels.pose_meshes, batch, *arrays)
    return vertices, joints, (v_posed,)


def pose_hands_backward(
    model: HandTensors, inputs: list[Tensor], kept: list[Tensor], pull: list[Tensor]
) -> tuple[Tensor, ...]:
    """Gradients of the inputs (pose, shape, frame) from those of vertices and joints."""
    gradients = tuple(torch.empty_like(t) for t in inputs)
    (v_posed,) = _arrays(*kept)
    arrays = _arrays(*inputs), _arrays(*model), _arrays(*pull), v_posed, _arrays(*gradients)
    _spread(hand_kernels.pose_meshes_backward, len(v_posed), *arrays)
    return gradients


def _arrays(*tensors: Tensor) -> tuple:
    return tuple(tensor.detach().numpy() for tensor in tensors)


def _spread(kernel: Callable[..., None], batch: int, *arrays: Any) -> None:
    """Spread the hands over threads."""
    threads = max(1, min(torch.get_num_threads(), batch // _HANDS_PER_THREAD))
    for_each(threads, lambda first: kernel(*arrays, first, threads))


class PosedHand(torch.autograd.Function):
    """``HandModel.pose_hand`` by the kernels; second derivatives go through plain torch."""

    @staticmethod
    def forward(
        ctx: Any, pose: Tensor, shape: Tensor, frame: Tensor, model: HandTensors, plain: _PoseHand
    ) -> tuple[Tensor, Tensor]:
        inputs = pose.contiguous(), shape.contiguous(), frame.contiguous()
        vertices, joints, kept = kernels_for(pose.device).pose_hands(model, *inputs)
        ctx.save_for_backward(pose, shape, frame, *kept)
        ctx.model, ctx.plain = model, plain
        return vertices, joints

    @staticmethod
    def backward(ctx: Any, *pull: Tensor) -> tuple[Tensor | None, ...]:
        saved = ctx.saved_tensors
        inputs, kept = saved[:3], saved[3:]
        if torch.is_grad_enabled() or _is_transformed():  # second derivatives
            return *_differentiable_gradients(ctx, inputs, pull), None, None
        contiguous = [[t.contiguous() for t in tensors] for tensors in (inputs, pull)]
        kernels = kernels_for(inputs[0].device)
        pulled = kernels.pose_hands_backward(ctx.model, contiguous[0], kept, contiguous[1])
        return *pulled, None, None


def _differentiable_gradients(
    ctx: Any, inputs: tuple[Tensor, ...], pull: tuple[Tensor, ...]
) -> list[Tensor | None]:
    wanted = [t for t, needed in zip(inputs, ctx.needs_input_grad, strict=False) if needed]
    found = iter(torch.autograd.grad(ctx.plain(*inputs), wanted, pull, create_graph=True))
    return [next(found) if needed else None for needed in ctx.needs_input_grad[:3]]
