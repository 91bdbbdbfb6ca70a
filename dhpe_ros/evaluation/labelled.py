"""The whole pipeline on labelled pictures: 2D error of the mesh's joints, in percent of the hand.

``python -m dhpe_ros.evaluation.labelled --real FOLDER --set signs`` (or ``wild``, or ``clip``, a
video with a ``labels.json`` beside it). The folder format is that of ``docs/training.md``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dhpe_ros.config import Config
from dhpe_ros.media import open_media
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.tracking import HandTracker
from dhpe_ros.training.real_hands import load_real_hands
from dhpe_ros.types import Box, Hand, Side, Target


@dataclass(frozen=True)
class Comparison:
    """One labelled hand and what came of it."""

    found: bool
    error_pct: (
        float  # mean 2D joint distance over the longer side of the joints' box; nan: not found
    )
    side_correct: bool


def compare(hand: Hand | None, joints_px: np.ndarray, right: bool | None) -> Comparison:
    """A hand against its label ``(21, 2)``; ``right`` None where the side is not labelled."""
    if hand is None:
        return Comparison(False, float("nan"), False)
    box = Box.around(joints_px)
    length = max(box.width, box.height)
    error = np.linalg.norm(hand.joints_px - joints_px, axis=1).mean()
    side_correct = right is None or (hand.side is Side.RIGHT) == right
    return Comparison(True, 100 * error / length, side_correct)


def pictures(
    pipeline: HandPipeline, real: Path, name: str, label_boxes: bool
) -> Iterator[Comparison]:
    """The ``val`` hands of ``signs`` or ``wild``: searched for, or in the label's box."""
    both = load_real_hands(real, "val")
    samples = [sample for sample in both if (sample.source == "signs") == (name == "signs")]
    for sample in tqdm(samples, unit="hand"):
        targets = None
        if label_boxes:
            square = Box.around(sample.joints_px).squared(pipeline.config.tracking.crop_scale)
            targets = [Target(square, Side.RIGHT if sample.right else Side.LEFT)]
        hands = pipeline.estimate(sample.image, targets=targets)
        yield compare(hands[0] if hands else None, sample.joints_px, sample.right)


def clip(pipeline: HandPipeline, video: Path) -> Iterator[Comparison]:
    """A video whose ``labels.json`` lists the hands of every frame; the first one counts."""
    labels = json.loads((video.parent / "labels.json").read_text())[video.name]
    tracker = HandTracker(pipeline)
    frames = tqdm(open_media(video).frames(), total=len(labels), unit="frame")
    for frame, hands in zip(frames, labels, strict=False):
        found = tracker.process(frame.image)
        if hands:
            joints = np.asarray(hands[0]["joints_px"], np.float32)
            yield compare(found[0] if found else None, joints, hands[0]["side"] == "right")


def summary(comparisons: Iterable[Comparison]) -> dict[str, float]:
    """Means over the hands; the errors over those that were found."""
    rows = list(comparisons)
    errors = np.array([row.error_pct for row in rows if row.found])
    return {
        "n": len(rows),
        "found_pct": 100 * float(np.mean([row.found for row in rows])),
        "err2d_pct": float(errors.mean()) if len(errors) else float("nan"),
        "err2d_median_pct": float(np.median(errors)) if len(errors) else float("nan"),
        "side_correct_pct": 100 * float(np.mean([row.side_correct for row in rows])),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="The pipeline's 2D error on labelled pictures.")
    parser.add_argument("--real", type=Path, required=True, help="folder of labelled photographs")
    parser.add_argument("--set", choices=("signs", "wild", "clip"), required=True)
    parser.add_argument("--clip", type=Path, help="video with a labels.json beside it")
    parser.add_argument("--weights", default="", help="safetensors; those that ship if not given")
    parser.add_argument("--refine", type=int, default=50, help="refinement steps")
    parser.add_argument("--label-boxes", action="store_true", help="do not search for the hand")
    options = parser.parse_args()
    settings = {"model.weights": options.weights, "refinement.steps": options.refine}
    pipeline = HandPipeline(Config().replace(settings))
    if options.set == "clip":
        video = options.clip or next((options.real / "scenes").glob("*.mp4"))
        rows = clip(pipeline, video)
    else:
        rows = pictures(pipeline, options.real, options.set, options.label_boxes)
    print(json.dumps({"set": options.set, **vars(options), **summary(rows)}, indent=1, default=str))


if __name__ == "__main__":
    main()
