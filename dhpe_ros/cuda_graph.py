"""Many small kernels as one launch."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import torch

_WARM_UP_CALLS = 3
Result = TypeVar("Result")


def captured(call: Callable[[], Result]) -> tuple[torch.cuda.CUDAGraph, Result]:
    """What ``call`` does on the current CUDA device, to ``replay``, and what it returned.

    A replay reads what lies in the same tensors by then, and writes into those returned. ``call``
    runs a few times before, so that kernels are compiled and algorithms chosen.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(_WARM_UP_CALLS):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()
    return graph, result
