"""Weights for your own hands: ``python examples/07_finetune.py my_clip.mp4 runs/mine``.

``my_clip.mp4`` shows one hand at a time, for a minute or more; it needs no labels. Options of
``dhpe finetune`` may follow, as ``--minutes 5``.
"""

import sys
from pathlib import Path

from dhpe_ros.cli.main import main as dhpe
from dhpe_ros.config import Config
from dhpe_ros.media import open_media
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.tracking.tracker import HandTracker


def main() -> int:
    clip, output, *options = sys.argv[1:]
    code = dhpe(["finetune", clip, "--output", output, *options])
    if code != 0:  # 1: the new weights are no better, and were not written
        return code
    # The node takes them too, as its parameter model.weights.
    weights = Path(output) / "finetuned.safetensors"
    tracker = HandTracker(HandPipeline(Config().replace({"model.weights": str(weights)})))
    for frame in open_media(clip).frames():
        for hand in tracker.process(frame.image, time_s=frame.stamp_s):
            print(f"{frame.stamp_s:.2f} s: {hand.side.name}, score {hand.score:.2f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
