"""A ROS domain for one process and those it starts, that no other process holds meanwhile."""

from __future__ import annotations

import fcntl
import os
import tempfile
from functools import cache
from pathlib import Path

DOMAINS = range(1, 102)  # 0 is everyone's; above 101 the ports reach into Linux's ephemeral ones


@cache
def own_domain() -> int:
    """A ``ROS_DOMAIN_ID``, the same at each call, held by file locks until this process ends.

    Where all are held or no lock file can be written, one by the process's number.
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
        except OSError:
            os.close(file)
        else:
            return domain  # the open file keeps the lock
    return DOMAINS[first]
