"""Independent images spread over threads: the kernels release the interpreter lock."""

from __future__ import annotations

import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache

import torch


def for_each(count: int, work: Callable[[int], None]) -> None:
    """Call `work(0) .. work(count - 1)`, on as many threads as torch may use.

    Every index must write to memory of its own; then the result does not depend on the threads.
    (Numba's own parallel loops are not used: its default thread pool aborts the process when two
    Python threads enter it at once, and OpenMP's when a data loader forks.)
    """
    threads = min(count, torch.get_num_threads())
    if threads <= 1:
        _stride(count, 0, 1, work)
        return
    shares = [_executor().submit(_stride, count, k, threads, work) for k in range(1, threads)]
    _stride(count, 0, threads, work)
    for share in shares:
        share.result()


def _stride(count: int, start: int, step: int, work: Callable[[int], None]) -> None:
    for index in range(start, count, step):
        work(index)


@cache
def _executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="rendering")


os.register_at_fork(after_in_child=_executor.cache_clear)  # threads do not survive a fork
