"""Figures, and the timing that the scripts beside this one share."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import NamedTuple

import torch

from dhpe_ros.engines.cuda_graph import captured


class Metric(NamedTuple):
    """A figure of each device; its key is the name and the device's type."""

    name: str
    unit: str
    direction: str  # "lower" or "higher" is better
    per_device: bool = True  # False: no matter of a device; its key is the name alone

    def key(self, device: str) -> str:
        """The name of the figure on a device, cpu or cuda."""
        return f"{self.name}.{device}" if self.per_device else self.name


def median_ms(call: Callable[[], object], device: str = "cpu", repeats: int = 50) -> float:
    """Median time of a call in milliseconds, after one to warm up; on a GPU until it is done."""
    call()
    wait(device)
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        wait(device)
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def wait(device: str) -> None:
    """Until everything that was asked of a GPU is done."""
    if device == "cuda":
        torch.cuda.synchronize()


def replay_ms(call: Callable[[], object], replays: int = 200) -> float:
    """Mean time in milliseconds of a call captured in a CUDA graph, replayed back to back."""
    graph, _ = captured(call)
    graph.replay()
    begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    begin.record()
    for _ in range(replays):
        graph.replay()
    end.record()
    torch.cuda.synchronize()
    return begin.elapsed_time(end) / replays


def once_ms(call: Callable[[], object], device: str, repeats: int = 50) -> float:
    """A call as it would run many times a frame: captured in a graph on a GPU, else plainly."""
    return replay_ms(call) if device == "cuda" else median_ms(call, device, repeats)
