"""The hand layer on CPUs: hands spread over threads, each posed by the compiled kernels."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from dhpe_ros.hand.kernels import hand_kernels
from dhpe_ros.hand.kernels.layout import HandTensors
from dhpe_ros.system.threads import for_each

_HANDS_PER_THREAD = 8  # fewer are done before another thread has woken up


def pose_hands(
    model: HandTensors, pose: Tensor, shape: Tensor, frame: Tensor
) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
    """Vertices (B, 778, 3), joints (B, 21, 3), and what the backward pass needs."""
    batch, count = pose.shape[0], model.template.shape[1]
    vertices, joints = pose.new_empty(batch, count, 3), pose.new_empty(batch, 21, 3)
    v_posed = pose.new_empty(batch, 3, count)
    inputs, out = _arrays(pose, shape, frame), _arrays(vertices, joints, v_posed)
    parts = _arrays(*model)

    def work(first: int, step: int) -> None:
        hand_kernels.pose_meshes(*inputs, parts, first, step, out)

    _share(batch, work)
    return vertices, joints, (v_posed,)


def pose_hands_backward(
    model: HandTensors, inputs: list[Tensor], kept: list[Tensor], pull: list[Tensor]
) -> tuple[Tensor, ...]:
    """Gradients of the inputs (pose, shape, frame) from those of vertices and joints."""
    gradients = tuple(torch.empty_like(t) for t in inputs)
    parts, out, (v_posed,) = _arrays(*model), _arrays(*gradients), _arrays(*kept)
    arrays, pulls = _arrays(*inputs), _arrays(*pull)

    def work(first: int, step: int) -> None:
        hand_kernels.pose_meshes_backward(*arrays, parts, first, step, pulls, v_posed, out)

    _share(len(v_posed), work)
    return gradients


def _arrays(*tensors: Tensor) -> tuple:
    return tuple(tensor.detach().numpy() for tensor in tensors)


def _share(batch: int, work: Callable[[int, int], None]) -> None:
    """Spread ``work(first, step)`` over threads."""
    threads = max(1, min(torch.get_num_threads(), batch // _HANDS_PER_THREAD))
    for_each(threads, lambda first: work(first, threads))
