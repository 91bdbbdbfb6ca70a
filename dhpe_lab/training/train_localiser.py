"""Trains the network that finds hands in whole pictures.

``python -m dhpe_lab.training.train_localiser --synthetic FOLDER --real FOLDER --output FILE``
"""

from __future__ import annotations

import argparse
import copy
from collections.abc import Callable, Collection, Sequence
from itertools import count
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader
from tqdm import tqdm

from dhpe_lab.datasets.real_hands import load_frames, load_real_hands
from dhpe_lab.datasets.samples import Sample
from dhpe_lab.evaluation.localisation import localise
from dhpe_lab.synthesis.photo_fits import with_cuts
from dhpe_lab.synthesis.synthesis import load_synthetic
from dhpe_lab.training.checks import commit
from dhpe_lab.training.config import BudgetConfig
from dhpe_lab.training.data import load_backgrounds
from dhpe_lab.training.state import compute_s, move_average
from dhpe_lab.training.train import schedule
from dhpe_lab.training.whole_pictures import WholePictures, load_frames_by_set
from dhpe_ros.detection.localiser import SIZE, HandLocaliser
from dhpe_ros.networks.localiser import LocaliserNetwork, build_localiser
from dhpe_ros.networks.weights import load_localiser, load_networks, save_localiser
from dhpe_ros.system.programs import run_program

BATCH = 32
KEPT_STEPS = 200  # from one checkpoint to the next
RATE, WARMUP_STEPS, WEIGHT_DECAY, AVERAGE = 1e-3, 100, 1e-4, 0.998
_SMOOTH = 0.1  # of a box's numbers: smaller errors count by their square
_OVERLAP_WEIGHT = 2.0  # of what boxes lack in overlap, beside their numbers' errors


def localiser_loss(
    answer: Tensor, centres: Tensor, boxes: Tensor, tells: Tensor, counts: Tensor
) -> Tensor:
    """CenterNet's focal loss of ``(B, h, w)`` centres, and how far boxes are off where they tell.

    That is the smooth L1 of their four numbers, and what their intersection over union lacks to 1.
    """
    logit = answer[:, 0]
    sure = logit.sigmoid()
    at_centre = centres > 0.99
    found = at_centre * (1 - sure) ** 2 * functional.softplus(-logit)
    empty = ~at_centre * (1 - centres) ** 4 * sure**2 * functional.softplus(logit)
    focal = ((found + empty) * counts).sum() / at_centre.sum().clamp(min=1)
    wrong = functional.smooth_l1_loss(answer[:, 1:], boxes, reduction="none", beta=_SMOOTH)
    wrong = wrong.sum(1) + _OVERLAP_WEIGHT * (1 - overlap(answer[:, 1:], boxes))
    told = (wrong * tells * centres).sum() / (tells * centres).sum().clamp(min=1)
    return focal + told


def overlap(one: Tensor, other: Tensor) -> Tensor:
    """``(B, h, w)``: intersection over union of boxes ``(B, 4, h, w)`` that the same cells tell."""
    centres = torch.stack((one[:, :2], other[:, :2]))
    halves = torch.stack((one[:, 2:], other[:, 2:])).clamp(-5, 5).exp() / 2
    common = (centres + halves).amin(0) - (centres - halves).amax(0)
    common = common.clamp(min=0).prod(1)
    areas = (2 * halves).prod(2).sum(0)
    return common / (areas - common)


def train(
    network: LocaliserNetwork,
    pictures: WholePictures,
    budget: BudgetConfig,
    workers: int,
    rate: float = RATE,
    frozen_statistics: bool = False,
    keep: Callable[[LocaliserNetwork, int], None] = lambda network, steps: None,
) -> tuple[LocaliserNetwork, int]:
    """Until the budget is used up: the averaged network, and the steps taken.

    With ``frozen_statistics`` the batch norms compute as at inference, for weights that have some.
    ``keep`` is given both now and then.
    """
    network.train(not frozen_statistics).to(memory_format=torch.channels_last)
    averaged = copy.deepcopy(network).eval()
    optimizer = torch.optim.AdamW(network.parameters(), rate, weight_decay=WEIGHT_DECAY)
    loader = DataLoader(pictures, BATCH, sampler=count(), num_workers=workers)
    begun = compute_s(torch.device("cpu"))
    with tqdm(total=100, bar_format="{l_bar}{bar}| {elapsed}<{remaining}{postfix}") as bar:
        for step, (images, *targets) in enumerate(loader):
            used = budget.used(step, compute_s(torch.device("cpu")) - begun)
            if used >= 1:
                return averaged, step
            for group in optimizer.param_groups:
                group["lr"] = rate * schedule(step, used, WARMUP_STEPS)
            loss = localiser_loss(network(network.normalised(images)), *targets)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(network.parameters(), 10.0)
            optimizer.step()
            move_average(averaged, network, min(AVERAGE, (step + 1) / (step + 10)))
            if step % KEPT_STEPS == KEPT_STEPS - 1:
                keep(averaged, step + 1)
            bar.update(100 * used - bar.n)
            bar.set_postfix_str(f"step {step}, loss {loss.item():.3f}")
    raise AssertionError("the row of pictures is endless")


def begin_with_trunk(lite_weights: Path) -> LocaliserNetwork:
    """A network on the trunk of these weights, with what that knows; the head begins anew."""
    evidence = load_networks(lite_weights, "lite").evidence
    network = build_localiser(evidence.trunk_name)
    mine, trunk = network.state_dict(), evidence.trunk.state_dict()
    shared = {k: v for k, v in trunk.items() if k in mine and v.shape == mine[k].shape}
    network.load_state_dict({**mine, **shared})
    return network


def load_pictures(
    real: Path | None,
    fits: Path | None,
    synthetic: Path,
    backgrounds: Path | None,
    seed: int,
    size: tuple[int, int] = SIZE,
    held_out: Collection[str] = (),
) -> WholePictures:
    """Read the folders of docs/reference/data.md; ``held_out`` sets are for nothing.

    Errors as of their readers.
    """
    hands: list[Sequence[Sample]] = [load_synthetic(synthetic)]
    frames, behind = [], []
    if real:
        frames = load_frames_by_set(real, "train", ("frames2", "negatives"), held_out)
        _, behind = load_frames(real, "train")
        photographs = load_real_hands(real, "train")
        photographs = with_cuts(photographs, fits) if fits else photographs
        cut = [sample for sample in photographs if sample.opacity is not None]
        hands += [cut] if cut else []
    behind = [*behind, *(load_backgrounds(backgrounds) if backgrounds else [])]
    return WholePictures(frames, hands, behind, seed, size)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the network that finds hands.")
    parser.add_argument("--synthetic", type=Path, required=True, help="of synthetic.synthesis")
    parser.add_argument("--real", type=Path, help="folder of labelled photographs and frames")
    parser.add_argument("--fits", type=Path, help="of synthetic.photo_fits: cuts photographs out")
    parser.add_argument("--backgrounds", type=Path, help="folder of pictures without hands")
    start = parser.add_mutually_exclusive_group()
    start.add_argument("--trunk", type=Path, help="lite weights to begin with")
    start.add_argument("--initial", type=Path, help="weights of this network to go on from")
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--rate", type=float, default=RATE, help="learning rate (%(default)s)")
    parser.add_argument(
        "--frozen-statistics", action="store_true", help="batch norms as at inference, to go on"
    )
    parser.add_argument(
        "--size", type=int, nargs=2, default=SIZE, metavar=("ROWS", "COLUMNS"),
        help="of training pictures, multiples of 32; hands in smaller ones are no smaller",
    )  # fmt: skip
    parser.add_argument(
        "--frozen", nargs="*", default=(), metavar="PART", help="parts that stay as they are"
    )
    parser.add_argument("--held-out", nargs="*", default=(), metavar="SET", help="not for training")
    parser.add_argument("--workers", type=int, default=1, help="processes that make pictures")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path, required=True, help="safetensors file")
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    if options.initial:
        network = load_localiser(options.initial)
    else:
        network = begin_with_trunk(options.trunk) if options.trunk else build_localiser()
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not f"{name}.".startswith(tuple(f"{o}." for o in options.frozen)))
    pictures = load_pictures(
        options.real,
        options.fits,
        options.synthetic,
        options.backgrounds,
        options.seed,
        tuple(options.size),
        options.held_out,
    )

    def keep(network: LocaliserNetwork, steps: int) -> None:
        about = {"steps": steps, "minutes": options.minutes, "seed": options.seed}
        save_localiser(network, options.output, {**about, "commit": commit()})

    options.output.parent.mkdir(parents=True, exist_ok=True)
    trained, steps = train(
        network,
        pictures,
        BudgetConfig(minutes=options.minutes),
        options.workers,
        options.rate,
        options.frozen_statistics,
        keep,
    )
    keep(trained, steps)
    if options.real:
        localiser = HandLocaliser.load(options.output, torch.device("cpu"))
        print(localise(localiser, load_frames_by_set(options.real, "val")))


if __name__ == "__main__":
    run_program(main)
