"""The samples of a training run, by source, and what is held back of them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dhpe_ros.training.config import TrainConfig
from dhpe_ros.training.real_hands import load_frames, load_real_hands
from dhpe_ros.training.samples import Sample
from dhpe_ros.training.synthesis import load_synthetic

_SYNTHETIC_HELD_BACK = 100  # one of so many


@dataclass(frozen=True)
class TrainingData:
    """What is trained on, and by source what is only looked at."""

    samples: list[Sample]
    backgrounds: list[np.ndarray]
    held_back: dict[str, list[Sample]]

    def description(self) -> dict[str, object]:
        """How much there is of what: goes into the checkpoints."""
        return {
            "samples": dict(Counter(sample.source for sample in self.samples)),
            "backgrounds": len(self.backgrounds),
            "held_back": {name: len(some) for name, some in self.held_back.items()},
        }


def load_data(config: TrainConfig) -> TrainingData:
    """Read the folders of ``config.data``. Errors as in their readers, or ``ValueError``."""
    samples: list[Sample] = []
    backgrounds: list[np.ndarray] = []
    held_back: dict[str, list[Sample]] = {}
    if config.data.real:
        folder = Path(config.data.real)
        framed, backgrounds = load_frames(folder, "train")
        samples += [*load_real_hands(folder, "train"), *framed]
        for sample in load_real_hands(folder, "val"):
            held_back.setdefault(sample.source, []).append(sample)
    if config.data.synthetic:
        synthetic = load_synthetic(Path(config.data.synthetic))
        held_back["synthetic"] = synthetic[::_SYNTHETIC_HELD_BACK]
        samples += [s for k, s in enumerate(synthetic) if k % _SYNTHETIC_HELD_BACK]
    if not samples:
        raise ValueError("nothing to learn from: set data.real, data.synthetic or both")
    return TrainingData(samples, backgrounds, held_back)
