"""What is wrong at the moment: said once in the log with the remedy, and kept for diagnostics."""

from __future__ import annotations

import enum
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

REPEAT_S = 10.0
ONE_MESSAGE_S = 5.0  # what is wrong with one message says little of later ones


class Level(enum.IntEnum):
    """Severity of a trouble, with the numbers of ``diagnostic_msgs/DiagnosticStatus``."""

    OK = 0
    WARN = 1  # results come, but may be worse, fewer or incomplete
    ERROR = 2  # no result can come


@dataclass
class _Trouble:
    """One kind of trouble: what was reported last, and what the log knows of it."""

    message: str = ""
    level: Level = Level.OK
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

    def report(
        self,
        key: str,
        message: str,
        level: Level = Level.WARN,
        *,
        once: bool = False,
        logged: bool = True,
        lasts_s: float = math.inf,
    ) -> None:
        """There is trouble, until it is cleared or for ``lasts_s`` seconds.

        ``once``: do not repeat the same words in the log, however long it lasts. ``logged`` is
        false where somebody else logs it.
        """
        with self._lock:
            trouble = self._troubles.setdefault(key, _Trouble())
            now = self._clock()
            trouble.message, trouble.level, trouble.active_until = message, level, now + lasts_s
            known = once and message == trouble.logged_message
            if not logged or known or now - trouble.logged_at < REPEAT_S:
                return
            trouble.logged_at, trouble.logged_message = now, message
            trouble.announced = True
        # One call for each: rclpy refuses a place in the code that changes its severity.
        if level == Level.ERROR:
            self._logger.error(message)
        else:
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
        """The messages of what is wrong now, the worst first."""
        return [trouble.message for trouble in self._active()]

    def level(self) -> Level:
        """The worst level of what is wrong now."""
        return max((trouble.level for trouble in self._active()), default=Level.OK)

    def _active(self) -> list[_Trouble]:
        with self._lock:
            now = self._clock()
            active = [t for t in self._troubles.values() if t.active_until > now]
        return sorted(active, key=lambda trouble: -trouble.level)
