"""Processes that ``torchrun`` starts with one command, on one machine or many."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from dhpe_ros.system.errors import CommandError, one_line

_LONGEST = timedelta(days=30)  # that one process waits for the others to finish their shares
_CPU_QUOTA = Path("/sys/fs/cgroup/cpu.max")  # of a container: microseconds, and of how many

_Value = TypeVar("_Value")


class Ranks:
    """This process, ``rank`` of ``count`` by ``torchrun``; without it the only one.

    Use it in ``with``. Raises ``CommandError`` where the others cannot be reached.
    """

    def __init__(self) -> None:
        self.rank, self.count = 0, 1
        self._group: Any = None
        if os.environ.get("WORLD_SIZE", "1") == "1":
            return
        from torch import distributed

        with _reached():
            distributed.init_process_group("gloo")
            self._group = distributed.new_group(timeout=_LONGEST)
            self.rank, self.count = distributed.get_rank(), distributed.get_world_size()

    def __enter__(self) -> Ranks:
        return self

    def __exit__(self, *_: object) -> None:
        if self._group is not None:
            from torch import distributed

            distributed.destroy_process_group()

    def agree(self, make: Callable[[], _Value]) -> _Value:
        """In all processes, what ``make`` gives in the first."""
        values: list[Any] = [make() if self.rank == 0 else None]
        if self._group is not None:
            from torch import distributed

            with _reached():
                distributed.broadcast_object_list(values, group=self._group)
        return values[0]

    def gather(self, value: _Value) -> list[_Value]:
        """The values of all processes, in each of them, once the last one is there."""
        values: list[Any] = [value] * self.count
        if self._group is not None:
            from torch import distributed

            with _reached():
                distributed.all_gather_object(values, value, group=self._group)
        return values


def own_cores() -> int:
    """Number of CPU cores that this process may keep busy.

    Those of a machine, or of a container, are shared evenly between its processes of ``torchrun``.
    """
    cores = float(len(os.sched_getaffinity(0)))
    try:
        quota, period = _CPU_QUOTA.read_text().split()
        cores = cores if quota == "max" else min(cores, int(quota) / int(period))
    except (OSError, ValueError):  # no container, or one of old
        pass
    return max(1, round(cores / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


@contextmanager
def _reached() -> Iterator[None]:
    try:
        yield
    except (ValueError, RuntimeError) as error:
        raise CommandError(
            f"cannot reach the other processes ({one_line(error)}); start all of them by torchrun; "
            "for one alone unset WORLD_SIZE"
        ) from error
