"""What the library tells by Python's logging, in the log of ROS."""

from __future__ import annotations

import logging
from typing import Any


class _Forwarder(logging.Handler):
    def __init__(self, logger: Any) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        # One call for each: rclpy refuses a place in the code that changes its severity.
        if record.levelno >= logging.ERROR:
            self._logger.error(record.getMessage())
        elif record.levelno >= logging.WARNING:
            self._logger.warning(record.getMessage())
        else:
            self._logger.info(record.getMessage())


def forward_logs(logger: Any) -> None:
    """Send warnings and errors of ``dhpe_ros`` to ``logger``, of rclpy, and to none before it."""
    library = logging.getLogger("dhpe_ros")
    others = [handler for handler in library.handlers if not isinstance(handler, _Forwarder)]
    library.handlers = [*others, _Forwarder(logger)]
