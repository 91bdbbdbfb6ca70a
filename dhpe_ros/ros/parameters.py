"""ROS parameters from the configuration dataclasses, and back.

Every setting becomes one parameter of the same name, with its description and range. A setting
that cannot change while the node runs is read-only: the parameter file or command line sets it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from rcl_interfaces.msg import (
    FloatingPointRange,
    IntegerRange,
    ParameterDescriptor,
    SetParametersResult,
)
from rclpy.exceptions import InvalidParameterTypeException, InvalidParameterValueException
from rclpy.node import Node

from dhpe_ros.config import NOT_SETTINGS, Config
from dhpe_ros.ros.node_configs import BridgeConfig, PlayerConfig, RetargetConfig
from dhpe_ros.settings import Settings, did_you_mean

_MOST_NAMED = 10  # unknown parameters, one log line each

_Settings = TypeVar("_Settings", bound=Settings)


def declare_parameters(node: Node, defaults: _Settings) -> _Settings:
    """Declare every setting on ``node``; returns the configuration from file and command line.

    Unknown names are logged, since ROS ignores them. Raises ``ValueError`` that names the
    parameter, the value and the remedy.
    """
    values: dict[str, Any] = {}
    for name, setting_field, default in defaults.items():
        try:
            descriptor = _descriptor(setting_field.metadata, default)
            values[name] = node.declare_parameter(name, default, descriptor).value
        except InvalidParameterTypeException as error:
            remedy = f"write a value of the type of {default!r}"
            if isinstance(default, float):
                remedy = "ROS distinguishes 1 from 1.0: write it with a decimal point"
            raise ValueError(f"{error}; {remedy}") from None
        except InvalidParameterValueException as error:
            raise ValueError(str(error)) from None
    for message in unknown_overrides(node, values):
        node.get_logger().warning(message)
    return defaults.replace(values)


def unknown_overrides(node: Node, known: Iterable[str]) -> list[str]:
    """Log lines for the names given to the node that no node of ours has.

    One parameter file may serve all of them.
    """
    given = getattr(node, "_parameter_overrides", {})  # rclpy has no public way to ask
    kinds: tuple[type[Settings], ...] = (Config, BridgeConfig, RetargetConfig, PlayerConfig)
    ours = {name for kind in kinds for name in kind().as_mapping()}
    unknown = [
        name
        for name in sorted(given)
        if not (node.has_parameter(name) or name.startswith(NOT_SETTINGS) or name in ours)
    ]
    lines = [
        f"parameter {name:.200} is unknown and has no effect{did_you_mean(name, known)}"
        for name in unknown[:_MOST_NAMED]
    ]
    left = len(unknown) - len(lines)
    return [*lines, f"{left} more parameters are unknown"] if left else lines


def follow_changes(
    node: Node, current: Callable[[], Config], apply: Callable[[Config], None]
) -> None:
    """Check every change of a parameter, then ``apply`` the new configuration.

    A bad value is refused with the reason and changes nothing. Humble has no post-set callback, so
    both happen in the on-set callback.
    """

    def on_set(parameters: list[Any]) -> SetParametersResult:
        known = current().as_mapping()
        changes = {p.name: p.value for p in parameters if p.name in known}
        if not changes:
            return SetParametersResult(successful=True)
        try:
            apply(current().replace(changes))
        except ValueError as error:
            return SetParametersResult(successful=False, reason=str(error))
        return SetParametersResult(successful=True)

    node.add_on_set_parameters_callback(on_set)


def _descriptor(metadata: Mapping[str, Any], default: Any) -> ParameterDescriptor:
    descriptor = ParameterDescriptor(
        description=metadata["description"], read_only=not metadata["live"]
    )
    if metadata["one_of"]:
        descriptor.additional_constraints = "one of: " + ", ".join(metadata["one_of"])
    low, high = metadata["at_least"], metadata["at_most"]
    if low is not None and high is not None and isinstance(default, float):
        span = FloatingPointRange(from_value=float(low), to_value=float(high))
        descriptor.floating_point_range = [span]
    elif low is not None and high is not None:
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    return descriptor
