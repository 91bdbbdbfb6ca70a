"""Let a robot hand follow a person's hand: ``ros2 launch dhpe_ros retarget.launch.py``.

The hand node runs beside it (``hand.launch.py``).
"""

from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from launch import LaunchContext, LaunchDescription

ARGUMENTS = {
    "hand": ("example", "shadow, allegro, leap, example, or the path of a configuration file"),
    "side": ("right", "side of the robot hand: right or left"),
    "urdf": ("", "URDF of the robot hand: a path or package://NAME/PATH; example brings its own"),
    "operator": ("same", "hand of the person that is followed: same, right or left"),
    "namespace": ("", "namespace of the node and its topics"),
    "hands": ("", "topic of the hands; empty: hand/hands"),
    "joint_states": ("", "topic of the joint angles; empty: retarget/joint_states"),
    "use_sim_time": ("false", "use the time of /clock: true or false"),
}
PARAMETERS = ("hand", "side", "urdf", "operator")
TOPICS = {"hands": "hand/hands", "joint_states": "~/joint_states"}


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(name, default_value=default, description=description)
            for name, (default, description) in ARGUMENTS.items()
        ]
        + [OpaqueFunction(function=_start)]
    )


def _start(context: LaunchContext) -> list[Node]:
    given = {name: LaunchConfiguration(name).perform(context).strip() for name in ARGUMENTS}
    sim_time = given["use_sim_time"].lower()
    if sim_time not in ("true", "false"):
        raise ValueError(f"launch argument use_sim_time must be true or false, got {sim_time!r}")
    return [
        Node(
            package="dhpe_ros",
            executable="dhpe_retarget",
            name="retarget",
            namespace=given["namespace"],
            output="screen",
            emulate_tty=True,
            parameters=[{n: given[n] for n in PARAMETERS} | {"use_sim_time": sim_time == "true"}],
            remappings=[(TOPICS[name], given[name]) for name in TOPICS if given[name]],
        )
    ]
