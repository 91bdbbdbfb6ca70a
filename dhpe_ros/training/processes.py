"""Training in several processes, started by ``torchrun``; with one it is all nothing."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import distributed, nn


def join() -> tuple[int, int]:
    """Join the others, if there are any: our rank and how many we are."""
    if "RANK" not in os.environ:
        return 0, 1
    distributed.init_process_group("gloo")  # training runs on CPUs so far
    return distributed.get_rank(), distributed.get_world_size()


def agree(value: float) -> float:
    """The value of the first process, for all."""
    if not distributed.is_initialized():
        return value
    shared = torch.tensor([value], dtype=torch.float64)
    distributed.broadcast(shared, 0)
    return float(shared)


def start_equal(modules: Sequence[nn.Module]) -> None:
    """Give every process the first one's parameters and buffers."""
    if distributed.is_initialized():
        for module in modules:
            for tensor in module.state_dict().values():
                distributed.broadcast(tensor, 0)


def average_gradients(parameters: Sequence[nn.Parameter]) -> None:
    """Mean of every gradient over the processes, in one exchange."""
    if not distributed.is_initialized():
        return
    gradients = [p.grad for p in parameters if p.grad is not None]
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    distributed.all_reduce(flat)
    flat /= distributed.get_world_size()
    parts = flat.split([gradient.numel() for gradient in gradients])
    for gradient, part in zip(gradients, parts, strict=True):
        gradient.copy_(part.view_as(gradient))


def leave() -> None:
    """Say goodbye."""
    if distributed.is_initialized():
        distributed.destroy_process_group()
