"""The compiled hand layer as a function of torch's autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor
from torch.autograd import forward_ad

from dhpe_ros import hand_kernels
from dhpe_ros.rendering.workers import for_each

if TYPE_CHECKING:
    from dhpe_ros.hand_model import HandModel

_HANDS_PER_THREAD = 8  # fewer are done before another thread has woken up


def is_fit_for(*tensors: Tensor) -> bool:
    """Whether the kernels may compute this call: plain CPU tensors of one type, nobody tracing.

    Compilers, exporters and the transforms of ``torch.func`` need torch's own operations.
    """
    kind = tensors[0].dtype
    return (
        not torch.compiler.is_compiling()
        and not torch.jit.is_tracing()
        and not _is_transformed()
        and kind in (torch.float32, torch.float64)
        and all(type(t) is Tensor and t.dtype == kind and t.device.type == "cpu" for t in tensors)
    )


def _is_transformed() -> bool:
    return torch._C._are_functorch_transforms_active() or forward_ad._current_level >= 0


class PosedHand(torch.autograd.Function):
    """``HandModel.reference`` by the kernels; second derivatives go through ``reference``."""

    @staticmethod
    def forward(
        ctx: Any, pose: Tensor, shape: Tensor, frame: Tensor, layer: HandModel
    ) -> tuple[Tensor, Tensor]:
        batch, count = pose.shape[0], layer.template.shape[1]
        vertices, joints = pose.new_empty(batch, count, 3), pose.new_empty(batch, 21, 3)
        v_posed = pose.new_empty(batch, 3, count)
        inputs, out = _arrays(pose, shape, frame), _arrays(vertices, joints, v_posed)
        model = _model(layer)

        def work(first: int, step: int) -> None:
            hand_kernels.pose_meshes(*inputs, model, first, step, out)

        _share(batch, work)
        ctx.save_for_backward(pose, shape, frame, v_posed)
        ctx.layer = layer
        return vertices, joints

    @staticmethod
    def backward(ctx: Any, *pull: Tensor) -> tuple[Tensor | None, ...]:
        *inputs, v_posed = ctx.saved_tensors
        if torch.is_grad_enabled() or _is_transformed():  # somebody wants gradients of gradients
            return *_differentiable_gradients(ctx, inputs, pull), None
        gradients = [torch.empty(t.shape, dtype=t.dtype) for t in inputs]
        model, out = _model(ctx.layer), _arrays(*gradients)
        inputs, pull, (v_posed,) = _arrays(*inputs), _arrays(*pull), _arrays(v_posed)

        def work(first: int, step: int) -> None:
            hand_kernels.pull_back(*inputs, model, first, step, pull, v_posed, out)

        _share(len(v_posed), work)
        return *gradients, None


def _differentiable_gradients(
    ctx: Any, inputs: list[Tensor], pull: tuple[Tensor, ...]
) -> list[Tensor | None]:
    wanted = [t for t, needed in zip(inputs, ctx.needs_input_grad, strict=False) if needed]
    hand = ctx.layer.reference(*inputs)
    found = iter(torch.autograd.grad(hand, wanted, pull, create_graph=True))
    return [next(found) if needed else None for needed in ctx.needs_input_grad[:3]]


def _model(layer: HandModel) -> tuple:
    parts = (
        layer.template,
        layer.blend_shapes,
        layer.bone_weights,
        layer.joint_template,
        layer.jointdirs,
        layer.skeleton_regressor,
    )
    return tuple(part.numpy() for part in parts)


def _arrays(*tensors: Tensor) -> tuple:
    return tuple(tensor.detach().contiguous().numpy() for tensor in tensors)


def _share(batch: int, work: Callable[[int, int], None]) -> None:
    """Spread ``work(first, step)`` over threads."""
    threads = max(1, min(torch.get_num_threads(), batch // _HANDS_PER_THREAD))
    for_each(threads, lambda first: work(first, threads))
