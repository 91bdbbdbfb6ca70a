"""ROS parameters from the configuration dataclasses, and back.

Every setting becomes one parameter of the same name, with its description and range. Those that
cannot change while the node runs are read-only: they come from the parameter file or the command
line.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
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
from dhpe_ros.ros.node_configs import BridgeConfig, PlayerConfig
from dhpe_ros.settings import Settings, did_you_mean

_MOST_NAMED = 10  # unknown parameters, each in a line of its own

_Settings = TypeVar("_Settings", bound=Settings)


def declare_parameters(node: Node, defaults: _Settings) -> _Settings:
    """Declare every setting on ``node``; the configuration that file and command line ask for.

    Names given to the node that no setting has are logged: ROS itself ignores them. Raises
    ``ValueError`` that names the parameter, what came and what to do.
    """
    values = {}
    for name, setting_field, default in defaults.items():
        try:
            parameter = node.declare_parameter(name, default, _descriptor(setting_field, default))
        except InvalidParameterTypeException as error:
            raise ValueError(f"{error}{_type_remedy(default)}") from None
        except InvalidParameterValueException as error:
            raise ValueError(str(error)) from None
        values[name] = parameter
    for message in unknown_overrides(node, values):
        node.get_logger().warning(message)
    return defaults.replace({name: parameter.value for name, parameter in values.items()})


def unknown_overrides(node: Node, known: Iterable[str]) -> list[str]:
    """What to say of names given to the node that neither it nor another node of ours has.

    One parameter file may serve all nodes.
    """
    given = getattr(node, "_parameter_overrides", {})  # rclpy has no public way to ask
    unknown = [
        name
        for name in sorted(given)
        if not node.has_parameter(name) and not name.startswith(NOT_SETTINGS)
    ]
    ours = {name for nodes in (Config, BridgeConfig, PlayerConfig) for name in nodes().as_mapping()}
    unknown = [name for name in unknown if name not in ours]
    said = [
        f"parameter {name:.200} is not known here and has no effect{did_you_mean(name, known)}"
        for name in unknown[:_MOST_NAMED]
    ]
    left = len(unknown) - len(said)
    return [*said, f"{left} more parameters are not known here"] if left else said


def follow_changes(
    node: Node, current: Callable[[], Config], apply: Callable[[Config], None]
) -> None:
    """Check every change against the ``current`` configuration, then ``apply`` the new one.

    A bad value is refused with the reason and leaves everything as it was. Only the callback that
    exists on every distribution is used; Humble has no post-set callback.
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


def _descriptor(setting_field: Any, default: Any) -> ParameterDescriptor:
    metadata = setting_field.metadata
    descriptor = ParameterDescriptor(
        description=metadata["description"], read_only=not metadata["live"]
    )
    if metadata["one_of"]:
        descriptor.additional_constraints = "one of: " + ", ".join(metadata["one_of"])
    if metadata["at_least"] is None or metadata["at_most"] is None:
        return descriptor
    low, high = metadata["at_least"], metadata["at_most"]
    if isinstance(default, float):
        span = FloatingPointRange(from_value=float(low), to_value=float(high))
        descriptor.floating_point_range = [span]
    elif isinstance(default, int):
        descriptor.integer_range = [IntegerRange(from_value=int(low), to_value=int(high))]
    return descriptor


def _type_remedy(default: Any) -> str:
    if isinstance(default, float):
        return "; ROS tells 1 from 1.0: write it with a decimal point"
    return f"; write it as {default!r} is written"
