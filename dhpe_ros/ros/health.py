"""Health of a node: faults, rates, latencies, as log lines and as a diagnostic message."""

from __future__ import annotations

import enum
import math
import platform
import threading
import time
from collections import Counter, deque
from collections.abc import Callable
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
        self._faults: dict[str, _Fault] = {}

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
            fault = self._faults.setdefault(key, _Fault())
            now = self._clock()
            fault.message, fault.level, fault.active_until = message, level, now + lasts_s
            known = once and message == fault.logged_message
            if not logged or known or now - fault.logged_at < REPEAT_S:
                return
            fault.logged_at, fault.logged_message = now, message
            fault.announced = True
        # Two calls: rclpy refuses a line of code that changes its severity.
        if level == Level.ERROR:
            self._logger.error(message)
        else:
            self._logger.warning(message)

    def clear(self, key: str, note: str = "") -> None:
        """End a fault; ``note`` is logged if the log had announced the fault."""
        with self._lock:
            fault = self._faults.get(key)
            if fault is None or fault.active_until == -math.inf:
                return
            fault.active_until = -math.inf
            announced, fault.announced = fault.announced, False
        if announced and note:
            self._logger.info(note)

    def faults(self) -> list[str]:
        """Messages of the active faults, the most severe first."""
        return [fault.message for fault in self._active()]

    def level(self) -> Level:
        """Highest level of the active faults."""
        return max((fault.level for fault in self._active()), default=Level.OK)

    def _active(self) -> list[_Fault]:
        with self._lock:
            now = self._clock()
            active = [fault for fault in self._faults.values() if fault.active_until > now]
        return sorted(active, key=lambda fault: -fault.level)


class Statistics:
    """Counts, rates, latencies over the last ``WINDOW`` events."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.counts: Counter[str] = Counter()
        self._received: deque[float] = deque(maxlen=WINDOW)
        self._published: deque[float] = deque(maxlen=WINDOW)
        self._latencies_ms: deque[float] = deque(maxlen=WINDOW)
        self._processing_ms: deque[float] = deque(maxlen=WINDOW)
        self._pictures_ms: deque[float] = deque(maxlen=WINDOW)

    def image_received(self) -> None:
        self.counts["images received"] += 1
        self._received.append(self.clock())

    def frame_published(self, hands: int, latency_ms: float | None, processing_ms: float) -> None:
        """Count an image: ``latency_ms`` since its stamp, if it has one, and processing time."""
        self.counts["images processed"] += 1
        self.counts["hands published"] += hands
        self._published.append(self.clock())
        if latency_ms is not None:
            self._latencies_ms.append(latency_ms)
        self._processing_ms.append(processing_ms)

    def pictures_published(self, drawing_ms: float) -> None:
        """Note the drawing time of one image's mask, overlay and depth."""
        self._pictures_ms.append(drawing_ms)

    def seconds_since_image(self) -> float | None:
        return self.clock() - self._received[-1] if self._received else None

    def image_rate_hz(self) -> float:
        """Images received per second, over the last ``RATE_WINDOW_S``."""
        return self._rate(self._received)

    def result_rate_hz(self) -> float:
        """Images processed per second, over the last ``RATE_WINDOW_S``."""
        return self._rate(self._published)

    def values(self) -> dict[str, str]:
        """Names and values as diagnostics show them."""
        return {
            "image rate (Hz)": f"{self.image_rate_hz():.1f}",
            "result rate (Hz)": f"{self.result_rate_hz():.1f}",
            **_percentiles("latency from stamp", self._latencies_ms),
            **_percentiles("processing", self._processing_ms),
            **_percentiles("pictures", self._pictures_ms),
            **{name: str(count) for name, count in sorted(self.counts.items())},
        }

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
    summary = "; ".join(health.faults()) or idle or f"{values['result rate (Hz)']} results/s"
    status = DiagnosticStatus(
        level=bytes([health.level()]),
        name=f"{name}: hands",
        message=summary,
        hardware_id=platform.node(),
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    return DiagnosticArray(header=header, status=[status])


def _percentiles(name: str, times_ms: deque[float]) -> dict[str, str]:
    recent = list(times_ms)
    if not recent:
        return {}
    p50, p95 = np.percentile(recent, (50, 95))
    return {f"{name} p50 (ms)": f"{p50:.1f}", f"{name} p95 (ms)": f"{p95:.1f}"}
