"""Predictions on disk: made once, scored as often as wanted, resumed, shared out to processes.

A folder belongs to one question: which set, which method, which settings, which weights and which
code. Its name is the digest of these, ``question.json`` in it says them. Hands are kept in parts,
each a file that appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
import pickle
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import dhpe_ros
from dhpe_lab.evaluation.labelled import LabelledHand, LabelledSet
from dhpe_lab.evaluation.predict import Prediction

PART = 64  # hands in a file
LABORATORY = Path(__file__).resolve().parents[1]
RUNTIME = Path(dhpe_ros.__file__).resolve().parent
# Folders of the runtime that change no prediction.
_FACES = {"ros", "cli", "media"}
_METHODS = ("predict", "rivals", "baselines", "refinement_study")


class PredictionCache:
    """Predictions of one method on one set."""

    def __init__(self, folder: Path, labelled: LabelledSet, question: Mapping[str, object]) -> None:
        """Use a subfolder of ``folder``, named by ``question`` and the set."""
        self._labelled = labelled
        self.question = {**question, "hands": _digest_of(labelled), "code": code_digest()}
        text = json.dumps(self.question, indent=1, sort_keys=True)
        self.folder = folder / hashlib.sha256(text.encode()).hexdigest()[:16]
        self._text = text
        # A clip is followed from its beginning: it cannot be cut.
        size = len(labelled.hands) if labelled.is_clip else PART
        starts = range(0, len(labelled.hands), max(size, 1))
        self.parts = [labelled.hands[start : start + size] for start in starts]

    def clear(self) -> None:
        """Forget what was predicted."""
        for number in range(len(self.parts)):
            self._file(number).unlink(missing_ok=True)

    def missing(self) -> list[int]:
        """The numbers of the parts that are not there yet."""
        return [number for number in range(len(self.parts)) if not self._file(number).is_file()]

    def make(
        self,
        predict: Callable[[LabelledSet], Iterator[Prediction]],
        numbers: Sequence[int],
        tick: Callable[[int], object],
    ) -> None:
        """Predict the parts of these ``numbers`` and keep each; ``tick(1)`` after every hand."""
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "question.json").write_text(self._text, "utf-8")
        for number in numbers:
            made = []
            for prediction in predict(replace(self._labelled, hands=self.parts[number])):
                made.append(prediction)
                tick(1)
            _write(self._file(number), made)

    def read(self) -> Iterator[Prediction]:
        """All predictions, in the order of the set."""
        for number, hands in enumerate(self.parts):
            yield from _read(self._file(number), hands)

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:05d}.pickle"


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def files_digest(files: Iterable[Path]) -> str:
    """Twelve digits of the digest of all files."""
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


def code_digest() -> str:
    """Digest of all code that a prediction depends on."""
    files = [p for p in RUNTIME.rglob("*.py") if p.relative_to(RUNTIME).parts[0] not in _FACES]
    files += [LABORATORY / "evaluation" / f"{name}.py" for name in _METHODS]
    return files_digest(files)


def _digest_of(labelled: LabelledSet) -> str:
    """Digest of the pictures, by size and time, and of what is given about each hand."""
    digest, stamps = hashlib.sha256(), {}
    for hand in labelled.hands:
        if hand.picture not in stamps:
            stamps[hand.picture] = _stamp(hand.picture)
        given = (str(hand.picture), stamps[hand.picture], hand.frame, hand.side, hand.camera_px)
        digest.update(repr((*given, hand.box)).encode())
        digest.update(np.ascontiguousarray(hand.joints_px, np.float64).tobytes())
    return digest.hexdigest()


def _stamp(path: Path) -> list[tuple[int, int]]:
    """Size and time of each file; none of a missing one, which its reader reports."""
    files = sorted(path.iterdir()) if path.is_dir() else [path] if path.is_file() else []
    return [(file.stat().st_size, file.stat().st_mtime_ns) for file in files]


def _write(path: Path, predictions: Sequence[Prediction]) -> None:
    """Without the labels, which belong to the set."""
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    partial.write_bytes(pickle.dumps([replace(one, label=None) for one in predictions]))
    partial.replace(path)


def _read(path: Path, labels: Sequence[LabelledHand]) -> Iterator[Prediction]:
    """A file of the user's own cache; fewer than labels where a video ended early."""
    for prediction, label in zip(pickle.loads(path.read_bytes()), labels, strict=False):
        yield replace(prediction, label=label)
