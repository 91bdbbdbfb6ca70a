"""The curves and pictures of a run: ``log.jsonl``, and TensorBoard's where it is installed."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np
from torch import Tensor

_LOG = logging.getLogger(__name__)


class TrainLog:
    """One line of ``log.jsonl`` per entry: ``{"step": 40, "loss/heatmaps": 1.2, ...}``."""

    def __init__(self, folder: Path, step: int) -> None:
        """Go on from ``step``: what a run wrote after its last checkpoint is forgotten."""
        self._folder = folder
        self._path = folder / "log.jsonl"
        rows = [row for row in read_log(folder) if row["step"] <= step]
        self._path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        self._board = _board(folder / "tensorboard", step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        with self._path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        if self._board:
            for name, value in values.items():
                self._board.add_scalar(name, value, step)

    def picture(self, step: int, image: np.ndarray) -> None:
        """``(H, W, 3)`` uint8 RGB, also written as ``pictures/STEP.jpg``."""
        path = self._folder / "pictures" / f"{step:07d}.jpg"
        path.parent.mkdir(exist_ok=True)
        cv2.imwrite(str(path), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
        if self._board:
            self._board.add_image("held_back", image, step, dataformats="HWC")

    def close(self) -> None:
        if self._board:
            self._board.close()


class Means:
    """Means of named tensors since they were last taken; nothing waits for a GPU until then."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._counts: dict[str, int] = {}

    def add(self, terms: Mapping[str, Tensor]) -> None:
        for name, term in terms.items():
            self._sums[name] = self._sums.get(name, 0) + term.detach()
            self._counts[name] = self._counts.get(name, 0) + 1

    def take(self) -> dict[str, float]:
        means = {name: float(total) / self._counts[name] for name, total in self._sums.items()}
        self._sums, self._counts = {}, {}
        return means


def read_log(folder: Path) -> list[dict]:
    """The entries of a run so far; a last line that a kill cut short is left out."""
    path = folder / "log.jsonl"
    lines = path.read_text().splitlines() if path.is_file() else []
    return [json.loads(line) for line in lines if line.endswith("}")]


def _board(folder: Path, step: int):
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        _LOG.warning(
            "no TensorBoard: curves go to log.jsonl and pictures to pictures/ alone; "
            "pip install -r requirements/training.txt brings it"
        )
        return None
    return SummaryWriter(str(folder), purge_step=step + 1)
