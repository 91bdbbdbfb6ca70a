"""Calibration of ``Hand.joint_stds_m`` on rendered hands.

``python -m dhpe_lab.evaluation.uncertainty``: fits ``refinement.uncertainty.CALIBRATION`` and
``Scale.std`` to one half of the synthetic set, and measures on the other half the share
of joints whose error lies within their standard deviation. That should be 68 %.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from tqdm import tqdm

from dhpe_lab.datasets.labelled_hand import LabelledHand
from dhpe_lab.evaluation.labelled import LabelledSet
from dhpe_lab.evaluation.predict import BATCH, given_view
from dhpe_lab.evaluation.synthetic_set import open_synthetic
from dhpe_lab.evaluation.videos.absolute import HOLES, NOISE, WALL_M
from dhpe_lab.rendering.raster import rasterize
from dhpe_lab.synthesis.synthesis import batched
from dhpe_ros.config import Config
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.scale import depth_ratio, hand_length_m, scaled
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.refinement.uncertainty import CALIBRATION
from dhpe_ros.system.programs import run_program
from dhpe_ros.types import Hand, Scale

HANDS = 600
WITHIN = 0.68
_TAPE_M = 0.003  # standard deviation of a hand's length that somebody measures


@dataclass(frozen=True)
class Measured:
    """A hand as the pipeline finds it, beside its label."""

    shape_errors_m: np.ndarray  # (21,), once the hand is as far away as the true one
    hands: dict[Scale, Hand]  # by what its size rests on
    errors_m: dict[Scale, np.ndarray]  # (21,)


def measure(pipeline: HandPipeline, labelled: LabelledSet) -> Iterator[Measured]:
    """Every hand of a set that has true joints, cameras and meshes, with each source of its size.

    A learned size is left out: it is the mean of estimated ones.
    """
    rng = np.random.default_rng(0)
    for chunk in batched(labelled.pictures(), BATCH):
        results = pipeline.run([given_view(pipeline, label, image) for label, image in chunk])
        for (label, _), view, hand in zip(chunk, results.views, results.hands, strict=True):
            truth_m = cast(np.ndarray, label.joints_m).astype(float)
            length_m = hand_length_m(hand.joints_m)
            tape_m = hand_length_m(truth_m) + rng.normal(0, _TAPE_M)
            ratio = depth_ratio(hand, _depth_image(label, hand, view.camera, rng))
            hands = {
                Scale.ESTIMATED: hand,
                Scale.KNOWN: scaled(hand, tape_m / length_m, Scale.KNOWN),
            }
            if ratio is not None:
                hands[Scale.DEPTH] = scaled(hand, ratio, Scale.DEPTH)
            far = np.linalg.norm(truth_m.mean(0)) / np.linalg.norm(hand.joints_m.mean(0))
            yield Measured(
                _errors(hand.joints_m * far, truth_m),
                hands,
                {scale: _errors(one.joints_m, truth_m) for scale, one in hands.items()},
            )


def fit(measured: Sequence[Measured]) -> tuple[float, dict[Scale, float]]:
    """``CALIBRATION``, and the size's standard deviation by its source.

    With each of them ``WITHIN`` of the joints lie within.
    """
    fit_stds_m = np.array([one.hands[Scale.ESTIMATED].fit_stds_m for one in measured])
    ratios = np.array([one.shape_errors_m for one in measured]) / fit_stds_m
    factor = float(np.quantile(ratios, WITHIN))
    sizes = {}
    for scale in (Scale.ESTIMATED, Scale.KNOWN, Scale.DEPTH):
        rows = [one for one in measured if scale in one.hands]
        errors_m = np.array([one.errors_m[scale] for one in rows])
        own_m = factor * np.array([one.hands[scale].fit_stds_m for one in rows])
        far_m = np.array([np.linalg.norm(one.hands[scale].joints_m, axis=1) for one in rows])
        grid = np.linspace(0, 0.4, 801)
        shares = [(errors_m <= np.hypot(own_m, size * far_m)).mean() for size in grid]
        sizes[scale] = float(grid[np.searchsorted(shares, WITHIN)])
    return factor * CALIBRATION, sizes


def coverage(measured: Sequence[Measured], scale: Scale) -> np.ndarray:
    """``(N, 21)`` bool: the joint's error lies within ``Hand.joint_stds_m``."""
    pairs = [(m.errors_m[scale], m.hands[scale].joint_stds_m) for m in measured if scale in m.hands]
    return np.array([errors <= stds for errors, stds in pairs])


def _depth_image(
    label: LabelledHand, hand: Hand, camera: Camera, rng: np.random.Generator
) -> np.ndarray:
    """``(H, W)`` of the true mesh before a wall, with noise and holes."""
    mesh_m = np.load(cast(Path, label.mesh_file)).astype(float)
    seen = (2 * camera.project(mesh_m) + 1) / (camera.width, camera.height) - 1
    vertices = np.concatenate((seen, mesh_m[:, 2:]), 1).astype(np.float32)
    depth_m = rasterize(vertices[None], hand.triangles, (camera.height, camera.width)).depth[0]
    depth_m = np.minimum(depth_m, WALL_M + mesh_m[:, 2].max())
    depth_m = depth_m + rng.normal(0, NOISE, depth_m.shape) * depth_m**2
    depth_m[rng.random(depth_m.shape) < HOLES] = np.nan
    return depth_m


def _errors(joints_m: np.ndarray, truth_m: np.ndarray) -> np.ndarray:
    return np.linalg.norm(joints_m - truth_m, axis=1)


def main() -> None:
    parser = argparse.ArgumentParser(description="Calibrate the joints' standard deviations.")
    parser.add_argument("--hands", type=int, default=HANDS, help="fitted and measured on")
    options = parser.parse_args()
    pipeline = HandPipeline(Config())
    found = measure(pipeline, open_synthetic(options.hands))
    measured = list(tqdm(found, "measuring", options.hands, unit="hand"))
    first, second = measured[::2], measured[1::2]
    calibration, sizes = fit(first)
    print(f"fitted to {len(first)} hands: CALIBRATION {calibration:.3f}; Scale.std", end=" ")
    print(", ".join(f"{scale.name.lower()} {value:.3f}" for scale, value in sizes.items()))
    print(f"measured on {len(second)} others, with the constants of the package:")
    for scale in sizes:
        within = coverage(second, scale)
        errors_m = np.array([m.errors_m[scale] for m in second if scale in m.hands])
        lowest, highest = 100 * within.mean(0).min(), 100 * within.mean(0).max()
        print(
            f"{scale.name.lower():10} {100 * within.mean():5.1f} % of the joints lie within, "
            f"{lowest:.0f} to {highest:.0f} % by joint; "
            f"median error {1000 * np.median(errors_m):.1f} mm"
        )


if __name__ == "__main__":
    run_program(main)
