"""The Fast DDS profile that ships, so that images get through without tuning the machine.

With Fast DDS's own settings best-effort images of 640x480 and more are lost on many machines: the
sender's shared-memory segment is too small for one. Our nodes and the demo set this one for
themselves; it helps where images are sent, so a camera driver should be started with it as well.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from dhpe_ros.files.resources import shared_file

_FAST_DDS_2 = "FASTRTPS_DEFAULT_PROFILES_FILE"  # Humble, Jazzy
_FAST_DDS_3 = "FASTDDS_DEFAULT_PROFILES_FILE"  # Kilted and later, which warn about the other


def use_shipped_dds_profile() -> dict[str, str]:
    """Set the profile in this process and its children; to be called before ``rclpy.init``.

    Does nothing where the user has a profile or another middleware. Returns what was set.
    """
    if _FAST_DDS_2 in os.environ or _FAST_DDS_3 in os.environ:
        return {}
    profile = shipped_dds_profile()
    os.environ.update(profile)
    return profile


def shipped_dds_profile() -> dict[str, str]:
    """The environment variable that gives a process the profile; none with another middleware."""
    middleware = os.environ.get("RMW_IMPLEMENTATION") or "rmw_fastrtps_cpp"
    if "fastrtps" not in middleware:
        return {}
    # Fast DDS 2 is the package fastrtps. ROS_DISTRO is not asked: the wheels do not set it.
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(":")), sys.prefix]
    has_fast_dds_2 = any(Path(prefix, "share/fastrtps").is_dir() for prefix in prefixes)
    variable = _FAST_DDS_2 if has_fast_dds_2 else _FAST_DDS_3
    return {variable: str(shared_file("config/fastdds.xml"))}
