"""Weights made better on a user's own recording, by what several looks at it agree on.

Learnt from: the recording's hands with the looks' agreement as labels; new views of them, rendered
with their pose and skin (docs/explanation/method.md); and rendered hands of all kinds, so that
nothing is forgotten. The last part of the recording is held back.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from dhpe_lab.datasets.samples import Sample
from dhpe_lab.synthesis.synthesis import random_samples
from dhpe_lab.training.config import TrainConfig
from dhpe_lab.training.data import TrainingData
from dhpe_lab.training.own_hands import OwnHand
from dhpe_lab.training.self_supervision import new_hands
from dhpe_lab.training.state import TrainingState, compute_s
from dhpe_lab.training.train import Run, train
from dhpe_lab.training.validation import validate
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.weights import Networks, hand_model_path, load_networks, save_networks

_LOG = logging.getLogger(__name__)
LEAST_HANDS = 20
HELD_BACK = 0.2  # of the recording, its end
REHEARSED, CHECKED = 400, 100  # rendered hands of all kinds, to learn from and to be measured on
VIEWED = 100  # hands that new views are made of, at most
FORGETTING = 1.02  # what the error on rendered hands may grow by
_REHEARSAL_SEED, _CHECK_SEED, _VIEW_SEED = 11, 12, 13


@dataclass(frozen=True)
class Outcome:
    """Measurements before and after, and the verdict."""

    before: dict[str, dict[str, float]]  # held back, rendered -> evidence, mesh, side (percent)
    after: dict[str, dict[str, float]]
    hands: dict[str, int]  # how many of which kind

    @property
    def better(self) -> bool:
        """The held-back part is better in the mean of 2D joints and mesh, and nothing forgotten."""
        own = [_error(errors["held back"]) for errors in (self.before, self.after)]
        rendered = [_error(errors["rendered"]) for errors in (self.before, self.after)]
        return own[1] < own[0] and rendered[1] <= FORGETTING * rendered[0]


def _error(figures: dict[str, float]) -> float:
    return (figures["evidence"] + figures["mesh"]) / 2


def finetune(config: TrainConfig, hands: Sequence[OwnHand], device: torch.device) -> Outcome | None:
    """Train from ``model.initial`` on the ``hands`` of one recording; None where interrupted.

    ``run.output`` then holds the run; ``accept`` writes what it came to. Raises ``ValueError`` for
    too few hands, and what training raises.
    """
    learnt, held_back = split(hands)
    file = config.model.hand_model or hand_model_path()
    projection, model = Projection(HandModel(file)).eval().to(device), HandModel(file)
    views = _new_views(learnt, model)
    rehearsed = list(random_samples(model, REHEARSED, _REHEARSAL_SEED))
    rendered = list(random_samples(model, CHECKED, _CHECK_SEED))
    _LOG.info("%d own hands, %d new views, %d rendered", len(learnt), len(views), REHEARSED)
    parts = {"held back": [hand.sample for hand in held_back], "rendered": rendered}
    state = TrainingState.begin(config, device)
    before = _measured(state.averaged, projection, parts)
    samples = [*(hand.sample for hand in learnt), *views, *rehearsed]
    data = TrainingData(samples, [], {})
    run = Run(config, device, data, state, projection, compute_s(device))
    run.folder.mkdir(parents=True, exist_ok=True)
    if not train(run):
        return None
    after = _measured(_as_saved(run), projection, parts)
    counts = {"learnt from": len(learnt), "new views": len(views), "held back": len(held_back)}
    return Outcome(before, after, counts)


def split(hands: Sequence[OwnHand]) -> tuple[list[OwnHand], list[OwnHand]]:
    """Hands to learn from, and the end of the recording. Raises ``ValueError`` for too few."""
    if len(hands) < LEAST_HANDS:
        raise ValueError(
            f"only {len(hands)} hands of the recording are sure enough to learn from, of "
            f"{LEAST_HANDS} at least; record more, in better light, or with the hand larger"
        )
    cut = round((1 - HELD_BACK) * len(hands))
    return list(hands[:cut]), list(hands[cut:])


def accept(outcome: Outcome, config: TrainConfig, path: Path) -> bool:
    """Write the weights to ``path`` if they are better; whether they are."""
    if outcome.better:
        networks = load_networks(Path(config.run.output) / "last.safetensors", config.model.profile)
        about = {**networks.training, "finetuned": vars(outcome)}
        save_networks(networks, path, about)
    return outcome.better


def _new_views(hands: Sequence[OwnHand], model: HandModel) -> list[Sample]:
    chosen = np.linspace(0, len(hands) - 1, min(VIEWED, len(hands))).round().astype(int)
    made = []
    for number in chosen.tolist():
        made += new_hands(hands[number].photo, model, (_VIEW_SEED, number))
    return made


def _as_saved(run: Run) -> Networks:
    """Networks in half precision, as they will be used."""
    file = run.folder / "last.safetensors"
    networks = load_networks(file, run.config.model.profile)
    for module in networks.modules():
        module.to(run.device)
    return networks


def _measured(
    networks: Networks, projection: Projection, parts: dict[str, list[Sample]]
) -> dict[str, dict[str, float]]:
    return {name: validate(networks, projection, samples) for name, samples in parts.items()}
