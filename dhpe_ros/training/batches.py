"""Batches for the training loop: sources mixed by share, not by how many pictures each has."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import IterableDataset

from dhpe_ros.training.augmentation import Example, augment, background_example
from dhpe_ros.training.samples import Sample

BACKGROUND_SHARE = 0.06
SYNTHETIC_SHARE = 0.45
SOURCE_WEIGHTS = {"signs": 1.5, "frames": 1.5, "room_gestures": 1.3}  # others 1: more people, rooms


@dataclass(frozen=True)
class Batch:
    """Examples stacked; shapes as in ``Example`` with a leading B."""

    images: Tensor  # (B, 3, 128, 128) float in 0..1
    hand: Tensor  # (B,) bool
    right: Tensor  # (B,) bool
    near: Tensor  # (B,) bool
    joints: Tensor  # (B, 21, 2)
    depth: Tensor  # (B, 21)
    depth_trust: Tensor  # (B,)
    mask: Tensor  # (B, 128, 128) float in 0..1
    mask_known: Tensor  # (B,) bool
    synthetic: Tensor  # (B,) bool
    rotation: Tensor  # (B, 3, 3)
    pose: Tensor  # (B, 15, 3)
    shape: Tensor  # (B, 10)

    @staticmethod
    def stack(examples: Sequence[Example]) -> Batch:
        values = {
            field.name: torch.from_numpy(np.stack([getattr(e, field.name) for e in examples]))
            for field in fields(Example)
        }
        images = values.pop("image").permute(0, 3, 1, 2).float() / 255
        mask = values.pop("mask").float() / 255
        values["depth_trust"] = values["depth_trust"].float()
        return Batch(images=images, mask=mask, **values)


class MixedBatches(IterableDataset):
    """An endless stream of batches; every worker draws its own."""

    def __init__(
        self,
        samples: Sequence[Sample],
        backgrounds: Sequence[np.ndarray],
        batch_size: int,
        seed: int,
    ) -> None:
        self._by_source: dict[str, list[Sample]] = defaultdict(list)
        for sample in samples:
            self._by_source[sample.source].append(sample)
        self._backgrounds = backgrounds
        self._batch_size = batch_size
        self._seed = seed

    def __iter__(self) -> Iterator[Batch]:
        worker = torch.utils.data.get_worker_info()
        rng = np.random.default_rng((self._seed, worker.id if worker else 0))
        names = list(self._by_source)
        shares = source_shares(names)
        while True:
            yield Batch.stack([self._draw(names, shares, rng) for _ in range(self._batch_size)])

    def _draw(self, names: list[str], shares: np.ndarray, rng: np.random.Generator) -> Example:
        if rng.random() < BACKGROUND_SHARE:
            return background_example(self._backgrounds, rng)
        source = self._by_source[names[rng.choice(len(names), p=shares)]]
        return augment(source[rng.integers(len(source))], self._backgrounds, rng)


def source_shares(names: Sequence[str]) -> np.ndarray:
    """The share of each source: synthetic fixed, real sets weighed among themselves."""
    weights = np.array([SOURCE_WEIGHTS.get(name, 1.0) for name in names])
    synthetic = np.array([name == "synthetic" for name in names])
    if synthetic.all() or not synthetic.any():
        return weights / weights.sum()
    shares = weights * ~synthetic * (1 - SYNTHETIC_SHARE) / weights[~synthetic].sum()
    return shares + synthetic * SYNTHETIC_SHARE
