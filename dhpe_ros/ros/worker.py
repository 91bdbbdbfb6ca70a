"""The threads that work while the executor's callbacks only leave things here and return.

``LatestWorker`` is a one-slot mailbox and the one thread that empties it: whatever takes long runs
there. Nobody else touches the tracker, so it needs no lock. What of an image can be late a little
it leaves to ``OneBehind``, and goes on with the next image.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as NotInTime
from typing import Generic, TypeVar

Item = TypeVar("Item")


class LatestWorker(Generic[Item]):
    """Hands the newest item to ``handle``; an item that was still waiting is dropped and counted.

    ``call`` queues small tasks (reset, new settings) that run before the next item, none dropped.
    An exception from either goes to ``on_error`` and the worker goes on.
    """

    def __init__(
        self, handle: Callable[[Item], None], on_error: Callable[[Exception], None]
    ) -> None:
        self._handle = handle
        self._on_error = on_error
        self._changed = threading.Condition()
        self._waiting: Item | None = None
        self._tasks: deque[Callable[[], None]] = deque()
        self._stopping = False
        self.dropped = 0
        self.failures = 0
        self._thread = threading.Thread(target=self._run, name="hand_worker", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def submit(self, item: Item) -> None:
        """Leave the newest item; the one still waiting, if any, is dropped."""
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
        """Forget the waiting item, without counting it as dropped."""
        with self._changed:
            self._waiting = None

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Let the item at hand finish, then end. False when it did not within the time."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (job := self._next()) is not None:
            try:
                job()
            except Exception as error:
                if self._stopping:
                    return  # publishers may be gone already: nothing worth a report
                self.failures += 1
                self._on_error(error)

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
    """Runs tasks beside the one thread that brings them, each when the one before is done."""

    def __init__(self, name: str) -> None:
        self._pool = ThreadPoolExecutor(1, thread_name_prefix=name)
        self._running: Future | None = None

    def begin(self, task: Callable[[], None]) -> None:
        """Begin ``task`` when the one before is done; then raises what that one raised."""
        before, self._running = self._running, self._pool.submit(task)
        if before is not None:
            before.result()

    def stop(self, timeout_s: float = 10.0) -> bool:
        """Let the task at hand finish. False when it did not within the time."""
        self._pool.shutdown(wait=False)
        try:
            if self._running is not None:
                self._running.exception(timeout_s)
        except NotInTime:
            return False
        return True
