"""What is wrong at the moment: said once in the log with the remedy, and kept for diagnostics."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

REPEAT_S = 10.0
ONE_MESSAGE_S = 5.0  # what is wrong with one message says little of later ones


@dataclass
class _Trouble:
    """One kind of trouble: what was reported last, and what the log knows of it."""

    message: str = ""
    active_until: float = -math.inf
    logged_at: float = -math.inf
    logged_message: str = ""
    announced: bool = False  # the log says that it is there, and not yet that it is over


class Troubles:
    """Troubles by key. Each is logged when it appears, then at most every ``REPEAT_S`` seconds."""

    def __init__(self, logger: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._lock = threading.Lock()
        self._troubles: dict[str, _Trouble] = {}

    def report(self, key: str, message: str, once: bool = False, lasts_s: float = math.inf) -> None:
        """There is trouble, until it is cleared or for ``lasts_s`` seconds.

        ``once``: do not repeat the same words in the log, however long it lasts.
        """
        with self._lock:
            trouble = self._troubles.setdefault(key, _Trouble())
            now = self._clock()
            trouble.message, trouble.active_until = message, now + lasts_s
            known = once and message == trouble.logged_message
            if known or now - trouble.logged_at < REPEAT_S:
                return
            trouble.logged_at, trouble.logged_message = now, message
            trouble.announced = True
        self._logger.warning(message)

    def clear(self, key: str, note: str = "") -> None:
        """It is over; ``note`` goes to the log if the log had said that it was there."""
        with self._lock:
            trouble = self._troubles.get(key)
            if trouble is None or trouble.active_until == -math.inf:
                return
            trouble.active_until = -math.inf
            announced, trouble.announced = trouble.announced, False
        if announced and note:
            self._logger.info(note)

    def active(self) -> list[str]:
        """The messages of what is wrong now."""
        with self._lock:
            now = self._clock()
            return [t.message for t in self._troubles.values() if t.active_until > now]
