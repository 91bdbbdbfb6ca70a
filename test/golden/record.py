"""Results that a change of structure must not change: what is recorded, and how.

``python test/golden/record.py`` writes the files beside this one anew, after a change that is
meant to change them; the commit then says why. ``test_golden.py`` compares.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))  # these sources, not installed ones

from dhpe_lab.evaluation.labelled import LabelledHand, LabelledSet
from dhpe_lab.evaluation.predict import predict
from dhpe_lab.evaluation.score import score, summary
from dhpe_lab.synthesis.backgrounds import MadeUpPictures
from dhpe_lab.synthesis.synthesis import LiveHands, random_samples
from dhpe_lab.training.augmentation import augment
from dhpe_lab.training.batches import Batch, MixedBatches
from dhpe_lab.training.total_loss import total_loss
from dhpe_ros.config import Config
from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.projection import Projection
from dhpe_ros.media import open_media
from dhpe_ros.networks.weights import hand_model_path, load_networks, weights_path
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.tracking.tracker import HandTracker
from dhpe_ros.types import Hand, Side

FOLDER = Path(__file__).parent
PICTURES = FOLDER / "pictures"
_CLIP_FRAMES = 24
_PICTURE_SIZE = 224

Arrays = dict[str, np.ndarray]


def clip(pipeline: HandPipeline) -> Arrays:
    """The hands that are followed through the first frames of the clip that ships."""
    tracker = HandTracker(pipeline)
    frames = islice(open_media(DEMO_CLIP).frames(), _CLIP_FRAMES)
    return _hands([tracker.process(frame.image, time_s=k / 30) for k, frame in enumerate(frames)])


def pictures(pipeline: HandPipeline) -> Arrays:
    """The hands that are searched for in ten rendered pictures."""
    files = sorted(PICTURES.glob("*.png"))
    return _hands([pipeline.estimate(_read(file)) for file in files])


def evaluation_table(pipeline: HandPipeline) -> Arrays:
    """The row that the evaluation writes for the same pictures, boxes given."""
    labels = np.load(FOLDER / "labels.npz")
    hands = [
        LabelledHand(file, joints.astype(np.float32), Side(int(side)))
        for file, side, joints in zip(
            sorted(PICTURES.glob("*.png")), labels["side"], labels["joints_px"], strict=True
        )
    ]
    row = summary([score(p) for p in predict(pipeline, LabelledSet("golden", hands))])
    numbers = {k: v for k, v in row.items() if isinstance(v, int | float)}
    return {name: np.float64(value) for name, value in numbers.items()}


def synthetic_batch(model: HandModel) -> Arrays:
    """Two hands rendered ahead and two live: block means of pictures, labels."""
    samples = list(random_samples(model, 2, seed=5))
    drawn = _live_batches(model, 2, 96)[0]
    return {
        "ahead.image": np.stack([_blocks(sample.image / 255.0) for sample in samples]),
        "ahead.mask": np.stack([_blocks(sample.mask / 255.0) for sample in samples]),
        "ahead.joints": np.stack([sample.joints_px for sample in samples]),
        "live.image": np.stack([_blocks(image.movedim(0, 2).numpy()) for image in drawn.images]),
        "live.mask": np.stack([_blocks(mask.numpy()) for mask in drawn.mask]),
        "live.joints": drawn.joints.numpy(),
    }


def training_step(model: HandModel) -> Arrays:
    """Loss terms and norms of the gradients of one joint training step."""
    networks = load_networks(weights_path("lite"), "lite")
    for module in networks.modules():
        module.train().requires_grad_(True)
    torch.manual_seed(0)  # of the dropout; what loading draws does not matter
    samples = random_samples(model, 6, seed=7)
    rng = np.random.default_rng(0)
    batch = Batch.stack([augment(sample, (), rng) for sample in samples])
    terms = total_loss(networks, Projection(model), batch, precision=torch.float32)
    sum(terms.values()).backward()
    norms = {
        name: sum(p.grad.square().sum() for p in part.parameters() if p.grad is not None).sqrt()
        for name, part in zip(("evidence", "mesh"), networks.modules(), strict=True)
    }
    values = {f"loss.{k}": v for k, v in terms.items()} | {f"norm.{k}": v for k, v in norms.items()}
    return {name: np.float64(value.item()) for name, value in values.items()}


def record() -> Iterator[tuple[str, Arrays]]:
    """Name -> values of everything that is kept, on one thread."""
    pipeline = HandPipeline(Config().replace({"model.backend": "eager"}))
    model = HandModel(hand_model_path())
    yield "clip", clip(pipeline)
    yield "pictures", pictures(pipeline)
    yield "evaluation_table", evaluation_table(pipeline)
    yield "synthetic_batch", synthetic_batch(model)
    yield "training_step", training_step(model)


def draw_pictures(model: HandModel) -> None:
    """Render the ten pictures and write them with their labels."""
    PICTURES.mkdir(exist_ok=True)
    batch = _live_batches(model, 40, _PICTURE_SIZE)[0]
    rows = batch.hand.nonzero()[:10, 0].tolist()
    for number, row in enumerate(rows):
        image = (batch.images[row].movedim(0, 2).numpy() * 255).round().astype(np.uint8)
        cv2.imwrite(str(PICTURES / f"{number}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    joints = (batch.joints[rows].numpy() + 1) * (_PICTURE_SIZE / 2) - 0.5
    np.savez_compressed(
        FOLDER / "labels.npz", joints_px=joints, side=batch.right[rows].numpy().astype(np.uint8)
    )


def _live_batches(model: HandModel, batch_size: int, size: int) -> MixedBatches:
    """Live hands, some of which hold something, over made-up pictures."""
    live = LiveHands(model, seed=3, poses=16)
    return MixedBatches([], MadeUpPictures(), batch_size, 3, live=live, input_size=size)


def _read(file: Path) -> np.ndarray:
    return cv2.cvtColor(cv2.imread(str(file)), cv2.COLOR_BGR2RGB)


def _blocks(picture: np.ndarray) -> np.ndarray:
    """Means of blocks of 16 x 16 pixels."""
    size = picture.shape[0] // 16
    return picture.reshape(size, 16, size, 16, -1).mean((1, 3)).astype(np.float32)


def _hands(frames: list[list[Hand]]) -> Arrays:
    every: list[tuple[int, Any]] = [(k, hand) for k, hands in enumerate(frames) for hand in hands]
    return {
        "frame": np.array([k for k, _ in every]),
        "side": np.array([hand.side for _, hand in every]),
        "track_id": np.array([hand.track_id for _, hand in every]),
        "score": np.array([hand.score for _, hand in every], np.float32),
        "joints_px": np.array([hand.joints_px for _, hand in every], np.float32),
        "joints_m": np.array([hand.joints_m for _, hand in every], np.float32),
    }


def main() -> None:
    torch.set_num_threads(1)
    if "--pictures" in sys.argv:
        draw_pictures(HandModel(hand_model_path()))
    for name, arrays in record():
        np.savez_compressed(FOLDER / f"{name}.npz", **arrays)
        print(f"{name}: {', '.join(f'{k} {v.shape}' for k, v in arrays.items())}")


if __name__ == "__main__":
    main()
