"""The data engine: synthetic hands with labels, as training on that device gets them."""

from __future__ import annotations

from timing import Metric, median_ms

from dhpe_lab.training.engine.data_engine import DataEngine
from dhpe_lab.training.engine.scene import Pools
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path

METRICS = (Metric("train.engine_images_per_s", "images/s", "higher"),)
SIZE, BATCH = {"cpu": 128, "cuda": 224}, {"cpu": 16, "cuda": 256}
POOLS = Pools(poses=16, skins=16, others=64)


def measure(device: str) -> dict[str, float]:
    """Metric name -> value."""
    model = HandModel(hand_model_path())
    engine = DataEngine(model, device, pools=POOLS)
    batch, size = BATCH[device], SIZE[device]
    time_ms = median_ms(lambda: engine.examples(0, batch, size), device, repeats=5)
    return {METRICS[0].name: 1000 * batch / time_ms}
