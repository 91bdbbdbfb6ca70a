"""A launch test, run by ``launch_test``: ``hand.launch.py`` in a bring-up, and its ending.

Not named as pytest collects them: launch_testing's pytest plugin is off, see ``conftest.py``.
"""

import sys
import unittest
from pathlib import Path

import launch_testing
from launch.actions import ExecuteProcess, GroupAction, IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_ros.actions import PushRosNamespace
from launch_testing.actions import ReadyToTest

from launch import LaunchDescription

LAUNCH_FILE = Path(__file__).resolve().parents[1] / "launch" / "hand.launch.py"


TELL_PROFILES = """
import os, sys
print("profiles:", [n for n in os.environ if "DEFAULT_PROFILES" in n], file=sys.stderr)
"""


def generate_test_description():
    arguments = {"namespace": "robot", "image": "/cam/image_raw", "profile": "lite"}
    hand = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(LAUNCH_FILE)), launch_arguments=arguments.items()
    )
    group = GroupAction([PushRosNamespace("cell"), hand])
    other = ExecuteProcess(cmd=[sys.executable, "-c", TELL_PROFILES])
    return LaunchDescription([group, other, ReadyToTest()])


class TestWhileItRuns(unittest.TestCase):
    def test_it_waits_for_images_on_the_topic_given(self, proc_output):
        proc_output.assertWaitFor("[cell.robot.hand]: ready", timeout=300)
        proc_output.assertWaitFor("waiting for images on /cam/image_raw", timeout=300)

    def test_another_process_of_the_bring_up_keeps_its_own_dds_settings(self, proc_output):
        proc_output.assertWaitFor("profiles: []", timeout=300)


@launch_testing.post_shutdown_test()
class TestAfterwards(unittest.TestCase):
    def test_it_ended_cleanly(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)
