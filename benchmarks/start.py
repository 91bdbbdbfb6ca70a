"""The node's start on OpenVINO with the lite profile: until its log says ``ready``."""

from __future__ import annotations

import os
import statistics
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
        starts = [_start_ms(Path(name) / "node.log") for _ in range(STARTS)]
    return {METRICS[0].name: statistics.median(starts)}


def _start_ms(log: Path) -> float:
    from dhpe_ros.ros.demo.node_process import node_process

    os.environ.update(OWN_DOMAIN)
    begin_s = time.monotonic()
    with node_process(log, (), ["model.device:=cpu"]) as node:
        while "ready (lite, openvino" not in log.read_text():
            if node.poll() is not None:
                raise RuntimeError(f"the node ended:\n{log.read_text()}")
            time.sleep(0.01)
        return 1000 * (time.monotonic() - begin_s)
