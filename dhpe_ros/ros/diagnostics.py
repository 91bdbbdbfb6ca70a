"""Rates, latencies and counts of the node, as a diagnostic message."""

from __future__ import annotations

import platform
import time
from collections import Counter, deque
from collections.abc import Callable

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from std_msgs.msg import Header

from dhpe_ros.ros.troubles import Troubles

WINDOW = 200  # frames that rates and percentiles look back on
RATE_WINDOW_S = 5.0


class Statistics:
    """Counts, and the last ``WINDOW`` times of what the node does."""

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
        """One image is done: ``latency_ms`` from its stamp if any, ``processing_ms`` of our own."""
        self.counts["images processed"] += 1
        self.counts["hands published"] += hands
        self._published.append(self.clock())
        if latency_ms is not None:
            self._latencies_ms.append(latency_ms)
        self._processing_ms.append(processing_ms)

    def pictures_published(self, drawing_ms: float) -> None:
        """Mask, overlay and depth of one image are out, made beside the processing."""
        self._pictures_ms.append(drawing_ms)

    def seconds_since_image(self) -> float | None:
        return self.clock() - self._received[-1] if self._received else None

    def image_rate_hz(self) -> float:
        """Images received a second, over the last ``RATE_WINDOW_S``."""
        return self._rate(self._received)

    def result_rate_hz(self) -> float:
        """Images done a second, over the last ``RATE_WINDOW_S``."""
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

        The time since the last event counts as far as it is longer than the others.
        """
        now = self.clock()
        recent = [t for t in list(times) if t > now - RATE_WINDOW_S]
        if len(recent) < 2 or recent[-1] == recent[0]:
            return 0.0
        period_s = (recent[-1] - recent[0]) / (len(recent) - 1)
        overdue_s = max(0.0, now - recent[-1] - period_s)
        return (len(recent) - 1) / (recent[-1] - recent[0] + overdue_s)


def diagnostic_message(
    name: str, header: Header, values: dict[str, str], troubles: Troubles, idle: str
) -> DiagnosticArray:
    """One status: the troubles and the worst of their levels, else ``idle`` or the result rate.

    The hardware is the computer that the node runs on.
    """
    summary = "; ".join(troubles.active()) or idle or f"{values['result rate (Hz)']} results/s"
    status = DiagnosticStatus(
        level=bytes([troubles.level()]),
        name=f"{name}: hands",
        message=summary,
        hardware_id=platform.node(),
        values=[KeyValue(key=key, value=value) for key, value in values.items()],
    )
    return DiagnosticArray(header=header, status=[status])


def _percentiles(what: str, times_ms: deque[float]) -> dict[str, str]:
    recent = list(times_ms)
    if not recent:
        return {}
    p50, p95 = np.percentile(recent, (50, 95))
    return {f"{what} p50 (ms)": f"{p50:.1f}", f"{what} p95 (ms)": f"{p95:.1f}"}
