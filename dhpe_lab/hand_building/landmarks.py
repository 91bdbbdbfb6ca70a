"""Joints as people see them, against the pivots of the bones.

Labels of photographs lie at creases, knuckles and in the pulp of finger tips; a hand model's joints
are centres of rotation, its tips the last vertices. On rendered hands both are known: a tracker of
hands marks them, and the difference, joint by joint, is linear in the joints around it. The result
is ``landmarks`` of the open hand, (21, 21), by which ``HandModel`` publishes its skeleton:
``pip install mediapipe==0.10.21``, then ``python -m dhpe_lab.hand_building.landmarks``
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from dhpe_lab.synthesis.synthesis import RENDER_SIZE, SyntheticHand, random_hands, render_sample
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.system.programs import run_program
from dhpe_ros.types import JOINT_COUNT

_KNUCKLES = (1, 5, 9, 13, 17)
_AGREES = 0.06  # mean distance, of the joints' box, beyond which the tracker saw another hand
_RIDGE = 2e-4
_WIDTH = 0.01  # of the joints' box: a mark farther off than this counts for less (Cauchy)
_ROUNDS = 10


@dataclass(frozen=True)
class Calibration:
    """The matrix, and what it mends on hands that it was not fitted to."""

    landmarks: np.ndarray  # (21, 21), rows sum to one
    before_pct: np.ndarray  # (21,) mean distance to the marks, of the joints' box
    after_pct: np.ndarray  # (21,)
    hands: int


def calibrate(joints: np.ndarray, marks: np.ndarray) -> Calibration:
    """The affine combinations of ``joints`` ``(N, 21, 2)`` that lie closest to ``marks``.

    Each joint is combined with those of its finger, knuckles and wrist with one another. Every
    second hand is held back. Raises ``ValueError`` if too few hands agree.
    """
    longest = np.ptp(joints, axis=1).max(1)[:, None, None]
    joints, marks = joints / longest, marks / longest
    agrees = np.linalg.norm(marks - joints, axis=2).mean(1) < _AGREES
    joints, marks = joints[agrees], marks[agrees]
    if len(joints) < 20 * JOINT_COUNT:
        raise ValueError(f"only {len(joints)} hands agree with the model; render more (--count)")
    fitted = np.arange(len(joints)) % 2 == 0
    landmarks = np.eye(JOINT_COUNT)
    for joint in range(JOINT_COUNT):
        others = _others(joint)
        away = joints[:, others] - joints[:, [joint]]
        wanted = marks[:, joint] - joints[:, joint]
        shares = _robust_least_squares(
            away[fitted].transpose(0, 2, 1).reshape(-1, len(others)), wanted[fitted].ravel()
        )
        landmarks[joint, others] += shares
        landmarks[joint, joint] -= shares.sum()
    held_back = ~fitted
    return Calibration(
        landmarks,
        _mean_pct(joints[held_back] - marks[held_back]),
        _mean_pct(landmarks @ joints[held_back] - marks[held_back]),
        len(joints),
    )


def _others(joint: int) -> list[int]:
    if joint == 0:
        return list(_KNUCKLES)
    finger = (joint - 1) // 4
    near = {0, *range(4 * finger + 1, 4 * finger + 5)}
    if joint in _KNUCKLES:
        near.update(_KNUCKLES)
    return sorted(near - {joint})


def _robust_least_squares(system: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Ridge least squares, reweighted so that single wrong marks do not pull."""
    weights = np.ones(len(wanted))
    for _ in range(_ROUNDS):
        normal = (system * weights[:, None]).T @ system
        normal += _RIDGE * len(wanted) * np.eye(system.shape[1])
        shares = np.linalg.solve(normal, system.T @ (weights * wanted))
        weights = 1 / (1 + ((wanted - system @ shares) / _WIDTH) ** 2)
    return shares


def _mean_pct(offsets: np.ndarray) -> np.ndarray:
    return 100 * np.linalg.norm(offsets, axis=2).mean(0)


def rendered_hands(model: HandModel, count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """``(N, 2 S, 2 S, 3)`` uint8 pictures before plain backgrounds, ``(N, 21, 2)`` pivots.

    In pixels from the corner of the picture.
    """
    hands = list(random_hands(model, count, np.random.default_rng(seed)))

    def draw(job: tuple[int, SyntheticHand]) -> np.ndarray:
        index, hand = job
        rng = np.random.default_rng((seed, index))
        sample = render_sample(hand, model, rng)
        opacity = sample.opacity[..., None] / 255.0
        picture = sample.image * opacity + rng.uniform(60, 230, 3) * (1 - opacity)
        size = (2 * RENDER_SIZE, 2 * RENDER_SIZE)
        return cv2.resize(picture.astype(np.uint8), size, interpolation=cv2.INTER_CUBIC)

    with ThreadPoolExecutor() as pool:
        pictures = list(pool.map(draw, enumerate(hands)))
    vertices = torch.from_numpy(np.stack([hand.vertices_m for hand in hands])).float()
    pivots_m = model.pivots(vertices).double().numpy()
    pivots = [hand.project(points)[:, :2] for hand, points in zip(hands, pivots_m, strict=True)]
    return np.stack(pictures), 2 * (np.stack(pivots) + 0.5)


def marked(pictures: np.ndarray) -> np.ndarray:
    """MediaPipe's joints ``(N, 21, 2)`` in pixels from the corner; NaN where it sees no hand."""
    import mediapipe

    marks = np.full((len(pictures), JOINT_COUNT, 2), np.nan)
    size = np.array(pictures.shape[2:0:-1])
    with mediapipe.solutions.hands.Hands(static_image_mode=True, max_num_hands=1) as tracker:
        for row, picture in enumerate(pictures):
            found = tracker.process(picture).multi_hand_landmarks
            if found:
                marks[row] = [(mark.x, mark.y) for mark in found[0].landmark] * size
    return marks


def add_landmarks(path: Path, landmarks: np.ndarray) -> None:
    """Set ``landmarks`` of an ``.npz``, and nothing else."""
    with np.load(path) as file:
        hand = dict(file)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as target:
        np.savez_compressed(target, **{**hand, "landmarks": landmarks.astype(np.float32)})
    partial.replace(path)


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the landmarks of the open hand.")
    parser.add_argument("--count", type=int, default=3000, help="rendered hands")
    parser.add_argument("--seed", type=int, default=5, help="another seed, other hands")
    parser.add_argument("--hand-model", type=Path, default=hand_model_path(), help="is written to")
    options = parser.parse_args()
    model = HandModel(options.hand_model)
    pictures, joints = rendered_hands(model, options.count, options.seed)
    marks = marked(pictures)
    seen = np.isfinite(marks[:, 0, 0])
    found = calibrate(joints[seen], marks[seen])
    add_landmarks(options.hand_model, found.landmarks)
    print(f"{found.hands} hands of {options.count}; distance to the marks in % of the joints' box:")
    print("before", np.round(found.before_pct, 1), "mean", round(found.before_pct.mean(), 2))
    print("after ", np.round(found.after_pct, 1), "mean", round(found.after_pct.mean(), 2))


if __name__ == "__main__":
    run_program(main)
