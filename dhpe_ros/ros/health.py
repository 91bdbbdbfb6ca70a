"""Health of a node: faults, rates, latencies, as log lines and as a diagnostic message."""

from __future__ import annotations

import enum
import math
import platform
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

REPEAT_S = 10.0
ONE_MESSAGE_S = 5.0  # a fault of one message says little about later ones
WINDOW = 200  # latest events that rates and percentiles are computed from
RATE_WINDOW_S = 5.0


class Level(enum.IntEnum):
    """Severity of a fault, with the numbers of ``diagnostic_msgs/DiagnosticStatus``."""

    OK = 0
    WARN = 1  # results come, but may be worse, fewer or incomplete
    ERROR = 2  # no result can come


@dataclass
class _Fault:
    """One kind of fault: its last report, and what the log has said about it."""

    message: str = ""
    level: Level = Level.OK
    active_until: float = -math.inf
    logged_at: float = -math.inf
    logged_message: str = ""
    announced: bool = False  # the log has said that it began, and not yet that it ended


class HealthMonitor:
    """Active faults by key. Each is logged when it begins, then at most every ``REPEAT_S`` s."""

    def __init__(self, logger: Any, clock: Callable[[], float] = time.monotonic) -> None:
        self._logger = logger
        self._clock = clock
        self._lock = threading.Lock()
        self._faults: defaultdict[str, _Fault] = defaultdict(_Fault)

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
        """Make a fault active until it is cleared, or for ``lasts_s`` seconds.

        With ``once`` the log never repeats the same message. ``logged`` is false where another
        part of the program logs it.
        """
        with self._lock:
            fault, now = self._faults[key], self._clock()
            fault.message, fault.level, fault.active_until = message, level, now + lasts_s
            known = once and message == fault.logged_message
            if not logged or known or now - fault.logged_at < REPEAT_S:
                return
            fault.logged_at, fault.logged_message, fault.announced = now, message, True
        # Two calls: rclpy refuses a line of code that changes its severity.
        if level == Level.ERROR:
            self._logger.error(message)
        else:
            self._logger.warning(message)

    def clear(self, key: str, note: str = "") -> None:
        """End a fault; ``note`` is logged if the log had announced the fault."""
        with self._lock:
            if key not in self._faults or self._faults[key].active_until == -math.inf:
                return
            fault = self._faults[key]
            announced, fault.announced, fault.active_until = fault.announced, False, -math.inf
        if announced and note:
            self._logger.info(note)

    def forget(self, keys: Iterable[str]) -> None:
        """End faults of which nothing is known any more, without a word in the log."""
        for key in keys:
            self.clear(key)

    def update(
        self, key: str, fault: str, note: str = "", level: Level = Level.WARN, *, once: bool = False
    ) -> None:
        """Report a fault, or clear it where ``fault`` is empty, with ``note`` for the log."""
        if fault:
            self.report(key, fault, level, once=once)
        else:
            self.clear(key, note)

    def faults(self) -> list[str]:
        """Messages of the active faults, the most severe first."""
        return [fault.message for fault in self._active()]

    def level(self) -> Level:
        """Highest level of the active faults."""
        return next((fault.level for fault in self._active()), Level.OK)

    def _active(self) -> list[_Fault]:
        with self._lock:
            active = [f for f in self._faults.values() if f.active_until > self._clock()]
        return sorted(active, key=lambda fault: -fault.level)


class Statistics:
    """Counts, rates and durations over the last ``WINDOW`` events."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self._began = clock()
        self.counts: Counter[str] = Counter()
        self._received: deque[float] = deque(maxlen=WINDOW)
        self._published: deque[float] = deque(maxlen=WINDOW)
        self._durations_ms: dict[str, deque[float]] = {}

    def image_received(self) -> None:
        self.counts["images received"] += 1
        self._received.append(self.clock())

    def frame_published(self, hands: int, latency_ms: float | None, processing_ms: float) -> None:
        """Count an image: ``latency_ms`` since its stamp, if it has one, and processing time."""
        self.counts["images processed"] += 1
        self.counts["hands published"] += hands
        self._published.append(self.clock())
        if latency_ms is not None:
            self.took("latency from stamp", latency_ms)
        self.took("processing", processing_ms)

    def took(self, name: str, duration_ms: float) -> None:
        """Note a duration, for its percentiles."""
        self._durations_ms.setdefault(name, deque(maxlen=WINDOW)).append(duration_ms)

    def seconds_since_image(self) -> float:
        """Seconds since the last image, or since the beginning."""
        return self.clock() - (self._received[-1] if self._received else self._began)

    def image_rate_hz(self) -> float:
        """Images received per second, over the last ``RATE_WINDOW_S``."""
        return self._rate(self._received)

    def result_rate_hz(self) -> float:
        """Images processed per second, over the last ``RATE_WINDOW_S``."""
        return self._rate(self._published)

    def values(self) -> dict[str, str]:
        """Names and values as diagnostics show them."""
        values = {
            "image rate (Hz)": f"{self.image_rate_hz():.1f}",
            "result rate (Hz)": f"{self.result_rate_hz():.1f}",
        }
        for name, durations_ms in list(self._durations_ms.items()):
            for percent in (50, 95):
                percentile = np.percentile(list(durations_ms), percent)
                values[f"{name} p{percent} (ms)"] = f"{percentile:.1f}"
        return values | {name: str(count) for name, count in sorted(self.counts.items())}

    def _rate(self, times: deque[float]) -> float:
        """Events per second over the last ``RATE_WINDOW_S`` seconds.

        The time since the last event counts where it exceeds the mean period.
        """
        now = self.clock()
        recent = [t for t in list(times) if t > now - RATE_WINDOW_S]
        if len(recent) < 2 or recent[-1] == recent[0]:
            return 0.0
        period_s = (recent[-1] - recent[0]) / (len(recent) - 1)
        overdue_s = max(0.0, now - recent[-1] - period_s)
        return (len(recent) - 1) / (recent[-1] - recent[0] + overdue_s)


def diagnostic_message(
    name: str, header: Header, values: dict[str, str], health: HealthMonitor, idle: str
) -> DiagnosticArray:
    """One status: the active faults and their highest level, else ``idle`` or the result rate.

    The hardware id is the computer that the node runs on.
    """
    status = DiagnosticStatus(
        level=bytes([health.level()]),
        name=f"{name}: hands",
        message="; ".join(health.faults()) or idle or f"{values['result rate (Hz)']} results/s",
        hardware_id=platform.node(),
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    return DiagnosticArray(header=header, status=[status])
