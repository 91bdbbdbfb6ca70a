"""Identities of hands that pass before one another, on rendered videos.

``python -m dhpe_lab.evaluation.videos.crossings``: a left and a right hand cross in front of the
camera, at several speeds, with exact truth. An identity switch is a hand with another number than
it had when it was seen last.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from dhpe_lab.synthesis.demo_clip import CAMERA, RATE_HZ, Moment, Stage, photograph, upright
from dhpe_lab.synthesis.hand_poses import make_plausible, rotation_from_axis_angle, sample_angles
from dhpe_ros.config import Config
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.system.programs import run_program
from dhpe_ros.tracking.tracker import HandTracker

SPEEDS_M_S = (0.2, 0.35, 0.6)  # of each hand, towards the other
SIDES = ("right", "left")  # of the one behind and of the one before it
_AWAY_M = (0.60, 0.48)  # of the same
_HALF_M = 0.17  # from the middle, where they begin and end
_NEAR = 0.5  # of the hand's size: a hand found nearer to a true one is that one
_HIDDEN = 0.6  # of the hand's size: nearer, the one behind is not to be seen


@dataclass(frozen=True)
class Crossing:
    """Counts of a video."""

    frames: int
    true_hands: int  # that could be seen
    found: int  # of these
    switches: int
    kept: bool  # both ended with the number that they began with
    others: int  # hands where there is none


def frames(seed: int, speed_m_s: float) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
    """Images ``(480, 640, 3)`` and the joints ``(21, 3)`` of both hands, the one behind first."""
    rng = np.random.default_rng(seed)
    stages = [Stage(seed + k, tone=rng.uniform(0.1, 0.9)) for k in range(2)]
    poses = make_plausible(sample_angles(rng, 2))
    turns = [rotation_from_axis_angle(rng.uniform(-0.3, 0.3, 3)) @ upright() for _ in stages]
    count = round(2 * _HALF_M / speed_m_s * RATE_HZ)
    for index in range(count + 1):
        way_m = 2 * _HALF_M * index / count - _HALF_M
        layers = []
        for k, (stage, away_m) in enumerate(zip(stages, _AWAY_M, strict=True)):
            # Drawn as right hands, the second then mirrored: both move to the right before that.
            place = np.array((way_m * away_m / _AWAY_M[0], 0.02, away_m))
            layer = stage.layer(Moment(poses[k], turns[k], place))
            layers.append(layer.mirrored() if SIDES[k] == "left" else layer)
        image = photograph(layers, stages[0].background, rng)
        yield image, [layer.joints_m for layer in layers]


def count(pipeline: HandPipeline, seed: int, speed_m_s: float) -> Crossing:
    """Follow one crossing."""
    tracker, numbers, began = HandTracker(pipeline), {}, {}
    images = true_hands = found = switches = others = 0
    for index, (image, joints_m) in enumerate(frames(seed, speed_m_s)):
        hands = tracker.process(image, CAMERA, time_s=index / RATE_HZ)
        truths = [CAMERA.project(joints) for joints in joints_m]
        visible = [k for k in (0, 1) if k == 1 or _apart(truths[0], truths[1]) > _HIDDEN]
        images, true_hands = images + 1, true_hands + len(visible)
        for hand in hands:
            near = [k for k in visible if _apart(truths[k], hand.joints_px) < _NEAR]
            if not near:
                others += 1
                continue
            truth = min(near, key=lambda k: _apart(truths[k], hand.joints_px))
            found += 1
            switches += numbers.setdefault(truth, hand.track_id) != hand.track_id
            numbers[truth] = hand.track_id
            began.setdefault(truth, hand.track_id)
    return Crossing(images, true_hands, found, switches, numbers == began, others)


def _apart(truth_px: np.ndarray, joints_px: np.ndarray) -> float:
    """Mean distance of the joints, in sizes of the true hand."""
    size = np.ptp(truth_px, axis=0).max()
    return float(np.linalg.norm(joints_px - truth_px, axis=1).mean() / size)


def main() -> None:
    parser = argparse.ArgumentParser(description="Count identity switches of crossing hands.")
    parser.add_argument("--seeds", type=int, nargs="+", default=range(1, 9))
    parser.add_argument("--speeds", type=float, nargs="+", default=SPEEDS_M_S, help="metres/s")
    options = parser.parse_args()
    pipeline = HandPipeline(Config())
    print("seed  speed  frames  seen  found  switches  kept  others")
    for seed in options.seeds:
        for speed in options.speeds:
            c = count(pipeline, seed, speed)
            print(
                f"{seed:4d}  {speed:5.2f}  {c.frames:6d}  {c.true_hands:4d}  {c.found:5d}  "
                f"{c.switches:8d}  {'yes' if c.kept else 'no':>4s}  {c.others:6d}",
                flush=True,
            )


if __name__ == "__main__":
    run_program(main)
