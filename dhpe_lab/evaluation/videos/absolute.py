"""Errors in the camera's frame, by the source of the hand's size, on rendered videos.

``python -m dhpe_lab.evaluation.videos.absolute``: hands that move at random, with exact truth. The
error is that of the root (the middle finger's base) in absolute position, in millimetres.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from dhpe_lab.evaluation.videos.sequences import SEEDS, Sequence3D, random_sequence
from dhpe_lab.synthesis.demo_clip import RATE_HZ
from dhpe_ros.config import Config, ScaleConfig
from dhpe_ros.geometry.scale import HandScales, hand_length_m
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.system.programs import run_program
from dhpe_ros.tracking.tracker import HandTracker
from dhpe_ros.types import MIDDLE_MCP, Hand

LEARN_S = 2.0
FRAMES = 45  # three seconds: two to learn in, one to be measured
WALL_M = 1.2  # behind the hand, in depth images
NOISE = 0.0025  # of depth images at one metre, standard deviation in metres; grows with the square
HOLES = 0.05  # part of their pixels without a depth

EACH_ALONE = ScaleConfig(learn_seconds=0.0)
Case = Callable[[Sequence3D], tuple[ScaleConfig, Sequence[np.ndarray | None]]]


CASES: dict[str, Case] = {
    "each picture": lambda s: (EACH_ALONE, [None] * len(s.images)),
    "learned": lambda s: (ScaleConfig(learn_seconds=LEARN_S), [None] * len(s.images)),
    "known": lambda s: (
        replace(EACH_ALONE, hand_length=round(hand_length_m(s.joints_m[0]), 3)),
        [None] * len(s.images),
    ),
    "depth": lambda s: (EACH_ALONE, depth_images(s)),
}


def depth_images(sequence: Sequence3D) -> list[np.ndarray]:
    """Depth image of the hand before a wall, with noise and holes."""
    rng, images = np.random.default_rng(0), []
    for hand_m in sequence.depths_m:
        depth_m = np.minimum(hand_m, WALL_M)
        depth_m = depth_m + rng.normal(0, NOISE, depth_m.shape) * depth_m**2
        depth_m[rng.random(depth_m.shape) < HOLES] = np.nan
        images.append(depth_m.astype(np.float32))
    return images


def follow(pipeline: HandPipeline, sequence: Sequence3D) -> list[Hand | None]:
    """The hand in each image, its size that of the image alone; None where it was not found."""
    pipeline.configure(pipeline.config.replace({"scale.learn_seconds": 0.0}))
    tracker, found = HandTracker(pipeline), []
    for index, image in enumerate(sequence.images):
        hands = tracker.process(image, sequence.camera, time_s=index / RATE_HZ)
        found.append(hands[0] if hands else None)
    return found


def root_errors_mm(
    hands: Sequence[Hand | None],
    sequence: Sequence3D,
    config: ScaleConfig,
    depths_m: Sequence[np.ndarray | None],
) -> np.ndarray:
    """The root's errors with sizes put right by that, after the time for learning."""
    scales, errors = HandScales(1.0), []  # its known lengths are those of joints
    for index, (hand, depth_m) in enumerate(zip(hands, depths_m, strict=True)):
        if hand is None:
            continue
        (hand,) = scales.applied([hand], config, depth_m, index / RATE_HZ)
        if index / RATE_HZ >= LEARN_S:
            errors.append(hand.joints_m[MIDDLE_MCP] - sequence.joints_m[index][MIDDLE_MCP])
    return 1000 * np.linalg.norm(np.reshape(errors, (-1, 3)), axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure absolute positions, by case.")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of each (default: %(default)s)")
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS, help="of the sequences")
    options = parser.parse_args()
    pipeline = HandPipeline(Config())
    print("root error, mm".ljust(15) + "".join(name.rjust(14) for name in CASES), flush=True)
    every: dict[str, list[np.ndarray]] = {name: [] for name in CASES}
    for seed in options.seeds:
        sequence = random_sequence(seed, options.frames)
        hands = follow(pipeline, sequence)
        for name, case in CASES.items():
            every[name].append(root_errors_mm(hands, sequence, *case(sequence)))
        _print_row(sequence.name, [errors[-1] for errors in every.values()])
    _print_row("mean", [np.concatenate(errors) for errors in every.values()])


def _print_row(name: str, errors: Sequence[np.ndarray]) -> None:
    print(name.ljust(15) + "".join(f"{e.mean():14.1f}" for e in errors), flush=True)


if __name__ == "__main__":
    run_program(main)
