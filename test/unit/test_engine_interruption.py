"""Builds that are interrupted leave neither compilers nor files behind."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import subprocess
from dhpe_ros.engines.interruption import children_end_too
with children_end_too():
    subprocess.run(["sh", "-c", "sleep 600 & echo $! > started; wait"])
"""


def started(folder, *command):
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH")))),
        "TMPDIR": str(folder),
    }
    environment.pop("TORCHINDUCTOR_CACHE_DIR", None)
    return subprocess.Popen(
        [sys.executable, *command],
        cwd=folder,
        env=environment,
        # Tests that run in the background of a shell ignore SIGINT, and would hand that on.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def until(found, process):
    while not (result := found()):
        assert process.poll() is None
        time.sleep(0.05)
    return result


def of(folder):
    """The processes that run in a folder."""
    running = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if Path(os.readlink(process / "cwd")).is_relative_to(folder):
                running.append((process / "cmdline").read_text().split("\0")[0])
        except OSError:  # it ended, or is somebody else's
            continue
    return running


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_processes_below_end_with_the_one_that_is_interrupted(tmp_path, sent):
    process = started(tmp_path, "-c", PROGRAM)
    until(lambda: (tmp_path / "started").is_file() and "sleep" in of(tmp_path), process)
    process.send_signal(sent)
    assert process.wait() != 0
    assert of(tmp_path) == []


def test_an_export_that_is_interrupted_leaves_nothing_behind(tmp_path):
    options = ("--profile", "lite", "--backend", "aoti", "--precision", "fp32", "--device", "cpu")
    process = started(tmp_path, "-m", "dhpe_ros.cli", "export", *options, "--output", "engines")
    until(lambda: any("cc1plus" in name for name in of(tmp_path)), process)
    process.send_signal(signal.SIGTERM)
    assert process.wait() == 130
    assert of(tmp_path) == []
    assert [path.name for path in tmp_path.rglob("*")] == ["engines"]
