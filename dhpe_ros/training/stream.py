"""The batches of a run: drawn ahead from samples, made live on the training device, or both."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import torch

from dhpe_ros.hand_model import HandModel
from dhpe_ros.training import processes
from dhpe_ros.training.batches import Batch, MixedBatches
from dhpe_ros.training.config import LIVE, TrainConfig
from dhpe_ros.training.data import TrainingData
from dhpe_ros.training.engine.data_engine import DataEngine
from dhpe_ros.weights import hand_model_path


def stream(
    config: TrainConfig, data: TrainingData, size: int, device: torch.device, first: int
) -> Iterator[Batch]:
    """This process's part of batch number ``first`` and of all after it, ``size`` pixels a side.

    Raises ``ValueError`` for a hand model that live hands cannot be made of.
    """
    batch, seed = config.data.batch, config.learning.seed
    part = {"rank": processes.rank(), "processes": processes.count()}
    live = live_count(config, bool(data.samples))
    if live:
        model = HandModel(config.model.hand_model or hand_model_path())
        engine = DataEngine(model, device, seed=seed, size=size, pictures=data.backgrounds)
        made = engine.batches(first, live, **part)
        if live == batch:
            return made
    batches = MixedBatches(
        data.samples,
        data.backgrounds,
        batch - live,
        seed,
        input_size=size,
        augmentation=config.data.augmentation,
        **part,
    )
    drawn = batches.start(first, config.data.workers, device)
    return _shuffled(made, drawn, device, first, seed) if live else drawn


def live_count(config: TrainConfig, photographs: bool) -> int:
    """How many of a batch are live; at least one where ``data.synthetic`` says so."""
    if config.data.synthetic != LIVE:
        return 0
    share = config.data.live_share if photographs else 1.0
    return max(1, round(share * config.data.batch))


def _shuffled(
    made: Iterator[Batch], drawn: Iterator[Batch], device: torch.device, first: int, seed: int
) -> Iterator[Batch]:
    """Both in one, in random order: some losses take the first hands of a batch."""
    for index, one, other in zip(count(first), made, drawn, strict=False):
        whole = Batch.concatenate((one, other))
        generator = torch.Generator().manual_seed((seed << 32) + index)
        order = torch.randperm(len(whole.hand), generator=generator)
        yield whole.rows(order.to(device, non_blocking=True))
