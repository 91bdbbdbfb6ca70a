"""How the nodes run: until a signal, and with one line instead where they cannot start."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Sequence
from typing import TypeVar

import rclpy
from rclpy.exceptions import ParameterException
from rclpy.executors import ExternalShutdownException
from rclpy.logging import get_logger
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import remove_ros_args

from dhpe_ros.ros.dds_profile import use_shipped_dds_profile

AnyNode = TypeVar("AnyNode", bound=Node)
_UNUSABLE = (ValueError, OSError, ParameterException)  # they name what the user has to change


def run(
    name: str,
    make_node: Callable[[], AnyNode],
    args: Sequence[str] | None = None,
    *,
    stop: Callable[[AnyNode], None] = lambda node: None,
    signals: SignalHandlerOptions = SignalHandlerOptions.ALL,
) -> int:
    """Run the node until SIGINT or SIGTERM, then ``stop`` it; 0 then, 1 when it cannot start.

    ``name`` is what the fatal line is logged as. ``make_node`` is called with ROS initialised.
    """
    use_shipped_dds_profile()
    words = sys.argv[1:] if args is None else list(args)
    try:
        _refuse(remove_ros_args(words))
        rclpy.init(args=args, signal_handler_options=signals)
    except (ValueError, RuntimeError) as error:  # RuntimeError: rclpy's, of wrong arguments
        return _cannot_start(name, error)
    node = None
    try:
        node = make_node()
        rclpy.spin(node)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except (*_UNUSABLE, RuntimeError) as error:
        # A signal ends the context under whoever uses it: what that raises is no trouble.
        if rclpy.ok():
            if node is not None:
                raise
            return _cannot_start(name, error)
    finally:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C must not break the ending
        if node is not None:
            stop(node)
        _shut_down()
    return 0


def _refuse(words: Sequence[str]) -> None:
    """ROS itself ignores what is not its own."""
    if words:
        raise ValueError(
            f"unknown argument {words[0]!r}: parameters and remappings are given as in "
            "--ros-args -p NAME:=VALUE -r FROM:=TO"
        )


def _cannot_start(name: str, error: Exception) -> int:
    known = isinstance(error, _UNUSABLE)
    reason = str(error) if known else f"{type(error).__name__}: {error}"
    get_logger(name).fatal(f"cannot start: {reason}")
    return 1


def _shut_down() -> None:
    try:
        rclpy.try_shutdown()
    except RuntimeError:  # the signal's own thread was faster
        if rclpy.ok():
            raise
