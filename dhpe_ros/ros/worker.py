"""Worker threads beside the executor, whose callbacks only store.

``LatestWorker`` is a one-slot mailbox with the thread that empties it. That thread alone uses the
tracker, so the tracker needs no lock. It leaves drawing to ``OneBehind`` and continues with the
next image. Both threads survive exceptions, and as daemons never keep a process alive.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
OnError = Callable[[BaseException], None]

_log = logging.getLogger(__name__)


class LatestWorker(Generic[Item]):
    """Passes the newest item to ``handle``; an item that still waits is dropped, and counted.

    ``call`` queues tasks (reset, new settings) that run before the next item; none is dropped. An
    exception of either goes to ``on_error``.
    """

    def __init__(self, handle: Callable[[Item], None], on_error: OnError) -> None:
        self._handle = handle
        self._on_error = on_error
        self._changed = threading.Condition()
        self._waiting: Item | None = None
        self._tasks: deque[Callable[[], None]] = deque()
        self._stopping = False
        self._began: float | None = None
        self.dropped = 0
        self.failures = 0
        self._thread = threading.Thread(target=self._run, name="hand_worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, item: Item) -> None:
        """Replace the waiting item, if any, by this one."""
        with self._changed:
            self.dropped += self._waiting is not None
            self._waiting = item
            self._changed.notify()

    def call(self, task: Callable[[], None]) -> None:
        """Run ``task`` in the worker before the next item."""
        with self._changed:
            self._tasks.append(task)
            self._changed.notify()

    def discard(self) -> None:
        """Remove the waiting item, without counting it as dropped."""
        with self._changed:
            self._waiting = None

    def busy_s(self) -> float:
        """Seconds since the current job began; 0 without one."""
        began = self._began
        return 0.0 if began is None else time.monotonic() - began

    def stop(self, timeout_s: float) -> bool:
        """Let the current item finish, then end. False where it did not in time."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            self._began = time.monotonic()
            if not _survived(job, self._on_error):
                self.failures += 1
            self._began = None

    def _next(self) -> Callable[[], None] | None:
        """Wait for the next job: a task, the newest item, or None to end."""
        with self._changed:
            while True:
                if self._stopping:
                    return None
                if self._tasks:
                    return self._tasks.popleft()
                if self._waiting is not None:
                    item, self._waiting = self._waiting, None
                    return lambda: self._handle(item)
                self._changed.wait()


class OneBehind:
    """Runs the tasks of one other thread in order, at most one ahead of it.

    An exception of a task goes to ``on_error``, in the same thread.
    """

    def __init__(self, name: str, on_error: OnError) -> None:
        self._on_error = on_error
        self._tasks: queue.Queue[Callable[[], None] | None] = queue.Queue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def begin(self, task: Callable[[], None]) -> None:
        """Wait until the previous task is done, then start this one."""
        self._tasks.join()
        self._tasks.put(task)

    def stop(self, timeout_s: float) -> bool:
        """Let the current task finish, then end. False where it did not in time."""
        self._tasks.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (task := self._tasks.get()) is not None:
            _survived(task, self._on_error)
            self._tasks.task_done()


def _survived(job: Callable[[], None], on_error: OnError) -> bool:
    """Run ``job``; True without an exception. None gets through, not even of ``on_error``."""
    try:
        job()
    except BaseException as error:  # a Rust panic, as of safetensors, is no Exception
        try:
            on_error(error)
        except BaseException:
            _log.exception("%s: %s could not be reported", type(error).__name__, error)
        return False
    return True
