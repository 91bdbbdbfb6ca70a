"""The compiled hand layer as a function of torch's autograd, and the calls that it may take."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from types import ModuleType
from typing import Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from dhpe_ros.hand.kernels import numba_hand
from dhpe_ros.hand.kernels.layout import HandTensors

_PoseHand = Callable[[Tensor, Tensor, Tensor], tuple[Tensor, Tensor]]

_HAS_TRITON = find_spec("triton") is not None


def is_fit_for(*tensors: Tensor) -> bool:
    """True where the kernels may compute with these tensors.

    They must be plain tensors of one type on one device that has kernels (a CPU; with Triton, a
    CUDA device), and nobody may be tracing: compilers, exporters and the transforms of
    ``torch.func`` need torch's own operations.
    """
    kind, device = tensors[0].dtype, tensors[0].device
    return (
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not _is_transformed()
        and kind in (torch.float32, torch.float64)
        and (device.type == "cpu" or (device.type == "cuda" and _HAS_TRITON))
        and all(type(t) is Tensor and t.dtype == kind and t.device == device for t in tensors)
    )


def _is_transformed() -> bool:
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


def kernels_for(device: torch.device) -> ModuleType:
    """``numba_hand`` or ``triton_hand``: modules with the same two functions."""
    if device.type == "cpu":
        return numba_hand
    from dhpe_ros.hand.kernels import triton_hand  # imported only where needed: it may be missing

    return triton_hand


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
    hand = ctx.plain(*inputs)
    found = iter(torch.autograd.grad(hand, wanted, pull, create_graph=True))
    return [next(found) if needed else None for needed in ctx.needs_input_grad[:3]]
