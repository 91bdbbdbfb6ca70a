"""Interrupted builds: the compilers that were started end with this process."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def children_end_too() -> Iterator[None]:
    """At SIGINT or SIGTERM kill all processes below this one, and raise ``KeyboardInterrupt``.

    For the main thread. A signal that is ignored stays so.
    """

    def end(*_: object) -> None:
        for process in _below(os.getpid()):
            with suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        raise KeyboardInterrupt

    heeded = [s for s in (signal.SIGINT, signal.SIGTERM) if signal.getsignal(s) != signal.SIG_IGN]
    before = {number: signal.signal(number, end) for number in heeded}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _below(process: int) -> list[int]:
    """The children of a process and theirs, the parents before their children."""
    found = []
    for file in Path(f"/proc/{process}/task").glob("*/children"):
        with suppress(OSError):  # it ended meanwhile
            for child in map(int, file.read_text().split()):
                found += [child, *_below(child)]
    return found
