"""Fixtures of the tests of the nodes."""

import gc

import pytest


@pytest.fixture(scope="module")
def ros():
    import rclpy  # a test file that needs it skips itself where there is none

    rclpy.init()
    yield
    rclpy.shutdown()


@pytest.fixture(scope="module")
def camera(ros):
    """A publisher of images in a process of its own."""
    from ros_processes import CameraProcess

    camera = CameraProcess()
    yield camera
    camera.close()


@pytest.fixture(scope="module", autouse=True)
def nothing_left():
    """Destroy a file's nodes at its end.

    Left to chance they would be destroyed in the middle of another test, by whichever of its
    threads collects garbage, which Fast DDS does not always survive.
    """
    yield
    gc.collect()
