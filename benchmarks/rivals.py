"""A frame of 640 x 480 beside MediaPipe Hands, on the same pictures, in turn.

MediaPipe runs by the Python that ``MEDIAPIPE_PYTHON`` names, of an environment with
requirements/rivals.txt; without one its figures are missing. Wall and processor time are those of
the whole frame, picture to hands; ratios are of the same run.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import numpy as np
from timing import Metric

from dhpe_ros.config import Config
from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.media import open_media
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.tracking.tracker import HandTracker

WAYS = ("tracked", "single")
RIVALS = ("mediapipe", "tasks")
METRICS = (
    *(Metric(f"frame.{way}_{kind}", "ms", "lower") for way in WAYS for kind in ("ms", "cpu_ms")),
    *(
        Metric(f"frame.{rival}_{way}_{kind}", "ms", "lower", per_device=False)
        for rival in RIVALS
        for way in WAYS
        for kind in ("ms", "cpu_ms")
    ),
    *(
        Metric(f"frame.{way}_by_{rival}_{kind}", "x", "lower")
        for way in WAYS
        for rival in RIVALS
        for kind in ("ratio", "cpu_ratio")
    ),
    Metric("frame.two_hands_ratio", "x", "lower"),
)
FRAMES, ROUNDS, SETTLING = 60, 120, 5
_Times = dict[str, list[tuple[float, float]]]  # of each way: wall and processor ms


def measure(device: str) -> dict[str, float]:
    """Metric name -> value, medians."""
    frames = np.stack([f.image for f in islice(open_media(DEMO_CLIP).frames(), FRAMES)])
    settings = {"model.device": device, "tracking.search_rate": 0.0}
    pipeline = HandPipeline(Config().replace(settings))
    pipeline.warm_up()
    pair = np.stack([beside(frame, frame) for frame in frames])
    alone = np.stack([beside(frame, np.full_like(frame, 127)) for frame in frames])
    one, two, ours = (HandTracker(pipeline) for _ in range(3))
    calls: dict[str, Callable[[int], object]] = {
        "tracked": lambda k: ours.process(frames[k]),
        "single": lambda k: pipeline.estimate(frames[k]),
        "one": lambda k: one.process(alone[k]),
        "two": lambda k: two.process(pair[k]),
    }
    with tempfile.TemporaryDirectory() as folder:
        np.save(path := Path(folder) / "frames.npy", frames)
        rival = _Rival(path) if "MEDIAPIPE_PYTHON" in os.environ and device == "cpu" else None
        times: _Times = defaultdict(list)
        back_and_forth = [*range(FRAMES), *reversed(range(FRAMES))]
        for turn in range(ROUNDS + SETTLING):
            k = back_and_forth[turn % len(back_and_forth)]
            now = {way: timed(call, k) for way, call in calls.items()}
            if rival:
                now |= {f"mediapipe_{way}": rival.ask(way, k) for way in WAYS}
                now |= {f"tasks_{way}": rival.ask(f"tasks_{way}", k) for way in WAYS}
            if turn >= SETTLING:
                for way, passed in now.items():
                    times[way].append(passed)
        if rival:
            rival.close()
    return _figures(times)


def beside(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """One picture of their size, both in half of it."""
    half = [np.ascontiguousarray(image[::2, ::2]) for image in (left, right)]
    both = np.full_like(left, 127)
    height, width = half[0].shape[:2]
    both[:height, :width], both[height // 2 : height // 2 + height, width : 2 * width] = half
    return both


def timed(call: Callable[[int], object], k: int) -> tuple[float, float]:
    """Wall and processor milliseconds of a call."""
    wall_s, processor_s = time.perf_counter(), time.process_time()
    call(k)
    passed = time.perf_counter() - wall_s, time.process_time() - processor_s
    return 1000 * passed[0], 1000 * passed[1]


def _figures(times: _Times) -> dict[str, float]:
    values = {}
    for way, passed in times.items():
        for kind, column in zip(("ms", "cpu_ms"), zip(*passed, strict=True), strict=True):
            values[f"frame.{way}_{kind}"] = statistics.median(column)
    for kind, ratio in (("ms", "ratio"), ("cpu_ms", "cpu_ratio")):
        for rival in RIVALS:
            for way in WAYS:
                if f"{rival}_{way}" in times:
                    other = values[f"frame.{rival}_{way}_{kind}"]
                    values[f"frame.{way}_by_{rival}_{ratio}"] = (
                        values[f"frame.{way}_{kind}"] / other
                    )
    two, one = values.pop("frame.two_ms"), values.pop("frame.one_ms")
    return values | {"frame.two_hands_ratio": two / one}


class _Rival:
    """The process of MediaPipe."""

    def __init__(self, frames: Path) -> None:
        script = Path(__file__).with_name("mediapipe_server.py")
        words = [os.environ["MEDIAPIPE_PYTHON"], str(script), str(frames)]
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "LD_LIBRARY"))}
        self._process = subprocess.Popen(
            words, text=True, env=kept,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        self._read()

    def ask(self, way: str, k: int) -> tuple[float, float]:
        assert self._process.stdin
        print(way, k, file=self._process.stdin, flush=True)
        wall, processor = map(float, self._read().split())
        return wall, processor

    def close(self) -> None:
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(
                "MediaPipe's process ended: try $MEDIAPIPE_PYTHON -c 'import mediapipe'; "
                "requirements/rivals.txt says what it needs"
            )
        return line
