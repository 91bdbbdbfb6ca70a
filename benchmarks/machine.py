"""Machine of the figures, and its speed at work that is not ours."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import torch
from timing import Metric, median_ms, once_ms

METRICS = (Metric("machine.reference_work_ms", "ms", "lower"),)


def measure(device: str) -> dict[str, float]:
    """Time of a fixed piece of work: a comparison of two runs is scaled by it.

    One matrix product and one sort, the arithmetic and the branches of our own code in small.
    """
    generator = torch.Generator().manual_seed(0)
    matrix = torch.randn(384, 384, generator=generator).to(device)
    values = torch.rand(100_000, generator=generator).to(device)

    def work() -> None:
        matrix @ matrix
        values.sort()

    if device == "cuda":
        return {METRICS[0].name: once_ms(work, device)}
    numbers = values.numpy()
    return {METRICS[0].name: median_ms(lambda: (matrix @ matrix, np.sort(numbers, kind="stable")))}


def name_of(device: str) -> str:
    """The device in words; empty if there is none."""
    if device == "cuda":
        return torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    return f"{_processor()}, {torch.get_num_threads()} threads"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
