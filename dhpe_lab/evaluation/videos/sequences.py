"""Jitter and lag of hands from frame to frame, on rendered videos with exact truth.

``python -m dhpe_lab.evaluation.videos.sequences``: the demo's clip and hands that move at random.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dhpe_lab.evaluation.metrics import errors_3d_mm, jitter_mm, lag_frames
from dhpe_lab.synthesis.demo_clip import CAMERA, Moment, Stage, eased, photograph, upright
from dhpe_lab.synthesis.hand_poses import make_plausible, rotation_from_axis_angle, sample_angles
from dhpe_ros.config import Config
from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.files.yaml_text import load_yaml
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media import open_media
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.system.programs import run_program
from dhpe_ros.tracking.tracker import HandTracker

FRAMES = 60
KEY_FRAMES = 10  # between two poses: two thirds of a second
SEEDS = (1, 2, 3)
STILLS = (0, 20, 45, 70, 100)  # frames of the demo's clip
NOISE = 2.0  # grey levels, standard deviation: what a camera adds
_TURN_DEG = 35.0
_AWAY_M = ((-0.10, 0.10), (-0.06, 0.06), (0.38, 0.70))


@dataclass(frozen=True)
class Sequence3D:
    """A video of one hand with every label exact."""

    name: str
    images: Sequence[np.ndarray]  # (H, W, 3) uint8 RGB
    joints_m: np.ndarray  # (T, 21, 3), camera optical frame
    camera: Camera
    depths_m: Sequence[np.ndarray] = ()  # (H, W), inf where there is no hand; () where not drawn


def demo_sequence(frames: int | None = None) -> Sequence3D:
    """The clip that ships."""
    truth = json.loads(DEMO_CLIP.with_suffix(".json").read_text())
    images = [frame.image for frame in open_media(DEMO_CLIP).frames()][:frames]
    joints_m = np.array([frame["joints_m"] for frame in truth["frames"]])[: len(images)]
    return Sequence3D("demo clip", images, joints_m, Camera(**truth["intrinsics"]))


def random_sequence(seed: int, frames: int = FRAMES) -> Sequence3D:
    """A hand of its own shape and skin that goes through random poses, turns and places.

    Every other seed shows a left hand.
    """
    rng = np.random.default_rng((seed, 7))
    stage = Stage(seed, shape=rng.normal(0, 1, 10).clip(-2, 2), tone=rng.uniform(0.1, 0.9))
    layers, images = [], []
    for moment in random_moments(rng, frames):
        layer = stage.layer(moment)
        images.append(photograph([layer], stage.background, rng))
        layers.append(layer)
    if seed % 2 == 0:
        images = [np.ascontiguousarray(image[:, ::-1]) for image in images]
        layers = [layer.mirrored() for layer in layers]
    joints_m = np.array([layer.joints_m for layer in layers])
    depths_m = [layer.depth_m for layer in layers]
    return Sequence3D(f"random {seed}", images, joints_m, CAMERA, depths_m)


def still_sequence(index: int, frames: int) -> Sequence3D:
    """A frame of the clip that ships, again and again, seen by a camera that has noise."""
    clip = demo_sequence(index + 1)
    rng = np.random.default_rng((index, 11))
    seen = clip.images[index]
    images = [(seen + rng.normal(0, NOISE, seen.shape)).clip(0, 255) for _ in range(frames)]
    joints_m = np.repeat(clip.joints_m[index:], frames, axis=0)
    return Sequence3D(f"still {index}", [i.astype(np.uint8) for i in images], joints_m, clip.camera)


def random_moments(rng: np.random.Generator, frames: int = FRAMES) -> Iterator[Moment]:
    """Smooth ways between random poses, rotations and places, as fast as people move."""
    keys = 2 + frames // KEY_FRAMES
    angles = sample_angles(rng, keys)
    turns = rng.uniform(-_TURN_DEG, _TURN_DEG, (keys, 3))
    places = np.stack([rng.uniform(*span, keys) for span in _AWAY_M], 1)
    times = np.arange(keys) * KEY_FRAMES
    for index in range(frames):
        turn = np.radians(eased(times, index, turns))
        yield Moment(
            angles=make_plausible(eased(times, index, angles)[None])[0],
            rotation=rotation_from_axis_angle(turn) @ upright(),
            position_m=eased(times, index, places),
        )


def measure(pipeline: HandPipeline, sequence: Sequence3D) -> dict[str, float]:
    """The figures of one sequence, its hand searched for and followed.

    Millimetres: ``err3d`` about the root and scaled by the reference bone, ``err3d_abs`` in the
    camera; ``jitter`` and ``jitter_abs`` mm/frame^2 (acceleration error); ``lag`` in frames.
    """
    tracker = HandTracker(pipeline)
    found = np.full(sequence.joints_m.shape, np.nan)
    steps = []
    for index, image in enumerate(sequence.images):
        hands = tracker.process(image, sequence.camera)
        if hands:
            found[index] = hands[0].joints_m
            steps.append(hands[0].refinement.steps)
    seen = np.isfinite(found).all((1, 2))
    pairs = list(zip(found[seen], sequence.joints_m[seen], strict=True))
    jitter, jitter_abs = jitter_mm(found, sequence.joints_m)
    return {
        "found_pct": 100 * float(seen.mean()),
        "err3d": float(np.mean([errors_3d_mm(*pair) for pair in pairs])),
        "err3d_abs": 1000 * float(np.mean([np.linalg.norm(a - b, axis=1) for a, b in pairs])),
        "jitter": jitter,
        "jitter_abs": jitter_abs,
        "lag": lag_frames(found, sequence.joints_m),
        "steps": float(np.mean(steps)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure jitter, lag and errors on videos.")
    parser.add_argument("--weights", default="", help="safetensors; the profile's own if not given")
    parser.add_argument("--frames", type=int, default=FRAMES, help="of each (default: %(default)s)")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME=VALUE", action="extend",
        help="settings, as refinement.temporal_weight=0.5; several values, by commas, are compared",
    )  # fmt: skip
    options = parser.parse_args()
    moving = [
        demo_sequence(options.frames),
        *(random_sequence(seed, options.frames) for seed in SEEDS),
    ]
    still = [still_sequence(index, options.frames) for index in STILLS]
    pipeline = HandPipeline(Config().replace({"model.weights": options.weights}))
    start = pipeline.config
    print("sequence     " + "".join(name.rjust(11) for name in _COLUMNS))
    for changes in _variants(options.set):
        pipeline.configure(start.replace(changes))
        rows = {one.name: measure(pipeline, one) for one in moving}
        rows["mean"] = _mean(rows.values())
        rows["still hands"] = _mean([measure(pipeline, one) for one in still])
        print(", ".join(f"{name}={value}" for name, value in changes.items()) or "defaults")
        for name, row in rows.items():
            print(name.ljust(13) + "".join(f"{row[key]:11.3f}" for key in _COLUMNS), flush=True)


_COLUMNS = ("found_pct", "err3d", "err3d_abs", "jitter", "jitter_abs", "lag", "steps")


def _mean(rows: Collection[dict[str, float]]) -> dict[str, float]:
    return {name: float(np.mean([row[name] for row in rows])) for name in _COLUMNS}


def _variants(settings: Sequence[str]) -> list[dict[str, object]]:
    """One mapping of settings for each combination of their values; none: the defaults."""
    if wrong := [text for text in settings if "=" not in text]:
        raise ValueError(f"--set takes SECTION.NAME=VALUE,VALUE..., got {wrong[0]!r}")
    pairs = [text.split("=", 1) for text in settings]
    names = [name for name, _ in pairs]
    values = [[load_yaml(value) for value in text.split(",")] for _, text in pairs]
    return [dict(zip(names, row, strict=True)) for row in itertools.product(*values)]


if __name__ == "__main__":
    run_program(main)
