"""The node's start with a ready engine of the lite profile: until its log says ``ready``."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from node import OWN_DOMAIN
from timing import Metric

METRICS = (Metric("node.start_ms", "ms", "lower"),)
STARTS = 5


def measure(device: str) -> dict[str, float]:
    """Metric name -> value, the median. On a CPU: a GPU may have no engine."""
    if device != "cpu" or not (find_spec("rclpy") and find_spec("dhpe_ros.msg")):
        return {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        engines = folder / "engines"
        export = (
            sys.executable,
            "-m",
            "dhpe_ros.cli.main",
            "export",
            "--device",
            "cpu",
            "--output",
        )
        result = subprocess.run([*export, engines], capture_output=True, text=True)
        if result.returncode:
            raise RuntimeError(f"dhpe export failed:\n{result.stderr}")
        starts = [_start_ms(folder / "node.log", engines) for _ in range(STARTS)]
    return {METRICS[0].name: statistics.median(starts)}


def _start_ms(log: Path, engines: Path) -> float:
    from dhpe_ros.ros.demo.node_process import node_process

    os.environ.update(OWN_DOMAIN)
    parameters = ["model.device:=cpu", f"model.engines:={engines}"]
    begin_s = time.monotonic()
    with node_process(log, (), parameters) as node:
        while "ready (lite, compiled" not in log.read_text():
            if node.poll() is not None:
                raise RuntimeError(f"the node ended:\n{log.read_text()}")
            time.sleep(0.01)
        return 1000 * (time.monotonic() - begin_s)
