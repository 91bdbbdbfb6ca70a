"""Parameters of the nodes beside ``hand``; prefixes of names."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from dhpe_ros.settings import Settings, setting
from dhpe_ros.types import Scale

if TYPE_CHECKING:
    from rclpy.node import Node

AUTO = "auto"  # the value of a prefix parameter that stands for ``shared_prefix``


class _FlatSettings(Settings):
    """Settings whose parameters carry no section in their names."""

    @staticmethod
    def name_of(section: str, field_name: str) -> str:
        return field_name


@dataclass(frozen=True)
class CollisionConfig:
    """Rate, size and names of the collision objects."""

    rate: float = setting(
        8.0, "maximum updates per second; each is a new shape for the planner", 0.5, 30.0
    )
    padding: float = setting(
        0.01,
        "metres added to the radius of each capsule, beside the uncertainty of the joints",
        0.0,
        0.5,
    )
    min_scale: str = setting(
        "learned",
        "least source of a hand's size; hands that have less are left out",
        one_of=tuple(scale.name.lower() for scale in Scale),
    )
    timeout: float = setting(
        1.0, "seconds without a message after which all hands are removed", 0.1, 60.0
    )
    prefix: str = setting(
        AUTO, "prefix of the objects' ids, <prefix><track>; auto: <namespace>_hand_"
    )


@dataclass(frozen=True)
class BridgeConfig(_FlatSettings):
    """Parameters of ``hand_collision``."""

    collision: CollisionConfig = field(default_factory=CollisionConfig)


@dataclass(frozen=True)
class RobotHandConfig:
    """The robot hand, and the hand that it follows."""

    hand: str = setting(
        "example", "shadow, allegro, leap, example, or the path of a configuration file"
    )
    side: str = setting(
        "right", "side of the robot hand, of a configuration that ships", one_of=("right", "left")
    )
    urdf: str = setting(
        "", "URDF of the robot hand: a path or package://NAME/PATH; empty: the configuration's own"
    )
    operator: str = setting(
        "same",
        "hand of the person that is followed; the robot mirrors the one of the other side",
        one_of=("same", "right", "left"),
    )


@dataclass(frozen=True)
class RetargetConfig(_FlatSettings):
    """Parameters of ``retarget``."""

    robot: RobotHandConfig = field(default_factory=RobotHandConfig)


@dataclass(frozen=True)
class ClipConfig:
    """Input of the clip player, and the camera that it plays."""

    input: str = setting(
        "", "image, video, folder, /dev/video0 or recording; empty: the clip that ships"
    )
    rate: float = setting(0.0, "frames per second; 0: the input's own rate", 0.0, 1000.0)
    intrinsics: str = setting(
        "", "fx,fy,cx,cy[,MODEL,k1,k2,...] of the camera in pixels; empty: the input's own"
    )
    frame_id: str = setting("camera_optical_frame", "frame of the images")


@dataclass(frozen=True)
class PlayerConfig(_FlatSettings):
    """Parameters of ``camera``."""

    clip: ClipConfig = field(default_factory=ClipConfig)


def shared_prefix(node: Node, usual_name: str, separator: str) -> str:
    """The node's namespace, plus its name unless that is the usual one, each with the separator.

    For the usual name ``hand``: ``/left/hand`` gives ``left/``, ``/hand`` nothing, ``/other``
    ``other/``.
    """
    *namespace, name = node.get_fully_qualified_name().strip("/").split("/")
    parts = namespace if name == usual_name else [*namespace, name]
    return "".join(part + separator for part in parts)
