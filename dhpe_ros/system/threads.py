"""Work in other threads: decoders, networks and kernels release the interpreter lock."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, TypeVar

import torch

_BEYOND = 4  # items that `ahead` and `behind` keep
_Item = TypeVar("_Item")
_END: Any = object()


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


def ahead(items: Iterable[_Item]) -> Generator[_Item, None, None]:
    """Iterate over ``items`` in another thread, a few ahead of the caller.

    Close what is returned, as a generator, where it is left before its end.
    """
    remaining = iter(items)
    thread = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        waiting = deque(thread.submit(next, remaining, _END) for _ in range(_BEYOND))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(thread.submit(next, remaining, _END))
            yield item
    finally:
        thread.shutdown(cancel_futures=True)


@contextmanager
def behind(call: Callable[..., object]) -> Iterator[Callable[..., None]]:
    """``call`` in another thread, in order, a few calls behind the caller; all are done at the end.

    What a call raises is raised by a later one, or at the end.
    """
    waiting: deque[Future] = deque()

    def later(*arguments: object) -> None:
        waiting.append(thread.submit(call, *arguments))
        if len(waiting) > _BEYOND:
            waiting.popleft().result()

    with ThreadPoolExecutor(1, thread_name_prefix="behind") as thread:
        yield later
        for future in waiting:
            future.result()
