"""``hand.launch.py``: what its arguments turn into, and a start of it by launch itself."""

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("launch.actions", reason="needs launch, of a ROS 2 installation")
pytest.importorskip("launch_ros", reason="needs launch_ros, of a ROS 2 installation")

from launch_ros.actions import Node

from launch import LaunchContext

HERE = Path(__file__).resolve().parents[1]
FILE = runpy.run_path(str(HERE.parent / "launch" / "hand.launch.py"))
DEMO = runpy.run_path(str(HERE.parent / "launch" / "demo.launch.py"))
CONTRACT = {
    "namespace", "image", "camera_info", "depth", "params_file", "backend", "device", "profile",
    "rviz", "log_level", "autostart", "respawn", "use_sim_time", "build_only",
}  # fmt: skip


def given(**arguments):
    return {name: default for name, (default, _) in FILE["ARGUMENTS"].items()} | arguments


def test_every_argument_of_the_contract_is_declared_with_a_description():
    declared = FILE["generate_launch_description"]().get_launch_arguments()
    assert {argument.name for argument in declared} >= CONTRACT
    assert all(argument.description for argument in declared)


def test_nothing_given_overrides_nothing():
    assert FILE["_overrides"](given()) == {}
    assert FILE["_remappings"](given()) == []


def test_what_is_given_overrides_the_file():
    overrides = FILE["_overrides"](given(backend="eager", use_sim_time="True", autostart="false"))
    assert overrides == {"model.backend": "eager", "use_sim_time": True, "autostart": False}


def test_camera_info_is_looked_for_beside_the_image():
    remappings = dict(FILE["_remappings"](given(image="/camera/image_raw")))
    assert remappings == {
        "image": "/camera/image_raw",
        "image/compressed": "/camera/image_raw/compressed",
        "camera_info": "/camera/camera_info",
    }
    chosen = FILE["_remappings"](given(image="/camera/image_raw", camera_info="/info"))
    assert dict(chosen)["camera_info"] == "/info"


def test_build_only_builds_what_the_node_would_run():
    arguments = FILE["_export_arguments"](given(backend="openvino", profile="full"))
    config = given()["params_file"]
    assert arguments == ["--config", config, "--format", "openvino", "--profile", "full"]
    assert FILE["_export_arguments"](given()) == ["--config", config]
    with pytest.raises(ValueError, match="nothing to build for backend 'eager'"):
        FILE["_export_arguments"](given(backend="eager"))


def test_the_bridge_and_rviz_start_only_when_asked_for(monkeypatch):
    monkeypatch.setitem(FILE["_start"].__globals__, "get_package_prefix", lambda name: name)
    names = {"rviz": "true", "collision_objects": "true"}
    nodes = FILE["_start"](_context(**given(**names)))
    assert [node.node_executable for node in nodes] == ["hand_node", "rviz2", "hand_collision_node"]
    assert len(FILE["_start"](_context(**given()))) == 1


@pytest.mark.parametrize(
    ("argument", "remedy"),
    [
        ("rviz", r"apt install ros-\$ROS_DISTRO-rviz2, or rviz:=false"),
        ("collision_objects", r"apt install .*-moveit-msgs, or collision_objects:=false"),
    ],
)
def test_nothing_starts_where_a_package_is_missing_that_was_asked_for(
    monkeypatch, argument, remedy
):
    def missing(name):
        raise FILE["PackageNotFoundError"](name)

    monkeypatch.setitem(FILE["_start"].__globals__, "get_package_prefix", missing)
    with pytest.raises(RuntimeError, match=remedy):
        FILE["_start"](_context(**given(**{argument: "true"})))


def test_nothing_starts_without_the_file_of_parameters():
    with pytest.raises(FileNotFoundError, match=r"params_file: no file ./none\.yaml"):
        FILE["_start"](_context(**given(params_file="/none.yaml")))


@pytest.mark.parametrize(
    ("pushed", "namespace", "logger"),
    [
        ({}, "", "hand"),
        ({}, "robot", "robot.hand"),
        ({"ros_namespace": "/cell"}, "", "cell.hand"),
        ({"ros_namespace": "/cell"}, "robot", "cell.robot.hand"),
        ({"ros_namespace": "/cell"}, "/robot", "robot.hand"),
    ],
)
def test_the_log_level_is_that_of_the_node_wherever_it_is_pushed(pushed, namespace, logger):
    context = _context(**pushed, **given(namespace=namespace, log_level="debug"))
    (node,) = FILE["_start"](context)
    command = [part.text for words in node.cmd for part in words if hasattr(part, "text")]
    assert f"{logger}:=debug" in command


def _context(**configurations):
    context = LaunchContext()
    context.launch_configurations.update(configurations)
    return context


def test_the_demo_plays_a_clip_to_the_node_and_takes_its_arguments():
    description = DEMO["generate_launch_description"]()
    own = {"input", "rate", "intrinsics", "rviz"}
    assert {argument.name for argument in description.get_launch_arguments()} >= own | CONTRACT
    (player,) = [e for e in description.entities if isinstance(e, Node)]
    assert player.node_executable == "play_clip"


def test_a_demo_that_cannot_start_leaves_no_player_behind():
    """By ``ros2 launch`` itself, where RViz is not installed: it says so and nothing is running."""
    if _is_installed("rviz2"):
        pytest.skip("RViz is installed here")
    run = _launched("demo.launch.py", "rviz:=true")
    assert run.returncode == 1
    assert "rviz2 is not installed" in run.stdout + run.stderr
    assert "process started" not in run.stdout + run.stderr


def test_a_demo_ends_with_its_player(tmp_path):
    """The player has nothing to play: launch ends the hand node, which is not ready yet."""
    run = _launched("demo.launch.py", "rviz:=false", f"input:={tmp_path / 'none.mp4'}")
    assert "none.mp4" in run.stdout + run.stderr
    assert "sending signal 'SIGINT' to process[hand_node-1]" in run.stdout + run.stderr


def _launched(file, *arguments):
    command = [
        sys.executable,
        "-c",
        "import sys; from ros2cli.cli import main; sys.exit(main())",
        "launch",
    ]
    command += [str(HERE.parent / "launch" / file), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300)


def _is_installed(package):
    try:
        FILE["get_package_prefix"](package)
    except FILE["PackageNotFoundError"]:
        return False
    return True


def test_neither_true_nor_false_is_refused_by_name():
    with pytest.raises(ValueError, match="respawn must be true or false, got 'maybe'"):
        FILE["_is_true"]("respawn", "maybe")


def test_it_starts_and_ends_under_launch():
    pytest.importorskip("launch_testing", reason="needs launch_testing, of a ROS 2 installation")
    command = [sys.executable, "-m", "launch_testing.launch_test", str(HERE / "launched_hand.py")]
    environment = {k: v for k, v in os.environ.items() if "DEFAULT_PROFILES_FILE" not in k}
    run = subprocess.run(
        command, cwd=HERE.parent, env=environment, capture_output=True, text=True, timeout=900
    )
    assert run.returncode == 0, run.stdout + run.stderr
