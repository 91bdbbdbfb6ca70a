"""Recall and precision of the localiser on whole pictures, with hands and without.

``python -m dhpe_lab.evaluation.localisation --real FOLDER`` or ``--empty FOLDER``
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from dhpe_lab.training.whole_pictures import Frame, load_frames_by_set
from dhpe_ros.config import TrackingConfig
from dhpe_ros.detection.localiser import FoundHand, HandLocaliser
from dhpe_ros.media import list_folder, open_media
from dhpe_ros.networks.weights import localiser_path
from dhpe_ros.pipeline import HandPipeline
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
    localiser: HandLocaliser | WholePipeline,
    frames: Sequence[Sequence[Frame]],
    min_score: float | None = None,
) -> Localisation:
    """Search all frames; without ``min_score``, with the configuration's."""
    least = TrackingConfig().localiser_min_score if min_score is None else min_score
    found = [
        _matched(localiser.find(frame.image, least), frame) for frame in chain.from_iterable(frames)
    ]
    right = sum(matched for matched, _ in found)
    boxes = sum(count for _, count in found)
    hands = sum(len(frame.hands) for frame in chain.from_iterable(frames))
    return Localisation(len(found), hands, right, boxes - right)


def _matched(found: Sequence[FoundHand], frame: Frame) -> tuple[int, int]:
    """Boxes that lie on a hand, the surest first, each hand once; and all boxes."""
    free = [Box.around(joints) for joints in frame.hands]
    right = 0
    for hand in found:
        best = max(free, key=hand.box.overlap, default=None)
        if best is not None and hand.box.overlap(best) >= ENOUGH_OVERLAP:
            free.remove(best)
            right += 1
    return right, len(found)


def false_alarms(
    localiser: HandLocaliser | WholePipeline, files: Sequence[Path], min_score: float
) -> list[Path]:
    """Pictures without hands in which some are found. Errors as of ``open_media``."""
    pictures = ((file, frame.image) for file in files for frame in open_media(file).frames())
    return [file for file, image in pictures if localiser.find(image, min_score)]


class WholePipeline:
    """The pipeline as a localiser: boxes about the joints of its final meshes."""

    def __init__(self) -> None:
        self._pipeline = HandPipeline()

    def find(self, image: np.ndarray, min_score: float) -> list[FoundHand]:
        """``min_score`` is the localiser's; that of the joints is the configuration's."""
        pipeline = self._pipeline
        pipeline.configure(pipeline.config.replace({"tracking.localiser_min_score": min_score}))
        return [FoundHand(Box.around(h.joints_px), h.score) for h in pipeline.estimate(image)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Precision and recall of the hand localiser.")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--real", type=Path, help="folder that holds frames/")
    what.add_argument("--empty", type=Path, help="folder of pictures without hands")
    parser.add_argument("--split", default="val", choices=("train", "val"))
    way = parser.add_mutually_exclusive_group()
    way.add_argument("--weights", type=Path, help="those that ship, if not given")
    way.add_argument("--pipeline", action="store_true", help="measure the hands it leads to")
    options = parser.parse_args()
    path = options.weights or localiser_path()
    by_itself = not options.pipeline
    localiser = HandLocaliser.load(path, torch.device("cpu")) if by_itself else WholePipeline()
    if options.empty:
        files = list_folder(options.empty)
        for score in SCORES:
            wrong = false_alarms(localiser, files, score)
            print(f"score {score}: hands in {len(wrong)} of {len(files)} pictures", *wrong)
        return
    frames = load_frames_by_set(options.real, options.split)
    for score in SCORES:
        print(f"score {score}: {localise(localiser, frames, score)}")


if __name__ == "__main__":
    run_program(main)
