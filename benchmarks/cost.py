"""Cost of a frame with hands, picture size and threads: python benchmarks/cost.py

Writes docs/images/cost.svg, medians of processor and wall time of followed hands on the CPU.
"""

from __future__ import annotations

import statistics
from itertools import islice
from pathlib import Path

import cv2
import matplotlib
import numpy as np
from rivals import timed

from dhpe_ros.config import Config
from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.media import open_media
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.tracking.tracker import HandTracker

OUT = Path(__file__).resolve().parents[1] / "docs" / "images" / "cost.svg"
HANDS, THREADS = (1, 2, 4), (1, 2)
SIZES = ((640, 480), (1280, 720), (1920, 1080), (3840, 2160))
FRAMES, SETTLING = 30, 6


def main() -> None:
    matplotlib.use("svg")
    import matplotlib.pyplot as plt

    frames = [frame.image for frame in islice(open_media(DEMO_CLIP).frames(), FRAMES)]
    settings = {"model.device": "cpu", "tracking.search_rate": 0.0, "tracking.max_hands": 4}
    rows = {}
    for threads in THREADS:
        pipeline = HandPipeline(Config().replace(settings | {"model.threads": threads}))
        pipeline.warm_up()
        if threads == THREADS[-1]:
            rows["hands"] = {n: _cost(pipeline, [_quarters(f, n) for f in frames]) for n in HANDS}
            rows["picture"] = {
                f"{w} x {h}": _cost(pipeline, [cv2.resize(f, (w, h)) for f in frames])
                for w, h in SIZES
            }
        rows.setdefault("threads", {})[threads] = _cost(pipeline, frames)
    figure, axes = plt.subplots(1, 3, figsize=(9, 2.8), sharey=True, layout="constrained")
    for axis, (title, costs) in zip(axes, rows.items(), strict=True):
        names = [str(name) for name in costs]
        for kind, values in zip(
            ("wall", "processor"), zip(*costs.values(), strict=True), strict=True
        ):
            axis.plot(names, values, "o-", label=kind)
            print(title, kind, *(f"{n}: {v:.1f} ms" for n, v in zip(names, values, strict=True)))
        axis.set_xlabel(title)
        axis.tick_params(axis="x", labelrotation=20 if title == "picture" else 0)
    axes[0].set_ylabel("ms a frame")
    axes[0].set_ylim(0)
    axes[0].legend()
    figure.savefig(OUT, metadata={"Date": None})


def _quarters(frame: np.ndarray, hands: int) -> np.ndarray:
    """The frame so often, each in a quarter of the picture."""
    height, width = frame.shape[0] // 2, frame.shape[1] // 2
    small, both = cv2.resize(frame, (width, height)), np.full_like(frame, 127)
    for k in range(hands):
        row, column = divmod(k, 2)
        both[row * height : (row + 1) * height, column * width : (column + 1) * width] = small
    return both


def _cost(pipeline: HandPipeline, frames: list[np.ndarray]) -> tuple[float, ...]:
    """Median wall and processor milliseconds."""
    tracker = HandTracker(pipeline)
    times = [timed(lambda k: tracker.process(frames[k]), k) for k in range(len(frames))]
    return tuple(statistics.median(column) for column in zip(*times[SETTLING:], strict=True))


if __name__ == "__main__":
    main()
