"""The batches of a run: drawn ahead from samples, made live on the training device, or both."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import torch

from dhpe_lab.training import distributed
from dhpe_lab.training.batches import Batch, MixedBatches
from dhpe_lab.training.config import LIVE, TrainConfig
from dhpe_lab.training.data import TrainingData
from dhpe_lab.training.engine.data_engine import DataEngine
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path


class Stream:
    """Source of this process's part of every batch."""

    def __init__(self, config: TrainConfig, data: TrainingData, device: torch.device) -> None:
        """Raises ``ValueError`` for a hand model that live hands cannot be made of."""
        self._config, self._data, self._device = config, data, device
        self._live, self._engine = live_count(config, bool(data.samples)), None
        if self._live:
            model = HandModel(config.model.hand_model or hand_model_path())
            seed = config.learning.seed
            self._engine = DataEngine(model, device, seed=seed, pictures=data.backgrounds)

    def start(self, size: int, first: int) -> Iterator[Batch]:
        """Batch number ``first`` and all after it, pictures of ``size`` pixels a side."""
        settings, seed = self._config.data, self._config.learning.seed
        part = {"rank": distributed.rank(), "processes": distributed.count()}
        if self._engine:
            made = self._engine.batches(first, self._live, size, **part)
            if self._live == settings.batch:
                return made
        drawn = MixedBatches(
            self._data.samples,
            self._data.surroundings,
            settings.batch - self._live,
            seed,
            input_size=size,
            negatives=self._data.negatives,
            augmentation=settings.augmentation,
            synthetic_share=settings.synthetic_share,
            right_share=settings.right_share,
            **part,
        ).start(first, settings.workers, self._device)
        return _shuffled(made, drawn, self._device, first, seed) if self._engine else drawn


def live_count(config: TrainConfig, photographs: bool) -> int:
    """Number of live samples in a batch; at least one of each kind that is asked for."""
    if config.data.synthetic != LIVE:
        return 0
    share, batch = config.data.live_share if photographs else 1.0, config.data.batch
    most = batch if share == 1 else batch - 1
    return max(1, min(round(share * batch), most))


def _shuffled(
    made: Iterator[Batch], drawn: Iterator[Batch], device: torch.device, first: int, seed: int
) -> Iterator[Batch]:
    """Both in one, in random order: some losses take the first hands of a batch."""
    for index, one, other in zip(count(first), made, drawn, strict=False):
        whole = Batch.concatenate((one, other))
        generator = torch.Generator().manual_seed((seed << 32) + index)
        order = torch.randperm(len(whole.hand), generator=generator)
        yield whole.rows(order.to(device, non_blocking=True))
