"""The samples of a training run, by source, and what is held back of them."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import cv2
import numpy as np

from dhpe_lab.datasets.labelled_hand import evenly, stored_sample
from dhpe_lab.datasets.real_hands import load_frames, load_negatives, load_real_hands, together
from dhpe_lab.datasets.rhd import read_rhd
from dhpe_lab.datasets.samples import Sample, StoredSample
from dhpe_lab.datasets.stb import read_stb
from dhpe_lab.synthesis.backgrounds import MadeUpPictures
from dhpe_lab.synthesis.photo_fits import with_cuts
from dhpe_lab.synthesis.synthesis import LiveHands, load_synthetic, random_samples
from dhpe_lab.training.config import LIVE, NOTHING, DataConfig, TrainConfig
from dhpe_ros.hand.model import HandModel
from dhpe_ros.media import Kind, MediaError, kind_of
from dhpe_ros.media.pictures import read_image
from dhpe_ros.networks.weights import hand_model_path

_LOG = logging.getLogger(__name__)
_SYNTHETIC_HELD_BACK = 100  # one of so many
_LIVE_HELD_BACK, _LIVE_HELD_BACK_SEED = 100, 2**31 - 1
_HELD_BACK = 100  # at most, of a set of photographs: checks stay short
_DATA_SET_HELD_BACK = 200  # at most, of the test part of a published set: checks stay short
_BACKGROUND_SIDE = 512  # pixels, the shorter side of a background, at most


@dataclass(frozen=True)
class TrainingData:
    """Samples to train on, and by source those to validate on."""

    samples: list[Sample | StoredSample]
    backgrounds: list[np.ndarray]
    held_back: dict[str, list[Sample | StoredSample]]
    # Whole pictures without a hand, with what is taken for one.
    negatives: list[np.ndarray] = field(default_factory=list)
    live: Sequence[Sample] = ()  # rendered when they are asked for

    @cached_property
    def surroundings(self) -> Sequence[np.ndarray]:
        """Backgrounds of drawn hands; made-up pictures if there are none."""
        return self.backgrounds or MadeUpPictures()

    def description(self) -> dict[str, object]:
        """Counts by source, for the checkpoints."""
        return {
            "samples": dict(Counter(sample.source for sample in self.samples)),
            "backgrounds": len(self.backgrounds),
            "negatives": len(self.negatives),
            "held_back": {name: len(some) for name, some in self.held_back.items()},
        }


def load_data(config: TrainConfig) -> TrainingData:
    """Read the folders of ``config.data``. Errors as in their readers, or ``ValueError``."""
    config.data.require_source()
    samples: list[Sample | StoredSample] = []
    backgrounds: list[np.ndarray] = []
    negatives: list[np.ndarray] = []
    held_back: dict[str, list[Sample | StoredSample]] = {}
    if config.data.real:
        folder = Path(config.data.real)
        framed, backgrounds = load_frames(folder, "train")
        hands = load_real_hands(folder, "train")
        if config.data.fits:
            hands = with_cuts(hands, Path(config.data.fits))
        negatives = load_negatives(folder, "train")
        held_out = set(filter(None, config.data.held_out.split(",")))
        samples += [s for s in (*hands, *framed) if s.source not in held_out]
        looked_at = [s for s in hands if s.source in held_out]
        for sample in (*looked_at, *load_real_hands(folder, "val")):
            held_back.setdefault(sample.source, []).append(sample)
        held_back = {name: evenly(some, _HELD_BACK) for name, some in held_back.items()}
        if missing := held_out - held_back.keys():
            raise ValueError(f"data.held_out: {folder} has no set {min(missing)} to learn from")
    for name, learnt, looked_at in _data_sets(config.data):
        samples += learnt
        held_back[name] = looked_at
    if config.data.backgrounds:
        backgrounds = [*backgrounds, *load_backgrounds(Path(config.data.backgrounds))]
    live: Sequence[Sample] = ()
    if config.data.synthetic == LIVE:
        model = HandModel(config.model.hand_model or hand_model_path())
        held = random_samples(model, _LIVE_HELD_BACK, _LIVE_HELD_BACK_SEED)
        held_back["synthetic"] = list(held)
        live = LiveHands(model, config.learning.seed)
    elif config.data.synthetic:
        synthetic = load_synthetic(Path(config.data.synthetic))
        held_back["synthetic"] = synthetic[::_SYNTHETIC_HELD_BACK]
        samples += [s for k, s in enumerate(synthetic) if k % _SYNTHETIC_HELD_BACK]
    if not samples and not live:
        raise ValueError(NOTHING)
    return TrainingData(samples, backgrounds, held_back, negatives, live)


def _data_sets(
    config: DataConfig,
) -> Iterator[tuple[str, list[StoredSample], list[StoredSample]]]:
    """Name, training part and some of the test part of each published set that is asked for."""
    for name, folder, read in (("rhd", config.rhd, read_rhd), ("stb", config.stb, read_stb)):
        if folder:
            _LOG.info("reading the labels of %s in %s", name, folder)
            learnt = read(Path(folder), "train")
            looked_at = read(Path(folder), "test", _DATA_SET_HELD_BACK)
            yield name, *([stored_sample(hand, name) for hand in p] for p in (learnt, looked_at))


def load_backgrounds(folder: Path) -> list[np.ndarray]:
    """The pictures (H, W, 3) uint8 RGB in a folder and those in it.

    Raises ``FileNotFoundError`` where there are none and ``ValueError`` for one that is none.
    """
    files = picture_files(folder)
    if not files:
        raise FileNotFoundError(f"no pictures in {folder}")
    return list(together(_background, files))


def picture_files(folder: Path) -> list[Path]:
    """Files of pictures in a folder and its subfolders."""
    return sorted(file for file in folder.rglob("*") if kind_of(file) is Kind.PICTURE)


def _background(file: Path) -> np.ndarray:
    try:
        image = read_image(file)
    except MediaError as error:
        raise ValueError(f"{error}; remove it from the folder") from error
    smaller = _BACKGROUND_SIDE / min(image.shape[:2])
    if smaller < 1:
        image = cv2.resize(image, None, fx=smaller, fy=smaller, interpolation=cv2.INTER_AREA)
    return image
