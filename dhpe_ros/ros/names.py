"""Prefixes of names that are global to the ROS graph: frames, objects."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rclpy.node import Node

AUTO = "auto"


def shared_prefix(node: Node, usual_name: str, separator: str) -> str:
    """The node's namespace, plus its name unless that is the usual one, each with the separator.

    For the usual name ``hand``: ``/left/hand`` gives ``left/``, ``/hand`` nothing, ``/other``
    ``other/``.
    """
    *namespace, name = node.get_fully_qualified_name().strip("/").split("/")
    parts = namespace if name == usual_name else [*namespace, name]
    return "".join(part + separator for part in parts)
