"""Training in several processes, started by ``torchrun``; no-ops when not distributed."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from dhpe_ros.networks.weights import Networks
from dhpe_ros.system.devices import torch_device


@contextmanager
def joined(device: str) -> Iterator[torch.device]:
    """Join the other processes, if there are any; gives the device of this one.

    ``device`` is ``cpu``, ``cuda``, or ``auto`` for a GPU where there is one. Of several processes
    on GPUs, each takes the one of its local rank. Raises ``ValueError`` if it is not there.
    """
    own = torch_device(device)
    if "RANK" not in os.environ:
        yield own
        return
    if own.type == "cuda":
        own = torch_device(f"cuda:{os.environ['LOCAL_RANK']}")
        torch.cuda.set_device(own)
    distributed.init_process_group("nccl" if own.type == "cuda" else "gloo")
    try:
        yield own
    finally:
        distributed.destroy_process_group()


def rank() -> int:
    return distributed.get_rank() if distributed.is_initialized() else 0


def count() -> int:
    return distributed.get_world_size() if distributed.is_initialized() else 1


def agree(values: Sequence[float], device: torch.device) -> list[float]:
    """The greatest of each of the values over the processes."""
    if not distributed.is_initialized():
        return list(values)
    shared = torch.tensor(values, dtype=torch.float64, device=device)
    distributed.all_reduce(shared, distributed.ReduceOp.MAX)
    return shared.tolist()


def average(value: Tensor) -> Tensor:
    """Mean over the processes, of what no gradient flows through."""
    if distributed.is_initialized():
        distributed.all_reduce(value)
        value = value / distributed.get_world_size()
    return value


@torch.no_grad()
def follow_first_statistics(networks: Networks) -> None:
    """Give all processes the first one's batch statistics, in place."""
    if distributed.is_initialized():
        for module in networks.modules():
            for buffer in module.buffers():
                distributed.broadcast(buffer, 0)


def wait() -> None:
    """Wait until all processes are here."""
    if distributed.is_initialized():
        distributed.barrier()


def share(module: nn.Module) -> nn.Module:
    """Share the first process's weights, and step by the mean of all gradients.

    Every call must use all of the parameters. Batch norms keep to the statistics of their own
    process; the first one's running ones count.
    """
    if not distributed.is_initialized():
        return module
    return DistributedDataParallel(module, forward_sync_buffers=False, gradient_as_bucket_view=True)
