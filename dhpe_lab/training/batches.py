"""Batches for the training loop: sources mixed by share, not by how many pictures each has.

The examples of a training run are numbered; each is drawn from the seed and its number alone. So a
batch is the same whoever draws it, and when: a worker, one of several processes, or a run that was
resumed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from itertools import count
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from dhpe_lab.datasets.samples import Sample, StoredSample
from dhpe_lab.training import distributed
from dhpe_lab.training.augmentation import INPUT_SIZE, Example, augment, background_example
from dhpe_lab.training.config import DataConfig, TrainConfig

if TYPE_CHECKING:
    from dhpe_lab.training.data import TrainingData

BACKGROUND_SHARE = 0.1
SOURCE_WEIGHTS = {  # others 1: more people, rooms
    "signs": 1.5, "frames": 1.5, "room_gestures": 1.3, "hagrid": 3.0, "people_a": 2.0,
    "people_b": 2.0, "reviewers": 2.0, "vests_pos": 2.0, "tests_mmpose": 2.0, "face_api": 2.0,
    "tfjs": 2.0, "safety_gear": 2.0,
}  # fmt: skip
NEGATIVES_SHARE = 0.6  # of the crops without a hand: from pictures of what is taken for hands
ALIKE = 1000  # pictures of a set, beyond which more of them say nothing new


@dataclass(frozen=True)
class Batch:
    """Examples stacked; shapes as in ``Example`` with a leading B."""

    images: Tensor  # (B, 3, S, S) float in 0..1
    hand: Tensor  # (B,) bool
    right: Tensor  # (B,) bool
    near: Tensor  # (B,) bool
    joints: Tensor  # (B, 21, 2)
    depth: Tensor  # (B, 21)
    depth_trust: Tensor  # (B,)
    mask: Tensor  # (B, S, S) float in 0..1
    mask_known: Tensor  # (B,) bool
    mask_exact: Tensor  # (B,) bool
    synthetic: Tensor  # (B,) bool
    rotation: Tensor  # (B, 3, 3)
    pose: Tensor  # (B, 15, 3)
    shape: Tensor  # (B, 10)

    @staticmethod
    def stack(examples: Sequence[Example]) -> Batch:
        return Batch.packed(examples).unpacked()

    @staticmethod
    def packed(examples: Sequence[Example]) -> Batch:
        """Stack with images (B, S, S, 3) and masks as bytes: a quarter to send elsewhere."""
        values = {
            field.name: torch.from_numpy(np.stack([getattr(e, field.name) for e in examples]))
            for field in fields(Example)
        }
        values["depth_trust"] = values["depth_trust"].float()
        return Batch(images=values.pop("image"), **values)

    def unpacked(self) -> Batch:
        """Undo ``packed``."""
        images = self.images.permute(0, 3, 1, 2).float().div_(255)
        return replace(self, images=images, mask=self.mask.float().div_(255))

    def tensors(self) -> dict[str, Tensor]:
        """Name -> tensor."""
        return {field.name: getattr(self, field.name) for field in fields(self)}

    def to(self, device: torch.device | str) -> Batch:
        """Copy to ``device``; the copy may still be under way."""
        return self._each(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Batch:
        """Pin the memory, for a fast copy to a GPU; the loader calls it."""
        return self._each(Tensor.pin_memory)

    def _each(self, change: Callable[[Tensor], Tensor]) -> Batch:
        return Batch(**{name: change(tensor) for name, tensor in self.tensors().items()})


class MixedBatches:
    """Batch ``k`` of the endless row: ``batches[k]``.

    Of ``processes`` that draw together, this one has the part number ``rank`` of every batch.
    """

    def __init__(
        self,
        samples: Sequence[Sample | StoredSample],
        backgrounds: Sequence[np.ndarray],
        batch_size: int,
        seed: int,
        *,
        live: Sequence[Sample] = (),
        negatives: Sequence[np.ndarray] = (),
        input_size: int = INPUT_SIZE,
        augmentation: bool = True,
        synthetic_share: float = DataConfig().synthetic_share,
        right_share: float = DataConfig().right_share,
        rank: int = 0,
        processes: int = 1,
    ) -> None:
        by_source: dict[str, list[Sample | StoredSample]] = defaultdict(list)
        for sample in samples:
            by_source[sample.source].append(sample)
        self._by_source: dict[str, Sequence[Sample | StoredSample]] = dict(by_source)
        if live:
            self._by_source["synthetic"] = live
        self._names = list(self._by_source)
        counts = {name: len(of) for name, of in self._by_source.items()}
        self._shares = source_shares(counts, synthetic_share)
        self._backgrounds = backgrounds
        self._negatives = negatives or backgrounds
        self._right_share = right_share
        self._batch_size = batch_size
        self._seed = seed
        self._input_size = input_size
        self._augmentation = augmentation
        self._rank, self._processes = rank, processes

    @staticmethod
    def of_run(config: TrainConfig, data: TrainingData, input_size: int) -> MixedBatches:
        """This process's part of the batches of a training run."""
        settings = config.data
        return MixedBatches(
            data.samples,
            data.surroundings,
            settings.batch,
            config.learning.seed,
            live=data.live,
            negatives=data.negatives,
            input_size=input_size,
            augmentation=settings.augmentation,
            synthetic_share=settings.synthetic_share,
            right_share=settings.right_share,
            rank=distributed.rank(),
            processes=distributed.count(),
        )

    def __getitem__(self, index: int) -> Batch:
        return self.packed(index).unpacked()

    def packed(self, index: int) -> Batch:
        """``Batch.packed`` of batch ``index``."""
        first = (index * self._processes + self._rank) * self._batch_size
        return Batch.packed([self._example(first + k) for k in range(self._batch_size)])

    def start(
        self, first: int, workers: int, device: torch.device | str = "cpu"
    ) -> Iterator[Batch]:
        """The batches from number ``first`` on, made ahead by ``workers`` where there are any."""
        loader = DataLoader(
            _Packed(self),
            batch_size=None,
            sampler=count(first),
            num_workers=workers,
            pin_memory=torch.device(device).type == "cuda",
        )
        return (batch.to(device).unpacked() for batch in loader)

    def _example(self, number: int) -> Example:
        rng = np.random.default_rng((self._seed, number))
        if rng.random() < BACKGROUND_SHARE:
            without = self._negatives if rng.random() < NEGATIVES_SHARE else self._backgrounds
            return background_example(without, rng, self._input_size)
        source = self._by_source[self._names[rng.choice(len(self._names), p=self._shares)]]
        sample = source[rng.integers(len(source))]
        return augment(
            sample,
            self._backgrounds,
            rng,
            self._input_size,
            self._augmentation,
            self._right_share,
        )


class _Packed(Dataset):
    """Form in which batches come from a worker."""

    def __init__(self, batches: MixedBatches) -> None:
        self._batches = batches

    def __getitem__(self, index: int) -> Batch:
        return self._batches.packed(index)


def source_shares(
    counts: Mapping[str, int], synthetic_share: float = DataConfig().synthetic_share
) -> np.ndarray:
    """The share of each source: ``synthetic_share``, real sets weighed among themselves.

    By the root of how many pictures they have, up to a number: those of one set are alike.
    """
    weights = np.array(
        [SOURCE_WEIGHTS.get(name, 1.0) * min(n, ALIKE) ** 0.5 for name, n in counts.items()]
    )
    synthetic = np.array([name == "synthetic" for name in counts])
    if synthetic.all() or not synthetic.any():
        return weights / weights.sum()
    shares = weights * ~synthetic * (1 - synthetic_share) / weights[~synthetic].sum()
    return shares + synthetic * synthetic_share
