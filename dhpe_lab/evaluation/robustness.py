"""Errors with boxes that are off, and with hands turned in the picture.

``python -m dhpe_lab.evaluation.robustness --real FOLDER``: held-back photographs, as they are, in
boxes up to 20 % too small, too large and beside the hand, and turned around the whole circle.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from tqdm import tqdm

from dhpe_lab.datasets.labelled_hand import LabelledHand
from dhpe_lab.evaluation.labelled import LabelledSet, open_labelled
from dhpe_lab.evaluation.predict import predict
from dhpe_lab.evaluation.score import score, summary
from dhpe_ros.config import Config, TrackingConfig
from dhpe_ros.detection.search import joints_box
from dhpe_ros.geometry.crop import OUTSIDE
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.system.programs import run_program
from dhpe_ros.types import Box

JITTER = 0.2  # of the box's side
TURNS_DEG = tuple(range(45, 360, 45))
_COLUMNS = ("n", "found_pct", "side_pct", "err2d_pct", "err2d_median_pct", "pck10")


@dataclass(frozen=True)
class DisturbedSet(LabelledSet):
    """The hands of a set in other boxes, or turned; masks and 3D labels are left out."""

    jitter: float = 0.0  # of the box's side: how much too large or small, and how far beside
    turn_deg: float = 0.0  # anticlockwise

    def pictures(self) -> Iterator[tuple[LabelledHand, np.ndarray]]:
        for index, (hand, image) in enumerate(super().pictures()):
            plain = replace(hand, mask_file=None, mesh_file=None, joints_m=None)
            turned, picture = _turned(plain, image, self.turn_deg)
            yield self._boxed(turned, np.random.default_rng(index)), picture

    def _boxed(self, hand: LabelledHand, rng: np.random.Generator) -> LabelledHand:
        box = joints_box(hand.joints_px[hand.known], TrackingConfig())
        scale, right, down = rng.uniform(-self.jitter, self.jitter, 3)
        moved = Box(box.x + right * box.width, box.y + down * box.width, box.width, box.width)
        return replace(hand, box=moved.squared(1 + scale))


def _turned(
    hand: LabelledHand, image: np.ndarray, degrees: float
) -> tuple[LabelledHand, np.ndarray]:
    """About the middle of the joints, on a canvas that holds all of the picture."""
    if not degrees:
        return hand, image
    height, width = image.shape[:2]
    low, high = np.nanmin(hand.joints_px, 0), np.nanmax(hand.joints_px, 0)
    matrix = cv2.getRotationMatrix2D(tuple((low + high) / 2), degrees, 1.0)
    corners = np.array(((0, 0), (width, 0), (0, height), (width, height)), float) - 0.5
    corners = corners @ matrix[:, :2].T + matrix[:, 2]
    matrix[:, 2] -= np.floor(corners.min(0))
    size = np.ceil(np.ptp(corners, axis=0)).astype(int) + 1
    picture = cv2.warpAffine(image, matrix, size.tolist(), borderValue=(OUTSIDE,) * 3)
    return replace(hand, joints_px=hand.joints_px @ matrix[:, :2].T + matrix[:, 2]), picture


def disturbed(labelled: LabelledSet) -> dict[str, DisturbedSet]:
    """Change of the hands -> the set."""
    same = labelled.name, labelled.hands
    return {
        "as they are": DisturbedSet(*same),
        f"boxes {100 * JITTER:.0f} % off": DisturbedSet(*same, jitter=JITTER),
        **{f"turned by {turn}": DisturbedSet(*same, turn_deg=turn) for turn in TURNS_DEG},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure hands in other boxes, and turned.")
    parser.add_argument("--real", type=Path, required=True, help="folder of labelled photographs")
    parser.add_argument("--set", nargs="+", default=["signs", "wild"], help="folders in it")
    parser.add_argument("--profile", default="lite", choices=("lite", "full"))
    parser.add_argument("--limit", type=int, default=100, help="hands of each set (%(default)s)")
    options = parser.parse_args()
    pipeline = HandPipeline(Config().replace({"model.profile": options.profile}))
    for name in options.set:
        labelled = open_labelled(options.real / name, name).part(options.limit, seed=0)
        print("\n" + name.ljust(16) + "".join(column.rjust(18) for column in _COLUMNS))
        for what, some in disturbed(labelled).items():
            seen = tqdm(predict(pipeline, some), what, len(some.hands), leave=False, unit="hand")
            figures = summary([score(one) for one in seen])
            print(what.ljust(16) + "".join(str(figures[c]).rjust(18) for c in _COLUMNS), flush=True)


if __name__ == "__main__":
    run_program(main)
