"""The hand node as a process of its own that cannot outlive the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
STOP_WITHIN_S = 10


@contextmanager
def node_process(
    log: Path,
    remappings: Sequence[str] = (),
    parameters: Sequence[str] = (),
    program: Sequence[str] = ("-m", "dhpe_ros.ros.node"),
) -> Iterator[subprocess.Popen]:
    """Run ``python -m dhpe_ros.ros.node``, which ends with the context.

    ``program`` replaces it, as arguments of Python. ``remappings`` and ``parameters`` are ROS's
    ``name:=value`` strings. The node's output goes to the file ``log``.
    """
    words = [word for rule in remappings for word in ("-r", rule)]
    words += [word for value in parameters for word in ("-p", value)]
    quiet = {"PYTHONUNBUFFERED": "1", "RCUTILS_COLORIZED_OUTPUT": "0"}
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, *program, "--ros-args", *words],
            env={**os.environ, **quiet},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,  # Ctrl-C is for the parent, which then ends the node
            preexec_fn=_end_with_parent,
        )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_WITHIN_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _end_with_parent() -> None:
    """In the child: let the kernel end it when the parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
