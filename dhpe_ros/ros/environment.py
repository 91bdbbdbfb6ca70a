"""ROS environment of our processes: the Fast DDS profile that ships, a domain of their own.

With Fast DDS's own settings best-effort images of 640x480 or more are lost on many machines: the
sender's shared-memory segment is too small for one. Our nodes and the demo set the profile for
themselves. It takes effect where images are sent, so start the camera driver with it as well.
"""

from __future__ import annotations

import fcntl
import os
import sys
import tempfile
from functools import cache
from pathlib import Path

from dhpe_ros.files.resources import shared_file

DOMAINS = range(1, 102)  # 0 is everyone's; above 101 the ports reach into Linux's ephemeral ones
_FAST_DDS_2 = "FASTRTPS_DEFAULT_PROFILES_FILE"  # Humble, Jazzy
_FAST_DDS_3 = "FASTDDS_DEFAULT_PROFILES_FILE"  # Kilted and later, which warn about the other


def use_shipped_dds_profile() -> None:
    """Set the profile for this process and its children; call it before ``rclpy.init``.

    Does nothing where the user has a profile or another middleware.
    """
    if _FAST_DDS_2 not in os.environ and _FAST_DDS_3 not in os.environ:
        os.environ.update(shipped_dds_profile())


def shipped_dds_profile() -> dict[str, str]:
    """The environment variable that selects the profile; empty with another middleware."""
    middleware = os.environ.get("RMW_IMPLEMENTATION") or "rmw_fastrtps_cpp"
    if "fastrtps" not in middleware:
        return {}
    # Fast DDS 2 is the package fastrtps. The wheels do not set ROS_DISTRO.
    prefixes = [*filter(None, os.environ.get("AMENT_PREFIX_PATH", "").split(":")), sys.prefix]
    has_fast_dds_2 = any(Path(prefix, "share/fastrtps").is_dir() for prefix in prefixes)
    variable = _FAST_DDS_2 if has_fast_dds_2 else _FAST_DDS_3
    return {variable: str(shared_file("config/fastdds.xml"))}


@cache
def own_domain() -> int:
    """A ``ROS_DOMAIN_ID`` that no other process holds: file locks keep it until this one ends.

    Every call returns the same. Where all are held or no lock file can be written, the process id
    decides.
    """
    folder = Path(tempfile.gettempdir(), f"dhpe_ros_domains_{os.getuid()}")
    first = os.getpid() % len(DOMAINS)
    for domain in (*DOMAINS[first:], *DOMAINS[:first]):
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            file = os.open(folder / str(domain), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError:
            break
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return domain  # the open file keeps the lock
        except OSError:
            os.close(file)
    return DOMAINS[first]
