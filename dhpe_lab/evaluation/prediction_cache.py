"""Predictions on disk: made once, scored as often as wanted, resumed, shared out to processes.

A folder belongs to one question: which set, which method, which settings, which weights and which
code. Its name is the digest of these, ``question.json`` in it says them. Hands are kept in parts,
each a file that appears whole or not at all.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

import dhpe_ros
from dhpe_lab.evaluation.labelled import LabelledHand, LabelledSet
from dhpe_lab.evaluation.predict import Prediction
from dhpe_ros.rendering.normals import area_normals
from dhpe_ros.types import Box, Hand, Refinement, Side

PART = 64  # hands in a file
_LABORATORY = Path(__file__).resolve().parents[1]
_RUNTIME = Path(dhpe_ros.__file__).resolve().parent
# Folders of the runtime that change no prediction.
_FACES = {"ros", "cli", "media"}
_METHODS = ("predict", "rivals", "baselines", "refinement_study")
_ARRAYS = ("joints_px", "joints_m", "joint_confidences", "vertices_px", "vertices_m",
           "wrist_rotation", "parameters")  # fmt: skip
_NOBODY = -1  # a side that is not known


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
        self._parts = [labelled.hands[start : start + size] for start in starts]

    def clear(self) -> None:
        """Forget what was predicted."""
        for number in range(len(self._parts)):
            self._file(number).unlink(missing_ok=True)

    def missing(self) -> list[int]:
        """The numbers of the parts that are not there yet."""
        return [number for number in range(len(self._parts)) if not self._file(number).is_file()]

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
            for prediction in predict(replace(self._labelled, hands=self._parts[number])):
                made.append(prediction)
                tick(1)
            _write(self._file(number), made)

    def read(self) -> Iterator[Prediction]:
        """All predictions, in the order of the set."""
        for number, hands in enumerate(self._parts):
            yield from _read(self._file(number), hands)

    def size(self, number: int) -> int:
        return len(self._parts[number])

    def _file(self, number: int) -> Path:
        return self.folder / f"{number:05d}.npz"


def file_digest(path: str | Path) -> str:
    """SHA-256 of a file."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def code_digest() -> str:
    """Digest of all code that a prediction depends on."""
    files = [p for p in _RUNTIME.rglob("*.py") if p.relative_to(_RUNTIME).parts[0] not in _FACES]
    files += [_LABORATORY / "evaluation" / f"{name}.py" for name in _METHODS]
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(file.read_bytes())
    return digest.hexdigest()[:12]


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
    rows = [k for k, one in enumerate(predictions) if one.hand is not None]
    hands = [predictions[k].hand for k in rows]
    columns = {
        "rows": np.array(rows, np.int64),
        "size": np.array([one.picture_size for one in predictions], np.int64),
        "found": np.array([one.found for one in predictions], bool),
        "told": np.array([_number(one.side) for one in predictions], np.int8),
        "ms": np.array([list(one.ms.values()) for one in predictions]),
        "stages": np.array(list(predictions[0].ms) if predictions else [], str),
        "hand_side": np.array([_number(hand.side) for hand in hands], np.int8),
        "score": np.array([hand.score for hand in hands]),
        "right": np.array([hand.right for hand in hands]),
        "box": np.array([hand.box.as_array() for hand in hands]),
        "metric": np.array([hand.metric for hand in hands], bool),
        "refinement": np.array([list(vars(hand.refinement).values()) for hand in hands], float),
    }
    if hands:
        columns |= {name: np.stack([getattr(hand, name) for hand in hands]) for name in _ARRAYS}
        first = hands[0]
        right = first.side is Side.RIGHT
        columns["triangles"] = first.triangles if right else first.triangles[:, [0, 2, 1]]
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with partial.open("wb") as file:
        np.savez(file, **columns)
    partial.replace(path)


def _read(path: Path, labels: Sequence[LabelledHand]) -> Iterator[Prediction]:
    with np.load(path) as archive:
        columns = dict(archive)
    row_of = {int(row): k for k, row in enumerate(columns["rows"])}
    stages = [str(name) for name in columns["stages"]]
    for index in range(len(columns["found"])):  # fewer than labels where a video ended early
        height, width = (int(n) for n in columns["size"][index])
        yield Prediction(
            label=labels[index],
            picture_size=(height, width),
            hand=_hand(columns, row_of[index]) if index in row_of else None,
            found=bool(columns["found"][index]),
            side=_side(columns["told"][index]),
            ms=dict(zip(stages, columns["ms"][index].tolist(), strict=True)),
        )


def _hand(columns: Mapping[str, np.ndarray], row: int) -> Hand:
    side = _side(columns["hand_side"][row])
    triangles = columns["triangles"] if side is Side.RIGHT else columns["triangles"][:, [0, 2, 1]]
    triangles = np.ascontiguousarray(triangles)
    steps, before, after, accepted = columns["refinement"][row].tolist()
    return Hand(
        side=side,
        score=float(columns["score"][row]),
        right=float(columns["right"][row]),
        box=Box(*columns["box"][row].tolist()),
        normals=area_normals(columns["vertices_m"][row], triangles)[0].astype(np.float32),
        triangles=triangles,
        metric=bool(columns["metric"][row]),
        refinement=Refinement(int(steps), before, after, bool(accepted)),
        **{name: columns[name][row] for name in _ARRAYS},
    )


def _number(side: Side | None) -> int:
    return _NOBODY if side is None else int(side)


def _side(number: int) -> Side | None:
    return None if number == _NOBODY else Side(int(number))
