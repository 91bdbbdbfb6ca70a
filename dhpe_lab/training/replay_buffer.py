"""Replay buffer: a bounded set of samples that a resumed run finds again."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from dhpe_lab.datasets.samples import Sample
from dhpe_ros.files.npz import read_npz

_PICTURE = ("image", "mask", "opacity")
_LABELS = ("joints_px", "relative_depth_px", "rotation", "pose", "shape")


class ReplayBuffer:
    """The newest ``capacity`` samples: right hands with every label, pictures of one size.

    ``store`` writes what is new to a file of its own, named by the step, and never changes one.
    So the files up to a step hold what the set was then, whatever was added or written later. Files
    that neither the checkpoint before nor the present one needs are removed.
    """

    def __init__(self, folder: Path, capacity: int, source: str, step: int = 0) -> None:
        """Read the buffer in ``folder`` as of ``step``; remove files of later steps."""
        self._folder, self._capacity, self._source = folder, capacity, source
        self._samples: deque[Sample] = deque(maxlen=capacity)
        self._unwritten = 0
        self._files: list[tuple[Path, int]] = []
        for path in sorted(folder.glob("*.npz*")):
            if path.suffix != ".npz" or int(path.stem) > step:
                path.unlink()
                continue
            samples = _read(path, source)
            self._samples.extend(samples)
            self._files.append((path, len(samples)))

    def __len__(self) -> int:
        return len(self._samples)

    def __getitem__(self, index: int) -> Sample:
        return self._samples[index]

    def add(self, samples: Iterable[Sample]) -> None:
        """The oldest go where there is no room."""
        for sample in samples:
            self._samples.append(sample)
            self._unwritten = min(self._unwritten + 1, self._capacity)

    def store(self, step: int) -> None:
        """Write what is new, for a checkpoint at ``step`` that is made after this."""
        if not self._unwritten:
            return
        # The files are still what the last checkpoint needs, no more.
        while sum(count for _, count in self._files[1:]) >= self._capacity:
            self._files.pop(0)[0].unlink()
        self._folder.mkdir(parents=True, exist_ok=True)
        path = self._folder / f"{step:010d}.npz"
        _write(path, list(self._samples)[-self._unwritten :])
        self._files.append((path, self._unwritten))
        self._unwritten = 0


def _write(path: Path, samples: list[Sample]) -> None:
    arrays = {
        name: np.stack([getattr(sample, name) for sample in samples])
        for name in (*_PICTURE, *_LABELS)
    }
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        np.savez(file, **arrays)
    partial.replace(path)


def _read(path: Path, source: str) -> list[Sample]:
    arrays = read_npz(path, (*_PICTURE, *_LABELS))
    count = len(arrays["image"])
    # Copies: a view would keep the whole file in memory for as long as one sample of it stays.
    return [
        Sample(right=True, source=source, **{n: rows[k].copy() for n, rows in arrays.items()})
        for k in range(count)
    ]
