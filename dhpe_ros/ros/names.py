"""Names that all nodes on a graph share, as frames and objects: they carry the namespace."""

from __future__ import annotations

from rclpy.node import Node

AUTO = "auto"


def shared_prefix(node: Node, usual_name: str, separator: str) -> str:
    """The node's namespace, and its name where it is not the usual one, each with the separator.

    ``/left/hand``, usually ``hand``: ``left/``; ``/hand``: nothing; ``/other``: ``other/``.
    """
    *namespace, name = node.get_fully_qualified_name().strip("/").split("/")
    parts = namespace if name == usual_name else [*namespace, name]
    return "".join(part + separator for part in parts)
