"""Fixtures of all tests: a ROS world and a cache of their own; nothing else is heard or found.

Set before anything of ROS is imported; the processes that tests start inherit it.
"""

import logging
import os
import tempfile
from collections import Counter
from importlib.util import find_spec

if "PYTEST_XDIST_WORKER" in os.environ:  # as many processes as cores: more threads only wait
    os.environ["OMP_NUM_THREADS"] = "1"  # read when torch is imported

import pytest
import shared_memory
import torch

from dhpe_ros.files.resources import user_cache
from dhpe_ros.ros.environment import own_domain

# launch, which pytest loads as a plugin where ROS is installed, has loggers made that keep to
# themselves; those of dhpe_ros are to be heard.
logging.setLoggerClass(logging.Logger)
for variable in (
    "FASTRTPS_DEFAULT_PROFILES_FILE",
    "FASTDDS_DEFAULT_PROFILES_FILE",
    "ROS_LOCALHOST_ONLY",
):
    os.environ.pop(variable, None)
os.environ["ROS_DOMAIN_ID"] = str(own_domain())
os.environ["ROS_AUTOMATIC_DISCOVERY_RANGE"] = "LOCALHOST"
_OWN = tempfile.TemporaryDirectory(prefix="dhpe_ros_test_", ignore_cleanup_errors=True)
os.environ["ROS_LOG_DIR"] = os.path.join(_OWN.name, "log")
os.environ.setdefault(
    "NUMBA_CACHE_DIR", str(user_cache().parent)
)  # compiled kernels are everyone's
os.environ["XDG_CACHE_HOME"] = os.path.join(_OWN.name, "cache")  # no engine of the user's
if find_spec("rclpy"):
    from dhpe_ros.ros.environment import use_shipped_dds_profile

    use_shipped_dds_profile()


@pytest.fixture
def no_shared_memory_left():
    """For tests that kill a process of ROS: what that leaves behind is removed afterwards."""
    before = shared_memory.segments()
    yield
    shared_memory.remove_unused_since(before)


@pytest.fixture(scope="module")
def one_thread():
    """Torch's threads wait for each other at every small operation: slow on a busy machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.hookimpl(tryfirst=True)  # before xdist reads the marks
def pytest_collection_modifyitems(items):
    """Keep together what shares a fixture, the tests of a file; begin with what takes longest."""
    for item in items:
        item.add_marker(pytest.mark.xdist_group(str(item.path)))
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    count = Counter(item.path for item in items)
    items.sort(key=lambda item: (item.path not in slow, -count[item.path]))


def pytest_configure(config):
    """Do without launch_testing's plugin: it imports every file while the folder is collected.

    One file that skips itself, for want of an optional package, would then end the collection.
    """
    for name in ("launch_testing", "launch"):  # "launch" up to Humble
        plugin = config.pluginmanager.get_plugin(name)
        if plugin is not None:
            config.pluginmanager.unregister(plugin)


@pytest.fixture(autouse=True)
def ordinary_scheduling():
    """Leave real-time scheduling, under which SVT-AV1, an encoder of AV1, puts its caller as root.

    What computes after it in the same process would starve all other processes.
    """
    _end_real_time()
    yield
    _end_real_time()


def _end_real_time():
    if os.sched_getscheduler(0) != os.SCHED_OTHER:
        os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
