"""Recall and precision of the localiser on whole pictures, by itself.

``python -m dhpe_lab.evaluation.localisation --real FOLDER``; the hands that the pipeline makes of
its boxes are measured by ``dhpe evaluate --set frames``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import torch

from dhpe_lab.training.whole_pictures import Frame, load_frames_by_set
from dhpe_ros.config import TrackingConfig
from dhpe_ros.detection.localiser import HandLocaliser
from dhpe_ros.networks.weights import localiser_path
from dhpe_ros.system.programs import run_program
from dhpe_ros.types import Box

SCORES = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4)
ENOUGH_OVERLAP = 0.5  # intersection over union with the box about the label's joints


@dataclass(frozen=True)
class Localisation:
    """Counts of labelled and found hands."""

    frames: int
    hands: int  # labelled
    right: int  # boxes that lie on a labelled hand, each on another one
    wrong: int  # the others

    @property
    def precision(self) -> float:
        return self.right / max(self.right + self.wrong, 1)

    @property
    def recall(self) -> float:
        return self.right / max(self.hands, 1)

    def __str__(self) -> str:
        return (
            f"precision {self.precision:.3f}, recall {self.recall:.3f}: {self.hands} hands in "
            f"{self.frames} pictures, {self.right} found, {self.wrong} boxes beside them"
        )


def localise(
    localiser: HandLocaliser,
    frames: Sequence[Sequence[Frame]],
    min_score: float = TrackingConfig().localiser_min_score,
) -> Localisation:
    """Search all frames; the surest box on a hand is right, each hand once."""
    every = list(chain.from_iterable(frames))
    right = boxes = 0
    for frame in every:
        free = [Box.around(joints) for joints in frame.hands]
        for hand in localiser.find(frame.image, min_score):
            boxes += 1
            best = max(free, key=hand.box.overlap, default=None)
            if best is not None and hand.box.overlap(best) >= ENOUGH_OVERLAP:
                free.remove(best)
                right += 1
    return Localisation(len(every), sum(len(f.hands) for f in every), right, boxes - right)


def main() -> None:
    parser = argparse.ArgumentParser(description="Precision and recall of the hand localiser.")
    parser.add_argument("--real", type=Path, required=True, help="folder that holds frames/")
    parser.add_argument("--split", default="val", choices=("train", "val"))
    parser.add_argument("--weights", type=Path, default=localiser_path(), help="(%(default)s)")
    options = parser.parse_args()
    localiser = HandLocaliser.load(options.weights, torch.device("cpu"))
    frames = load_frames_by_set(options.real, options.split)
    for score in SCORES:
        print(f"score {score}: {localise(localiser, frames, score)}")


if __name__ == "__main__":
    run_program(main)
