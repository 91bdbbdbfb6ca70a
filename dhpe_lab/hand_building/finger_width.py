"""Width of photographed fingers over those of the hand model.

The model is fitted to labelled photographs by their joints alone; across each phalanx that stands
free, the width of the photograph's mask is divided by that of the mesh. The measurement behind
``anny_hands.FINGER_WIDTH``: ``python -m dhpe_lab.hand_building.finger_width --real FOLDER``
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch

from dhpe_lab.datasets.real_hands import load_real_hands
from dhpe_lab.datasets.samples import Sample
from dhpe_lab.synthesis.photo_fits import fit_labels, square
from dhpe_ros.geometry.crop import crop_image
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.pose_prior import TIP_ORDER
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.system.programs import run_program

SIZE = 256  # pixels of a fit's square
_FINGERS = {finger: 1 + 4 * k for k, finger in enumerate(TIP_ORDER)}  # first of its four pivots
_PLACES = {  # where a finger is measured: first and last pivot of the direction, part of the way
    "proximal": (0, 1, 0.7),
    "PIP": (0, 2, None),
    "middle": (1, 2, 0.5),
    "DIP": (1, 3, None),
    "distal": (2, 3, 0.5),
}
_GOOD_FIT = 0.03
_FORESHORTENED = 0.8  # of its length, below which a phalanx is not measured
_SHORTEST_PX = 8
_WIDEST_PX = 19  # beyond which, on either side, it is no single finger
_STEP_PX = 0.25
_FEWEST = 15


def finger_widths(
    samples: Sequence[Sample], projection: Projection
) -> dict[tuple[str, str], np.ndarray]:
    """Widths of masks over widths of meshes for each ``(finger, place)``; samples need masks."""
    parameters, errors = fit_labels(samples, projection)
    with torch.no_grad():
        hands = projection(parameters)
        meshes = projection.silhouette(hands, SIZE).numpy()
        pivots = projection.hand_model.pivots(hands.vertices).numpy()
    ratios = defaultdict(list)
    for sample, error, mesh, points in zip(samples, errors, meshes, pivots, strict=True):
        if error > _GOOD_FIT:
            continue
        opaque = np.repeat(sample.opacity[..., None], 3, axis=2)
        mask = crop_image(opaque, square(sample), not sample.right, SIZE).image[..., 0] / 255
        for finger, first in _FINGERS.items():
            for place, (start, stop, share) in _PLACES.items():
                line = points[first + start], points[first + stop]
                middle = points[first + start + 1] if share is None else None
                widths = _widths((mesh, mask.astype(np.float32)), *line, middle, share)
                if widths is not None:
                    ratios[finger, place].append(widths[1] / widths[0])
    return {key: np.array(values) for key, values in ratios.items()}


def _widths(
    masks: Sequence[np.ndarray],
    start: np.ndarray,
    stop: np.ndarray,
    middle: np.ndarray | None,
    share: float | None,
) -> list[float] | None:
    """Width of each mask across the line at ``middle``, or at ``share`` of it; None: not free."""
    step = (stop - start) * (SIZE / 2)
    length = np.linalg.norm(step[:2])
    if length < max(_SHORTEST_PX, _FORESHORTENED * np.linalg.norm(step)):
        return None
    at = middle[:2] if share is None else (start + share * (stop - start))[:2]
    across = np.array((-step[1], step[0])) / length
    widths = [_width(mask, (at + 1) * (SIZE / 2) - 0.5, across) for mask in masks]
    return widths if all(widths) else None


def _width(mask: np.ndarray, centre: np.ndarray, across: np.ndarray) -> float | None:
    """Pixels from rim to rim through ``centre``; None where that is outside, or no rim near."""
    away = np.arange(0, _WIDEST_PX, _STEP_PX)
    total = 0.0
    for side in (across, -across):
        x, y = (centre + away[:, None] * side).T.astype(np.float32)
        level = cv2.remap(mask, x, y, cv2.INTER_LINEAR)[:, 0]
        out = int(np.argmax(level < 0.5))
        if out == 0:
            return None
        total += away[out] - _STEP_PX * (0.5 - level[out]) / (level[out - 1] - level[out])
    return total


def main() -> None:
    parser = argparse.ArgumentParser(description="Compare the width of fingers with photographs.")
    parser.add_argument("--real", type=Path, required=True, help="folder of labelled photographs")
    parser.add_argument("--count", type=int, default=400, help="photographs of each source")
    parser.add_argument("--hand-model", default="", help="the open hand if not given")
    options = parser.parse_args()
    projection = Projection(HandModel(options.hand_model or hand_model_path())).eval()
    sources = defaultdict(list)
    for sample in load_real_hands(options.real, "train"):
        if sample.opacity is not None:
            sources[sample.source].append(sample)
    for source, samples in sources.items():
        chosen = np.random.default_rng(0).permutation(len(samples))[: options.count]
        print(f"{source}: width of masks over width of meshes, median (phalanges)")
        found = finger_widths([samples[i] for i in chosen], projection)
        for finger in _FINGERS:
            row = [(place, found.get((finger, place), [])) for place in _PLACES]
            cells = [f"{p} {np.median(r):.2f} ({len(r)})" for p, r in row if len(r) >= _FEWEST]
            print(f"  {finger}: {', '.join(cells) or 'too few'}")


if __name__ == "__main__":
    run_program(main)
