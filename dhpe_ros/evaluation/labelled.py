"""Labelled hands to measure against: the folders of ``docs/training.md``, single files, clips."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dhpe_ros.media import open_media
from dhpe_ros.media.suffixes import VIDEO_SUFFIXES
from dhpe_ros.training.labelled_hand import LabelledHand
from dhpe_ros.training.rhd import is_rhd, read_rhd
from dhpe_ros.training.stb import is_stb, read_stb
from dhpe_ros.types import JOINT_COUNT, Side

_REMEDY = "docs/training.md describes the folder of labelled pictures"


@dataclass(frozen=True)
class LabelledSet:
    """Labelled hands, in single pictures or in the frames of one video."""

    name: str
    hands: Sequence[LabelledHand]

    @property
    def is_clip(self) -> bool:
        return bool(self.hands) and _is_video(self.hands[0].picture)

    def pictures(self) -> Iterator[tuple[LabelledHand, np.ndarray]]:
        """Each hand with its picture ``(H, W, 3)`` uint8 RGB.

        Raises ``ValueError`` for what cannot be read.
        """
        if not self.is_clip:
            yield from ((hand, hand.image()) for hand in self.hands)
            return
        waiting = iter(self.hands)
        hand = next(waiting)
        for index, frame in enumerate(open_media(hand.picture).frames()):
            if index == hand.frame:
                yield hand, frame.image
                if (hand := next(waiting, None)) is None:
                    return
        raise ValueError(f"{hand.picture}: ends before frame {hand.frame}, which has a label")

    def part(self, count: int | None, seed: int) -> LabelledSet:
        """``count`` hands drawn by ``seed``, in their order; the first ones of a clip."""
        if count is None or count >= len(self.hands):
            return self
        chosen = np.random.default_rng(seed).permutation(len(self.hands))[:count]
        rows = range(count) if self.is_clip else sorted(chosen)
        return replace(self, hands=[self.hands[row] for row in rows])


def open_labelled(path: Path, name: str = "") -> LabelledSet:
    """The labelled hands of a folder, or of one picture or video with a ``labels.json`` beside it.

    Of a folder, whatever is not marked ``train``; of RHD and STB, what others measure on as well.
    Raises ``ValueError`` or ``OSError`` that says what is missing, and where the format is
    described.
    """
    if is_rhd(path):
        return LabelledSet(name or "rhd", read_rhd(path, "test"))
    if is_stb(path):
        return LabelledSet(name or "stb", read_stb(path, "test"))
    if path.is_dir():
        folders = [f for f in (path, path / "signs", path / "wild") if _labels_file(f).is_file()]
        if not folders:
            raise ValueError(f"no labels.json in {path}, {path}/signs or {path}/wild; {_REMEDY}")
        hands = [hand for folder in folders for hand in _folder(folder)]
    elif path.is_file():
        hands = list(_file(path))
    else:
        raise ValueError(f"{path}: there is no such folder or file; {_REMEDY}")
    if not hands:
        raise ValueError(f"{path}: no hand to evaluate on, all are marked train; {_REMEDY}")
    return LabelledSet(name or str(path), hands)


def _folder(folder: Path) -> Iterator[LabelledHand]:
    """The hands of one ``labels.json``: one hand per picture, whole pictures, or a mixed folder."""
    labels = _load(folder)
    try:
        if "hands" in labels:
            rows = [row for row in labels["hands"] if row.get("split") != "train"]
            yield from (_hand(folder, row, bool(labels.get("exact"))) for row in rows)
        elif "frames" in labels:
            for frame in labels["frames"]:
                if frame.get("split") != "train":
                    yield from (_one(folder / frame["file"], hand) for hand in frame["hands"])
        else:
            for name, hands in labels.items():
                if not _is_video(folder / name):
                    yield from (_one(folder / name, hand) for hand in hands)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{_labels_file(folder)}: {_described(error)}; {_REMEDY}") from error


def _hand(folder: Path, row: dict, exact: bool) -> LabelledHand:
    """A row of ``signs`` (a name) or ``wild`` (a file)."""
    if "name" in row:
        picture = folder / "images" / f"{row['name']}.jpg"
        mask_file = folder / "masks" / f"{row['name']}.png"
    else:
        picture = folder / row["file"]
        mask_file = (folder / "masks" / row["file"]).with_suffix(".png")
    return replace(
        _one(picture, row),
        mask_file=mask_file if mask_file.is_file() else None,
        joints_m=_array(row, "joints_m", 3) if exact else None,
        camera_px=tuple(row["camera_px"]) if "camera_px" in row else None,
        exact=exact,
    )


def _one(picture: Path, row: dict, frame: int = 0) -> LabelledHand:
    side = Side.LEFT if row.get("side", "right") == "left" else Side.RIGHT
    return LabelledHand(picture, _array(row, "joints_px", 2), side, frame=frame)


def _array(row: dict, key: str, columns: int) -> np.ndarray:
    array = np.asarray(row[key], np.float64)
    if array.shape != (JOINT_COUNT, columns) or not np.isfinite(array).all():
        raise ValueError(f"{key} must be {JOINT_COUNT} x {columns} numbers, got {array.shape}")
    return array


def _file(path: Path) -> Iterator[LabelledHand]:
    """One picture, or the frames of one video; of several hands in a frame the first counts."""
    labels = _load(path.parent)
    if path.name not in labels:
        raise ValueError(f"{_labels_file(path.parent)} says nothing about {path.name}; {_REMEDY}")
    if not _is_video(path):
        yield from (_one(path, hand) for hand in labels[path.name])
        return
    for index, hands in enumerate(labels[path.name]):
        if hands:
            yield _one(path, hands[0], index)


def _is_video(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES


def _labels_file(folder: Path) -> Path:
    return folder / "labels.json"


def _load(folder: Path) -> dict:
    path = _labels_file(folder)
    try:
        labels = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ValueError(f"no labels at {path}; {_REMEDY}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error}); {_REMEDY}") from error
    if not isinstance(labels, dict):
        raise ValueError(f"{path}: must be a mapping, is a {type(labels).__name__}; {_REMEDY}")
    return labels


def _described(error: Exception) -> str:
    return f"lacks {error}" if isinstance(error, KeyError) else str(error)
