"""Running a node: until a signal ends it, or with one log line where it cannot start."""

from __future__ import annotations

import gc
import logging
import signal
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from dhpe_ros.ros.environment import use_shipped_dds_profile

AnyNode = TypeVar("AnyNode", bound=Node)
_SIGNAL_THREAD_S = 1.0  # it needs as long on a busy machine
_UNUSABLE = (ValueError, OSError, ParameterException)  # their texts name the remedy


def run(
    name: str,
    make_node: Callable[[], AnyNode],
    args: Sequence[str] | None = None,
    *,
    stop: Callable[[AnyNode], None] = lambda node: None,
    signals: SignalHandlerOptions = SignalHandlerOptions.ALL,
) -> int:
    """Run the node until SIGINT or SIGTERM, then ``stop`` it. Returns 0, or 1 if it cannot start.

    ``name`` is the logger of the fatal line. ``make_node`` is called with ROS initialised.
    """
    use_shipped_dds_profile()
    words = sys.argv[1:] if args is None else list(args)
    try:
        for word in remove_ros_args(words):  # ROS would ignore it
            raise ValueError(
                f"unknown argument {word!r}: parameters and remappings are given as in "
                "--ros-args -p NAME:=VALUE -r FROM:=TO"
            )
        rclpy.init(args=words, signal_handler_options=signals)
    except (ValueError, RuntimeError) as error:  # RuntimeError: rclpy's, of wrong arguments
        return _cannot_start(name, error)
    node, interrupted, code = None, False, 0
    try:
        node = make_node()
        rclpy.spin(node)
    except KeyboardInterrupt:
        interrupted = signals is SignalHandlerOptions.ALL
    except ExternalShutdownException:
        pass
    except (*_UNUSABLE, RuntimeError) as error:
        # A signal ends the context while others use it; what they then raise is no fault.
        if rclpy.ok():
            if node is not None:
                raise
            code = _cannot_start(name, error)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not break the ending
        # rclpy's thread of signals may still be waking the executor, and would crash without it.
        # It ends the context when it is done.
        end = time.monotonic() + _SIGNAL_THREAD_S
        while interrupted and rclpy.ok() and time.monotonic() < end:
            time.sleep(0.005)
        if node is not None:
            stop(node)
        # What there is of a node that could not be made is destroyed here, as others are before the
        # context ends: later, threads of DDS that still hear others would use what is gone.
        gc.collect()
        shut_down()
    return code


def forward_logs(logger: Any) -> None:
    """Send the library's log records to ``logger``, of rclpy; an earlier node's gets no more."""
    library = logging.getLogger("dhpe_ros")
    others = [handler for handler in library.handlers if not isinstance(handler, _Forwarder)]
    library.handlers = [*others, _Forwarder(logger)]


class _Forwarder(logging.Handler):
    def __init__(self, logger: Any) -> None:
        super().__init__()
        self._logger = logger

    def emit(self, record: logging.LogRecord) -> None:
        # Three calls: rclpy refuses a line of code that changes its severity.
        if record.levelno >= logging.ERROR:
            self._logger.error(record.getMessage())
        elif record.levelno >= logging.WARNING:
            self._logger.warning(record.getMessage())
        else:
            self._logger.info(record.getMessage())


def reason_of(error: Exception) -> str:
    """The text of an error, after its type where that text names no remedy."""
    return str(error) if isinstance(error, _UNUSABLE) else f"{type(error).__name__}: {error}"


def _cannot_start(name: str, error: Exception) -> int:
    get_logger(name).fatal(f"cannot start: {reason_of(error)}")
    return 1


def shut_down() -> None:
    try:
        rclpy.try_shutdown()
    except RuntimeError:  # the signal's own thread was faster
        if rclpy.ok():
            raise
