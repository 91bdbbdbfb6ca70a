"""Median times and how they are printed, for the scripts beside this one."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Iterable

Figure = tuple[str, float, str]  # key, value, unit


def median_ms(call: Callable[[], object], repeats: int = 50) -> float:
    """Median time of a call in milliseconds, after one to warm up."""
    call()
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return 1000 * statistics.median(times)


def show(figures: Iterable[Figure]) -> None:
    """A line for each figure."""
    for key, value, unit in figures:
        print(f"{key:40s} {value:10.3f} {unit}")
