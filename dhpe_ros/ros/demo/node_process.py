"""The hand node as a process of its own that cannot outlive the one that started it."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class NodeProcess:
    """Runs ``python -m dhpe_ros.ros.node`` while in ``with``.

    ``program`` replaces it, as arguments of Python. ``remappings`` and ``parameters`` are ROS's
    ``name:=value`` strings. The node's output goes to the file ``log``.
    """

    def __init__(
        self,
        log: Path,
        remappings: Sequence[str] = (),
        parameters: Sequence[str] = (),
        environment: Mapping[str, str] | None = None,
        program: Sequence[str] = ("-m", "dhpe_ros.ros.node"),
    ) -> None:
        self.log = log
        self._command = [sys.executable, *program, "--ros-args"]
        for flag, values in (("-r", remappings), ("-p", parameters)):
            self._command += [word for value in values for word in (flag, value)]
        quiet = {"PYTHONUNBUFFERED": "1", "RCUTILS_COLORIZED_OUTPUT": "0"}
        self._environment = {**os.environ, **quiet, **(environment or {})}
        self._process: subprocess.Popen | None = None
        self.ended_itself: int | None = None  # its exit code, if it ended before ``stop``

    def __enter__(self) -> NodeProcess:
        with self.log.open("wb") as output:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C is for the parent, which then ends the node
                preexec_fn=_end_with_parent,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Process id of the running node."""
        assert self._process is not None, "the node has not been started"
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """None while it runs; negative when a signal ended it."""
        return self._process.poll() if self._process else None

    def stop(self) -> None:
        """End the node by SIGINT, after a while by SIGTERM, then SIGKILL."""
        if self._process is None:
            return
        self.ended_itself = self._process.poll()
        for sent, patience_s in ((signal.SIGINT, 10), (signal.SIGTERM, 3), (signal.SIGKILL, 3)):
            if self._process.poll() is not None:
                return
            self._process.send_signal(sent)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_s)

    def last_lines(self, count: int = 15) -> str:
        """The last lines of the node's output, indented for the screen."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        lines = text.splitlines()[-count:] or ["(no output)"]
        return "\n".join(f"    {line}" for line in lines)


def _end_with_parent() -> None:
    """In the child: let the kernel end it when the parent dies."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
