"""The node's start on OpenVINO with the lite profile, and what it holds: until it is ready.

The first start is that after an installation: its kernels are compiled, nothing else is kept.
"""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

from node import OWN_DOMAIN, cpu_s, memory_mb
from timing import Metric

METRICS = tuple(
    Metric(f"node.{name}", unit, "lower", per_device=False)
    for name, unit in (
        ("start_ms", "ms"),
        ("start_cpu_ms", "ms"),
        ("first_start_cpu_ms", "ms"),
        ("compile_kernels_cpu_ms", "ms"),
        ("resident_mb", "MB"),
        ("import_cpu_ms", "ms"),
    )
)
STARTS = 5
_IMPORT = "import time; import dhpe_ros.pipeline; print(1000 * time.process_time())"


def measure(device: str) -> dict[str, float]:
    """Metric name -> value, medians. On a CPU: a GPU may have no engine."""
    if device != "cpu":
        return {}
    imports = [
        float(subprocess.run([sys.executable, "-c", _IMPORT], text=True, stdout=-1).stdout)
        for _ in range(STARTS)
    ]
    values = {"node.import_cpu_ms": statistics.median(imports)}
    if not (find_spec("rclpy") and find_spec("dhpe_ros.msg")):
        return values
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        empty = {"NUMBA_CACHE_DIR": f"{folder}/kernels", "XDG_CACHE_HOME": f"{folder}/cache"}
        compile_ms = _compile_kernels(empty)
        first = _start(folder / "first.log", empty)
        starts = [_start(folder / "node.log", {}) for _ in range(STARTS)]
    wall_ms, cpu_ms, resident_mb = map(statistics.median, zip(*starts, strict=True))
    return values | {
        "node.start_ms": wall_ms,
        "node.start_cpu_ms": cpu_ms,
        "node.first_start_cpu_ms": first[1],
        "node.compile_kernels_cpu_ms": compile_ms,
        "node.resident_mb": resident_mb,
    }


def _compile_kernels(environment: dict[str, str]) -> float:
    """Processor milliseconds of what an installation does, as CMakeLists.txt has it."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    command = [sys.executable, "-m", "dhpe_ros.cli.compile_kernels"]
    subprocess.run(command, check=True, env={**os.environ, **environment})
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)


def _start(log: Path, environment: dict[str, str]) -> tuple[float, float, float]:
    """Wall and processor milliseconds until the node is ready, and megabytes that it holds then."""
    from dhpe_ros.ros.demo.node_process import node_process

    os.environ.update(OWN_DOMAIN | environment)
    begin_s = time.monotonic()
    try:
        with node_process(log, (), ["model.device:=cpu"]) as node:
            while "ready (lite, openvino" not in log.read_text():
                if node.poll() is not None:
                    raise RuntimeError(f"the node ended:\n{log.read_text()}")
                time.sleep(0.01)
            wall_ms = 1000 * (time.monotonic() - begin_s)
            return wall_ms, 1000 * cpu_s(node.pid), memory_mb(node.pid)
    finally:
        for name in environment:
            del os.environ[name]
