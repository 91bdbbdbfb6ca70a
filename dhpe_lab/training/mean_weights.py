"""The mean of trained networks, weight by weight: runs that went on from each other may gain by it.

``python -m dhpe_lab.training.mean_weights A.safetensors B.safetensors --shares 0.65 0.35
--output MEAN.safetensors`` (Wortsman et al., Model soups, ICML 2022).
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path

import torch

from dhpe_ros.networks.weights import Networks, load_networks, save_networks
from dhpe_ros.system.programs import run_program


@torch.no_grad()
def mean_of(networks: Sequence[Networks], shares: Sequence[float]) -> Networks:
    """The first of the networks, now with the mean weights; counters stay its own.

    Raises ``ValueError`` where networks are not alike or the shares are not one each, in all 1.
    """
    if len(networks) != len(shares) or not math.isclose(sum(shares), 1.0, abs_tol=1e-6):
        raise ValueError(
            f"{len(networks)} weights need as many shares with the sum 1, not {shares}"
        )
    first = networks[0]
    for parts in zip(*(one.modules() for one in networks), strict=True):
        states = [part.state_dict() for part in parts]
        shapes = [{name: tensor.shape for name, tensor in state.items()} for state in states]
        if any(shape != shapes[0] for shape in shapes):
            raise ValueError("these are weights of networks that are built differently")
        for name, mean in states[0].items():
            if mean.is_floating_point():
                mean.copy_(sum(s * state[name] for s, state in zip(shares, states, strict=True)))
    return first


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description="The mean of weights of one profile.")
    parser.add_argument("weights", nargs="+", type=Path, metavar="FILE", help="safetensors")
    parser.add_argument("--shares", nargs="+", type=float, help="of each (default: equal ones)")
    parser.add_argument("--profile", default="lite", choices=("lite", "full"))
    parser.add_argument("--output", type=Path, required=True, help="safetensors file")
    options = parser.parse_args(arguments)
    shares = options.shares or [1 / len(options.weights)] * len(options.weights)
    networks = [load_networks(path, options.profile) for path in options.weights]
    notes = [
        {"weights": path.name, "share": share, "training": one.training}
        for path, share, one in zip(options.weights, shares, networks, strict=False)
    ]
    save_networks(mean_of(networks, shares), options.output, {"mean_of": notes})


if __name__ == "__main__":
    run_program(main)
