"""What is wrong at the moment: said once in the log with the remedy, and kept for diagnostics."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

REPEAT_S = 10.0


class Troubles:
    """Troubles by key. Each is logged when it appears, then at most every ``REPEAT_S`` seconds."""

    def __init__(self, logger: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._lock = threading.Lock()
        self._active: dict[str, str] = {}
        self._logged: dict[str, tuple[float, str]] = {}  # also of those that are over

    def report(self, key: str, message: str, once: bool = False) -> None:
        """There is trouble. ``once``: do not repeat the same words, however long it lasts."""
        with self._lock:
            self._active[key] = message
            logged_at, words = self._logged.get(key, (-REPEAT_S, ""))
            if (once and words == message) or self._clock() - logged_at < REPEAT_S:
                return
            self._logged[key] = (self._clock(), message)
        self._logger.warning(message)

    def clear(self, key: str, note: str = "") -> None:
        """It is over; ``note`` goes to the log if it was there."""
        with self._lock:
            was_active = self._active.pop(key, None) is not None
        if was_active and note:
            self._logger.info(note)

    def active(self) -> list[str]:
        """The messages of what is wrong now, oldest first."""
        with self._lock:
            return list(self._active.values())
