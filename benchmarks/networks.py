"""The networks of a crop in both profiles, and how fast they are trained."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import torch
from timing import Metric

from dhpe_lab.synthesis.synthesis import write_synthetic
from dhpe_lab.training.train_log import read_log
from dhpe_ros.config import ModelConfig
from dhpe_ros.detection.localiser import load_fused
from dhpe_ros.engines import build
from dhpe_ros.engines.graphs import EXAMPLES, examples
from dhpe_ros.engines.networks import (
    COMPILERS,
    EagerNetworks,
    EngineNetworks,
    compile_network,
    kept_precision,
    load_engines,
    precisions,
)
from dhpe_ros.engines.store import EngineError, Source
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.layers import fuse_batch_norms
from dhpe_ros.networks.weights import build_networks, hand_model_path, localiser_path

PROFILES, WAYS = ("lite", "full"), ("eager", "openvino", "tensorrt")
METRICS = (
    *(Metric(f"networks.{p}_ms.{way}", "ms", "lower") for p in PROFILES for way in WAYS),
    *(Metric(f"networks.localiser_ms.{way}", "ms", "lower") for way in WAYS),
    Metric("train.images_per_s", "images/s", "higher"),
    Metric("train.full_size_images_per_s", "images/s", "higher"),
)
HANDS, LIVE_BATCH = 256, 256
ROUNDS = 20  # in turn
CONFIG = Path(__file__).parent.parent / "config" / "train.yaml"


def measure(device: str) -> dict[str, float]:
    """Metric name -> value."""
    figures = {}
    for profile in PROFILES:  # the localiser is the same for both
        for what, times in networks_ms(profile, torch.device(device)).items():
            name = profile if what == "crop" else "localiser"
            figures |= {f"networks.{name}_ms.{way}": time for way, time in times.items()}
    return {**figures, **training_rates(training_log(device))}


def networks_ms(profile: str, device: torch.device) -> dict[str, dict[str, float]]:
    """Milliseconds of ``RUNS`` in each way there is, in turn; weights do not matter.

    Engines are of the precision that `auto` recommends: fp16 on a GPU, on a CPU int8 where it has
    VNNI, else bf16 or fp32; eager torch runs in float32.
    """
    networks = build_networks(profile)
    for module in networks.modules():
        module.eval().requires_grad_(False).to(device, memory_format=torch.channels_last)
    fuse_batch_norms(networks.evidence)
    projection = Projection(HandModel(hand_model_path())).to(device)
    localiser = load_fused(localiser_path(), device)
    ways = {"eager": EagerNetworks(*networks.modules(), projection, localiser)}
    view = build.Views(*(examples(name, device)[0] for name in ("evidence", "localiser")))
    precision = precisions(ModelConfig(), device)[0]
    for backend in COMPILERS:
        with suppress(EngineError):  # not for this device, or not installed
            ways[backend] = compiled(ways["eager"], view, backend, precision)
    return {
        what: dict(zip(ways, timed(list(ways.values()), view, run), strict=True))
        for what, run in RUNS.items()
    }


def compiled(
    eager: EagerNetworks, view: build.Views, backend: str, precision: str
) -> EngineNetworks:
    """Engines as `dhpe export` builds them."""
    device = view.crops.device
    COMPILERS[backend].check_fit(device, precision)
    inputs = {"evidence": view.crops, "localiser": view.pictures.float()}
    sources = {}
    for name in EXAMPLES:
        kept = kept_precision(backend, name, precision)
        parts = compile_network(eager, name, backend, kept, device, inputs.get(name))
        sources[name] = Source(parts.copy)
    return load_engines(backend, sources, precision, device)


def _regress(networks: EagerNetworks | EngineNetworks, view: build.Views) -> None:
    networks.regress(networks.infer(view.crops))


def _search(networks: EagerNetworks | EngineNetworks, view: build.Views) -> None:
    networks.locate(view.pictures)


RUNS = {"crop": _regress, "picture": _search}  # timed


@torch.no_grad()
def timed(
    ways: Sequence[EagerNetworks | EngineNetworks],
    view: build.Views,
    run: Callable[[EagerNetworks | EngineNetworks, build.Views], None],
) -> list[float]:
    """Median milliseconds that ``run`` takes on one view, of each way, taken in turn."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(ROUNDS + 1):
        for way, taken in zip(ways, times, strict=True):
            start = time.perf_counter()
            run(way, view)
            if view.crops.is_cuda:
                torch.cuda.synchronize()
            taken.append(time.perf_counter() - start)
    return [round(1000 * statistics.median(taken[1:]), 3) for taken in times]


def training_rates(rows: list[dict]) -> dict[str, float]:
    """Images over time in all of a run but the first line, and in its part at full size."""
    rows = [row for row in rows if "images_per_s" in row][1:]
    full_size = [row for row in rows if row["input_size"] == rows[-1]["input_size"]]
    parts = {"train.images_per_s": rows, "train.full_size_images_per_s": full_size[1:]}
    # Of as many pictures each; the first line of a size has some of the other.
    return {
        name: statistics.harmonic_mean(row["images_per_s"] for row in of)
        for name, of in parts.items()
    }


def training_log(device: str) -> list[dict]:
    """Of `dhpe train` on the lite profile by `config/train.yaml`, joint stage.

    In the first half of the time pictures are small. On a CPU two processes of one thread share the
    work, and hands are rendered ahead; beside a GPU the other cores make them meanwhile.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source, processes, batch = "live", 1, LIVE_BATCH
        if device == "cpu":
            source, processes, batch = folder / "hands", 2, 32
            write_synthetic(source, HANDS, seed=0)
        command = (
            sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", str(processes),
            "-m", "dhpe_ros.cli", "train", "--config", str(CONFIG),
            f"data.synthetic={source}", f"data.batch={batch}", f"model.device={device}",
            f"data.workers={0 if device == 'cpu' else os.cpu_count() or 1}",
            "budget.minutes=1.5", "budget.evidence_share=0.0",
            "run.check_minutes=0.0", f"run.output={folder / 'run'}", "run.log_steps=5",
        )  # fmt: skip
        single = {"OMP_NUM_THREADS": "1"} if device == "cpu" else {}
        result = subprocess.run(command, capture_output=True, text=True, env=os.environ | single)
        if result.returncode:
            raise RuntimeError(f"dhpe train failed:\n{result.stderr}")
        return read_log(folder / "run")
