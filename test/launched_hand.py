"""A launch test, run by ``launch_test``: ``hand.launch.py`` with arguments, and its ending.

Not named as pytest collects them: launch_testing's pytest plugin is off, see ``conftest.py``.
"""

import unittest
from pathlib import Path

import launch_testing
from launch.actions import IncludeLaunchDescription
from launch.launch_description_sources import PythonLaunchDescriptionSource
from launch_testing.actions import ReadyToTest

from launch import LaunchDescription

LAUNCH_FILE = Path(__file__).resolve().parents[1] / "launch" / "hand.launch.py"


def generate_test_description():
    arguments = {"namespace": "robot", "image": "/cam/image_raw", "profile": "lite"}
    hand = IncludeLaunchDescription(
        PythonLaunchDescriptionSource(str(LAUNCH_FILE)), launch_arguments=arguments.items()
    )
    return LaunchDescription([hand, ReadyToTest()])


class TestWhileItRuns(unittest.TestCase):
    def test_it_waits_for_images_on_the_topic_given(self, proc_output):
        proc_output.assertWaitFor("waiting for images on /cam/image_raw", timeout=60)


@launch_testing.post_shutdown_test()
class TestAfterwards(unittest.TestCase):
    def test_it_ended_cleanly(self, proc_info):
        launch_testing.asserts.assertExitCodes(proc_info)
