"""Play a clip to the hand node, with RViz: ``ros2 launch dhpe_ros demo.launch.py``.

``input:=clip.mp4`` plays another one. Every argument of ``hand.launch.py`` can be given too.
"""

from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
    RegisterEventHandler,
)
from launch.event_handlers import OnProcessExit
from launch.events import Shutdown
from launch.events.process import ProcessExited
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from launch_ros.parameter_descriptions import ParameterValue

from launch import LaunchContext, LaunchDescription

HAND = Path(__file__).resolve().with_name("hand.launch.py")
FRAME = "camera_optical_frame"
ARGUMENTS = {
    "input": ("", "image, video, folder, /dev/video0 or recording; empty: the clip that ships"),
    "rate": ("0.0", "frames per second; 0.0: the input's own rate"),
    "intrinsics": (
        "",
        "fx,fy,cx,cy[,MODEL,k1,k2,...] of the camera in pixels; empty: the input's own",
    ),
    "rviz": ("true", "start RViz: true or false"),
}


def generate_launch_description() -> LaunchDescription:
    arguments = [
        DeclareLaunchArgument(name, default_value=default, description=description)
        for name, (default, description) in ARGUMENTS.items()
    ]
    types = {"input": str, "rate": float, "intrinsics": str}
    given = {n: ParameterValue(LaunchConfiguration(n), value_type=t) for n, t in types.items()}
    player = Node(
        package="dhpe_ros",
        executable="play_clip",
        namespace="/camera",  # absolute, as the hand node subscribes there
        output="screen",
        emulate_tty=True,
        parameters=[{"frame_id": FRAME, **given}],
    )
    topics = {"image": "/camera/image_raw", "rviz": LaunchConfiguration("rviz")}
    hand = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(HAND)),
        launch_arguments={**topics, "fixed_frame": FRAME}.items(),
    )
    end = RegisterEventHandler(OnProcessExit(on_exit=_end))
    # The player is last: where another cannot start, it must not run alone.
    return LaunchDescription([*arguments, end, hand, player])


def _end(event: ProcessExited, context: LaunchContext) -> list[EmitEvent]:
    """End the demo when any of its processes ends, unless that is respawned."""
    if context.launch_configurations.get("respawn", "").lower() == "true":
        return []
    return [EmitEvent(event=Shutdown(reason=f"{event.process_name} of the demo ended"))]
