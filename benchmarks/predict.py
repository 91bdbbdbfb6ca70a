"""Pictures that ``dhpe predict`` does in a second, by one process and by two, without overlays."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from itertools import islice
from pathlib import Path

import cv2
from timing import Metric

from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.media import open_media

METRICS = (
    Metric("predict.pictures_per_s", "images/s", "higher", per_device=False),
    Metric("predict.two_processes_ratio", "x", "higher", per_device=False),
    Metric("predict.cpu_per_picture_ms", "ms", "lower", per_device=False),
)
SIZE = 640, 480
FEW, MANY = 30, 330  # pictures; the difference of both runs is without the start
ROOT = Path(__file__).resolve().parents[1]


def measure(device: str) -> dict[str, float]:
    """Metric name -> value: rate of two processes, its ratio to one's, and CPU time by two."""
    if device != "cpu" or len(os.sched_getaffinity(0)) < 2:
        return {}
    with tempfile.TemporaryDirectory() as name:
        folders = [Path(name) / "few", Path(name) / "many"]
        for folder, count in zip(folders, (FEW, MANY), strict=True):
            _write_pictures(folder, count)
        spent = {jobs: [_seconds(folder, jobs) for folder in folders] for jobs in (1, 2)}
    pictures = MANY - FEW
    rates = {jobs: pictures / (many[0] - few[0]) for jobs, (few, many) in spent.items()}
    few, many = spent[2]
    values = rates[2], rates[2] / rates[1], 1000 * (many[1] - few[1]) / pictures
    return {metric.name: value for metric, value in zip(METRICS, values, strict=True)}


def _write_pictures(folder: Path, count: int) -> None:
    """One hand each: frames of the clip that ships, again and again."""
    folder.mkdir()
    frames = [frame.image for frame in islice(open_media(DEMO_CLIP).frames(), 30)]
    for k in range(count):
        image = cv2.resize(frames[k % len(frames)], SIZE, interpolation=cv2.INTER_AREA)
        cv2.imwrite(str(folder / f"{k}.jpg"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def _seconds(folder: Path, jobs: int) -> tuple[float, float]:
    """Wall time, and CPU time of all processes, of one run."""
    # Each process computes in one thread, also the one that is alone.
    (settings := folder.with_suffix(".yaml")).write_text("model: {threads: 1, device: cpu}\n")
    words = [sys.executable, "-m", "dhpe_ros.cli", "predict", str(folder), "--jobs", str(jobs)]
    words += ["--output", f"{folder}_{jobs}", "--no-overlay", "--mesh", "none"]
    words += ["--config", str(settings)]
    cpu_s, begin_s = sum(os.times()[2:4]), time.monotonic()
    subprocess.run(
        words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    return time.monotonic() - begin_s, sum(os.times()[2:4]) - cpu_s
