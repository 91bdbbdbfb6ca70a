"""Speed of the two colour renderers, generators and degradations, in pictures a CPU second.

``python -m dhpe_lab.experiments.generators`` prints the table of docs/decisions/index.md.
CPU seconds of one thread, so that other programs on the machine matter little.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import cv2
import numba
import numpy as np
import torch

from dhpe_lab.rendering import LightBatch, Lights, SkinBatch, random_skin, render_hand, render_hands
from dhpe_lab.rendering.texels import texels_of
from dhpe_lab.synthesis import synthesis
from dhpe_lab.training.augmentation import degrade as degrade_one
from dhpe_lab.training.engine.data_engine import DataEngine
from dhpe_lab.training.engine.degradation import degrade as degrade_batch
from dhpe_lab.training.engine.draws import Draws
from dhpe_lab.training.engine.scene import Pools
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.system.programs import run_program

SIZE = synthesis.RENDER_SIZE
BATCH = 16
ROUNDS = 3


def pictures_a_second(draw: Callable[[], object], pictures: int) -> float:
    """Best of some rounds, after one that compiles and fills caches."""
    draw()
    spent = []
    for _ in range(ROUNDS):
        begun = time.process_time()
        draw()
        spent.append(time.process_time() - begun)
    return pictures / min(spent)


def main() -> None:
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    cv2.setNumThreads(1)
    model = HandModel(hand_model_path())
    rng = np.random.default_rng(0)
    hand = next(synthesis.random_hands(model, 1, rng))
    crop = hand.project(hand.vertices_m, SIZE) * (2 / SIZE)
    crop[:, :2] -= 1
    triangles = model.triangles.numpy()
    count = len(texels_of(triangles, len(hand.vertices_m), 1).vertices)
    skins = [random_skin(rng, count) for _ in range(BATCH)]
    lights = [Lights.random(rng) for _ in range(BATCH)]
    engine = DataEngine(model, pools=Pools(64, 8, 64))
    photographs = rng.integers(0, 256, (BATCH, SIZE, SIZE, 3), np.uint8)
    stacked = torch.from_numpy(photographs).movedim(3, 1).float() / 255
    draws = Draws(0, torch.arange(BATCH))
    many = torch.from_numpy(crop).float().expand(BATCH, -1, -1).contiguous()
    skin_batch, light_batch = SkinBatch.of(skins), LightBatch.of(lights)
    for name, draw in {
        "render_hand (Numba)": lambda: [
            render_hand(crop, triangles, SIZE, *one) for one in zip(skins, lights, strict=True)
        ],
        "render_hands (PyTorch)": lambda: render_hands(
            many, model.triangles, SIZE, skin_batch, light_batch
        ),
        "random_samples": lambda: list(synthesis.random_samples(model, BATCH, 0)),
        "DataEngine": lambda: engine.examples(0, BATCH, SIZE),
        "degrade, one picture (OpenCV)": lambda: [degrade_one(one, rng) for one in photographs],
        "degrade, a batch (PyTorch)": lambda: degrade_batch(stacked, draws),
    }.items():
        print(f"| {name} | {pictures_a_second(draw, BATCH):.1f} |", flush=True)


if __name__ == "__main__":
    run_program(main)
