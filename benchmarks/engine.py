"""Live hands: synthetic hands with labels, as one data-loader worker makes them."""

from __future__ import annotations

from timing import Metric, median_ms

from dhpe_lab.synthesis.backgrounds import MadeUpPictures
from dhpe_lab.synthesis.synthesis import LiveHands
from dhpe_lab.training.batches import MixedBatches
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path

METRICS = (Metric("train.engine_images_per_s", "images/s", "higher"),)
BATCH, POSES = 16, 16


def measure(device: str) -> dict[str, float]:
    """Metric name -> value; on the CPU, whatever trains."""
    live = LiveHands(HandModel(hand_model_path()), seed=0, poses=POSES)
    batches = MixedBatches([], MadeUpPictures(), BATCH, seed=0, live=live)
    time_ms = median_ms(lambda: batches.packed(0), repeats=5)
    return {METRICS[0].name: 1000 * BATCH / time_ms}
