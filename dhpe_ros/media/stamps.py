"""Stamps of ROS messages. Read by attribute only, so nothing of ROS is imported."""

from __future__ import annotations

from typing import Any


def stamp_ns(stamp: Any) -> int | None:
    """Nanoseconds of a ``builtin_interfaces/Time``; None for zero, which nobody has set."""
    return stamp.sec * 10**9 + stamp.nanosec or None
