"""A worker thread beside the executor, whose callbacks only store."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Generic, TypeVar

Item = TypeVar("Item")

_log = logging.getLogger(__name__)


class Worker(Generic[Item]):
    """A thread that handles the newest item; an item that still waits is dropped, and counted.

    ``call`` queues tasks (reset, new settings) that run before the next item; none is dropped. An
    exception of either goes to ``on_error`` and is survived. The thread is a daemon: it never keeps
    a process alive.
    """

    def __init__(
        self, name: str, handle: Callable[[Item], None], on_error: Callable[[BaseException], None]
    ) -> None:
        self._handle = handle
        self._on_error = on_error
        self._changed = threading.Condition()
        self._waiting: list[Item] = []  # one at most
        self._tasks: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._began: float | None = None
        self.dropped = 0
        self.failures = 0
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, item: Item) -> None:
        """Replace the waiting item, if any, by this one."""
        with self._changed:
            self.dropped += len(self._waiting)
            self._waiting = [item]
            self._changed.notify_all()

    def call(self, task: Callable[[], None]) -> None:
        """Run ``task`` in the worker before the next item."""
        with self._changed:
            self._tasks.append(task)
            self._changed.notify_all()

    def discard(self) -> None:
        """Remove the waiting item, without counting it as dropped."""
        with self._changed:
            self._waiting = []

    def wait_idle(self, timeout_s: float | None = None) -> bool:
        """Wait until nothing is being done or waits. False where that took too long."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not (self._began or self._tasks or self._waiting), timeout_s
            )

    def busy_s(self) -> float:
        """Seconds since the current job began; 0 without one."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    def stop(self, timeout_s: float) -> bool:
        """Let the current item finish, then end. False where it did not in time."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except BaseException as error:  # a Rust panic, as of safetensors, is no Exception
                self.failures += 1
                try:
                    self._on_error(error)
                except BaseException:
                    _log.exception("%s: %s could not be reported", type(error).__name__, error)

    def _next(self) -> Callable[[], None] | None:
        """Wait for the next job: a task, the newest item, or None to end."""
        with self._changed:
            self._began = None
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._stopping or self._tasks or self._waiting)
            if self._stopping:
                return None
            self._began = time.monotonic()
            return (
                self._tasks.popleft() if self._tasks else partial(self._handle, self._waiting.pop())
            )
