"""Start the hand node, and RViz on request. ``ros2 launch dhpe_ros hand.launch.py -s`` lists the
arguments; one that is not given leaves the value of the parameter file, or the default.
"""

import posixpath
from pathlib import Path

from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from launch.actions import DeclareLaunchArgument, OpaqueFunction
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from dhpe_ros.files.resources import shared_file
from launch import LaunchContext, LaunchDescription

ARGUMENTS = {
    "namespace": ("", "namespace of the node and its topics"),
    "image": ("", "image topic, e.g. /camera/image_raw; empty: image"),
    "camera_info": ("", "its camera_info; empty: the one beside the image topic"),
    "depth": ("", "depth topic, registered to the image; empty: depth"),
    "params_file": (str(shared_file("config/hand.yaml")), "YAML file of parameters"),
    "backend": ("", "backend of the networks: auto, tensorrt, openvino, cuda_graphs or eager"),
    "device": ("", "torch device: auto, cpu, cuda, cuda:1"),
    "profile": ("", "networks: full (the paper's) or lite (for CPUs)"),
    "rviz": ("false", "also start RViz with config/hand.rviz: true or false"),
    "fixed_frame": ("", "RViz's fixed frame, the images' frame_id; empty: as in hand.rviz"),
    "collision_objects": ("false", "also turn hands into MoveIt collision objects: true or false"),
    "tf_prefix": ("", "prefix of the frames on /tf; empty: the namespace"),
    "object_prefix": ("", "prefix of the collision objects' ids; empty: the namespace"),
    "log_level": ("info", "debug, info, warn, error or fatal"),
    "autostart": ("", "configure and activate the node at its start: true (the default) or false"),
    "respawn": ("false", "start the node again when it ends: true or false"),
    "use_sim_time": ("", "use the time of /clock: true or false"),
    "build_only": ("false", "compile the networks, as dhpe export does, and end: true or false"),
}

NEEDED = {"rviz": "rviz2", "collision_objects": "moveit_msgs"}  # argument -> ROS package
HAND_PARAMETERS = {
    **{name: f"model.{name}" for name in ("backend", "device", "profile")},
    "tf_prefix": "tf_prefix",
    "autostart": "autostart",
}
FLAGS = ("autostart", "use_sim_time")
OURS = {"package": "dhpe_ros", "output": "screen", "emulate_tty": True}


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    return LaunchDescription([*arguments, OpaqueFunction(function=_start)])


def _start(context: LaunchContext) -> list[Node]:
    given = {name: LaunchConfiguration(name).perform(context).strip() for name in ARGUMENTS}
    if not Path(given["params_file"]).is_file():
        raise FileNotFoundError(f"launch argument params_file: no file {given['params_file']!r}")
    if _is_true("build_only", given["build_only"]):
        return [Node(**OURS, executable="export", arguments=_export_arguments(given))]
    # The namespace of PushRosNamespace around this file; an absolute one replaces it.
    pushed = context.launch_configurations.get("ros_namespace", "/")
    namespace = posixpath.join(pushed, given["namespace"])
    optional = {"rviz": _rviz, "collision_objects": _collision_node}
    asked = {name: start for name, start in optional.items() if _is_true(name, given[name])}
    for name in asked:  # all of them, before any node runs
        _check_installed(name)
    return [_hand_node(given, namespace), *(start(given, namespace) for start in asked.values())]


def _check_installed(argument: str) -> None:
    """Raise ``RuntimeError`` where the package of an argument is missing."""
    package = NEEDED[argument]
    try:
        get_package_prefix(package)
    except PackageNotFoundError as error:
        raise RuntimeError(
            f"{package} is not installed: apt install ros-$ROS_DISTRO-{package.replace('_', '-')}, "
            f"or {argument}:=false"
        ) from error


def _hand_node(given: dict[str, str], namespace: str) -> Node:
    return Node(
        **OURS,
        executable="hand_node",
        name="hand",
        namespace=namespace,
        parameters=[given["params_file"], _overrides(given)],
        remappings=_remappings(given),
        arguments=_log_level("hand", namespace, given),
        respawn=_is_true("respawn", given["respawn"]),
        respawn_delay=2.0,
    )


def _collision_node(given: dict[str, str], namespace: str) -> Node:
    return Node(
        **OURS,
        executable="hand_collision_node",
        name="hand_collision",
        namespace=namespace,
        parameters=[given["params_file"], _overrides(given, {"object_prefix": "prefix"})],
        remappings=[("collision_object", "/collision_object")],  # where move_group listens
        arguments=_log_level("hand_collision", namespace, given),
    )


def _export_arguments(given: dict[str, str]) -> list[str]:
    """Arguments of ``dhpe export`` for the node's own configuration."""
    if given["backend"] not in ("", "auto", "tensorrt", "openvino"):
        raise ValueError(f"build_only: there is nothing to build for backend {given['backend']!r}")
    options = {"config": given["params_file"], "format": given["backend"]}
    options |= {name: given[name] for name in ("device", "profile")}
    return [word for name, value in options.items() if value for word in (f"--{name}", value)]


def _rviz(given: dict[str, str], namespace: str) -> Node:
    frame = ["-f", given["fixed_frame"]] if given["fixed_frame"] else []
    topics = ("markers", "overlay", "mask", "points", "depth_without_hands")
    return Node(
        package="rviz2",
        executable="rviz2",
        namespace=namespace,
        arguments=["-d", str(shared_file("config/hand.rviz")), *frame],
        remappings=[(f"/hand/{topic}", f"hand/{topic}") for topic in topics],
    )


def _overrides(
    given: dict[str, str], parameters: dict[str, str] = HAND_PARAMETERS
) -> dict[str, str | bool]:
    """Parameters of the arguments that were given; they override the file."""
    names = {**parameters, "use_sim_time": "use_sim_time"}
    return {
        name: _is_true(argument, given[argument]) if argument in FLAGS else given[argument]
        for argument, name in names.items()
        if given[argument]
    }


def _log_level(name: str, namespace: str, given: dict[str, str]) -> list[str]:
    """Log level of the node's own logger, without the debug lines of rcl and rmw."""
    logger = ".".join([*filter(None, namespace.split("/")), name])
    return ["--ros-args", "--log-level", f"{logger}:={given['log_level']}"]


def _remappings(given: dict[str, str]) -> list[tuple[str, str]]:
    remappings = [("depth", given["depth"])] if given["depth"] else []
    image, camera_info = given["image"], given["camera_info"]
    if image:
        remappings += [("image", image), ("image/compressed", f"{image}/compressed")]
        camera_info = camera_info or posixpath.join(posixpath.dirname(image), "camera_info")
    if camera_info:
        remappings.append(("camera_info", camera_info))
    return remappings


def _is_true(name: str, text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError(f"launch argument {name} must be true or false, got {text!r}")
    return text.lower() == "true"
