"""The networks of a crop in both profiles, and how fast they are trained."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from timing import Metric, median_ms

from dhpe_ros.hand_model import HandModel
from dhpe_ros.networks.fusion import fuse_batch_norms
from dhpe_ros.projection import Projection
from dhpe_ros.training.journal import read_log
from dhpe_ros.training.synthesis import write_synthetic
from dhpe_ros.types import CROP_SIZE
from dhpe_ros.weights import build_networks, hand_model_path

METRICS = (
    Metric("networks.lite_ms", "ms", "lower"),
    Metric("networks.full_ms", "ms", "lower"),
    Metric("train.images_per_s", "images/s", "higher"),
)
HANDS, STEPS = 256, 100


def measure(device: str) -> dict[str, float]:
    """Metric name -> value."""
    return {
        "networks.lite_ms": networks_ms("lite", device),
        "networks.full_ms": networks_ms("full", device),
        "train.images_per_s": training_images_per_s(device),
    }


@torch.no_grad()
def networks_ms(profile: str, device: str) -> float:
    """A crop to the regressed mesh, eager, prepared as the pipeline does; weights do not matter."""
    networks = build_networks(profile)
    for module in networks.modules():
        module.eval().to(device, memory_format=torch.channels_last)
    fuse_batch_norms(networks.evidence)
    projection = Projection(HandModel(hand_model_path())).to(device)
    crop = torch.rand(1, 3, CROP_SIZE, CROP_SIZE, generator=torch.Generator().manual_seed(0))
    crop = crop.to(device)
    return median_ms(
        lambda: networks.mesh_estimator(networks.evidence(crop), projection), device, repeats=20
    )


def training_images_per_s(device: str) -> float:
    """Rate of `dhpe train` on the lite profile, joint stage, hands rendered ahead.

    The median over the log. Two processes of one thread share the work on a CPU.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_synthetic(folder / "hands", HANDS, seed=0)
        processes = 2 if device == "cpu" else 1
        command = (
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes),
            "-m", "dhpe_ros.cli", "train", f"data.synthetic={folder / 'hands'}",
            f"model.device={device}", "budget.minutes=0.0", f"budget.steps={STEPS}",
            "budget.evidence_share=0.0", "run.check_minutes=0.0", f"run.output={folder / 'run'}",
        )  # fmt: skip
        single = {"OMP_NUM_THREADS": "1"} if device == "cpu" else {}
        result = subprocess.run(command, capture_output=True, text=True, env=os.environ | single)
        if result.returncode:
            raise RuntimeError(f"dhpe train failed:\n{result.stderr}")
        rates = [row["images_per_s"] for row in read_log(folder / "run") if "images_per_s" in row]
        return float(torch.tensor(rates).median())
