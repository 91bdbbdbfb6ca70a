"""Joint training of a profile's networks: one visible loop (docs/method.md, section 3).

``python -m dhpe_ros.training.train --real FOLDER --synthetic FOLDER --minutes 60 --output FILE``,
or ``torchrun --nproc-per-node 2 -m dhpe_ros.training.train ...`` for several processes.
"""

from __future__ import annotations

import argparse
import copy
import logging
import math
import time
from pathlib import Path

import cv2
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from tqdm import tqdm
from tqdm.contrib.logging import logging_redirect_tqdm

from dhpe_ros.hand_model import HandModel
from dhpe_ros.projection import Projection
from dhpe_ros.training import processes
from dhpe_ros.training.batches import MixedBatches
from dhpe_ros.training.joint_loss import joint_loss
from dhpe_ros.training.real_hands import load_frames, load_real_hands
from dhpe_ros.training.samples import Sample
from dhpe_ros.training.synthesis import load_synthetic
from dhpe_ros.training.validation import validate
from dhpe_ros.weights import Networks, build_networks, hand_model_path, load_networks, save_networks

_LOG = logging.getLogger(__name__)
PROFILE = "lite"  # batches are of its size
EMA_DECAY = 0.998
CLIP_NORM = 20.0


def train(options: argparse.Namespace) -> None:
    """Train until the minutes are up; a usable checkpoint stands at ``output`` all the while."""
    rank, count = processes.join()
    torch.manual_seed(options.seed)
    samples, backgrounds, held_back = load_data(options.real, options.synthetic)
    start = load_networks(options.initial, PROFILE) if options.initial else None
    networks = start or build_networks(PROFILE)
    for module in networks.modules():
        module.train().requires_grad_(True).to(memory_format=torch.channels_last)
    processes.start_equal(networks.modules())
    averaged = copy.deepcopy(networks)
    projection = Projection(HandModel(hand_model_path())).eval()
    parameters = [p for module in networks.modules() for p in module.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=options.learning_rate, weight_decay=1e-4)
    stream = MixedBatches(samples, backgrounds, options.batch, options.seed * count + rank)
    batches = iter(DataLoader(stream, batch_size=None, num_workers=options.workers))

    budget = 60 * options.minutes
    begun, checked, running, step = time.monotonic(), 0.0, {}, 0
    bar = tqdm(total=round(budget), unit="s", smoothing=0, disable=rank > 0)
    while (elapsed := processes.agree(time.monotonic() - begun)) < budget:
        for group in optimizer.param_groups:
            group["lr"] = options.learning_rate * schedule(step, elapsed / budget)
        first = elapsed < options.evidence_share * budget
        terms = joint_loss(networks, projection, next(batches), evidence_only=first)
        optimizer.zero_grad(set_to_none=True)
        sum(terms.values()).backward()
        processes.average_gradients(parameters)
        if not torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM).isfinite():
            _LOG.warning("step %d: gradient not finite, batch left out", step)
            continue
        optimizer.step()
        step += 1
        follow(averaged, networks, min(EMA_DECAY, step / (step + 10)))
        note(running, terms)
        bar.update(int(elapsed) - bar.n)
        if rank == 0 and elapsed - checked > 60 * options.check_minutes:
            checked = elapsed
            check(averaged, projection, held_back, running, step, options)
    bar.close()
    if rank == 0:
        check(averaged, projection, held_back, running, step, options)
    processes.leave()


def schedule(step: int, done: float) -> float:
    """Learning rate factor: a short warm-up, then a half cosine over the time budget."""
    return min(1.0, step / 100) * (0.5 + 0.5 * math.cos(math.pi * min(done, 1.0)))


def load_data(real: Path, synthetic: Path) -> tuple[list[Sample], list, dict[str, list[Sample]]]:
    """Training samples, backgrounds, and what is held back to look at: the ``val`` parts."""
    framed, backgrounds = load_frames(real, "train")
    samples = [*load_real_hands(real, "train"), *framed, *load_synthetic(synthetic)]
    held_back: dict[str, list[Sample]] = {}
    for sample in load_real_hands(real, "val"):
        held_back.setdefault(sample.source, []).append(sample)
    _LOG.info("%d samples, %d backgrounds", len(samples), len(backgrounds))
    return samples, backgrounds, held_back


@torch.no_grad()
def follow(averaged: Networks, networks: Networks, decay: float) -> None:
    """Exponential moving average of parameters and batch statistics."""
    for slow, fast in zip(averaged.modules(), networks.modules(), strict=True):
        for ours, theirs in zip(
            slow.state_dict().values(), fast.state_dict().values(), strict=True
        ):
            if ours.is_floating_point():
                ours.lerp_(theirs, 1 - decay)
            else:
                ours.copy_(theirs)


def note(running: dict[str, float], terms: dict[str, Tensor]) -> None:
    """Smooth the terms for the log."""
    for name, term in terms.items():
        value = float(term.detach())
        running[name] = 0.98 * running.get(name, value) + 0.02 * value


def check(
    networks: Networks,
    projection: Projection,
    held_back: dict[str, list[Sample]],
    running: dict[str, float],
    step: int,
    options: argparse.Namespace,
) -> None:
    """Measure on what was held back, log, and save."""
    for module in networks.modules():
        module.eval()
    measured = {name: validate(networks, projection, some) for name, some in held_back.items()}
    _LOG.info("step %d: %s", step, {k: round(v, 3) for k, v in running.items()})
    for name, values in measured.items():
        _LOG.info("    %s: %s", name, {k: round(v, 2) for k, v in values.items()})
    notes = {
        "steps": step,
        "batch": options.batch,
        "minutes": options.minutes,
        "seed": options.seed,
        "learning_rate": options.learning_rate,
        "validation": measured,
    }
    save_networks(networks, options.output, notes)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the networks of a profile.")
    parser.add_argument("--real", type=Path, required=True, help="folder of labelled photographs")
    parser.add_argument("--synthetic", type=Path, required=True, help="folder of rendered hands")
    parser.add_argument("--output", type=Path, required=True, help="safetensors file to write")
    parser.add_argument("--initial", type=Path, help="weights to go on from")
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument(
        "--evidence-share", type=float, default=0.3, help="part of the time before the mesh joins"
    )
    parser.add_argument("--check-minutes", type=float, default=4.0)
    parser.add_argument("--batch", type=int, default=32, help="per process")
    parser.add_argument("--workers", type=int, default=1, help="that make batches; 0: none extra")
    parser.add_argument("--learning-rate", type=float, default=1e-3)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    cv2.setNumThreads(1)
    with logging_redirect_tqdm():
        train(options)


if __name__ == "__main__":
    main()
