"""Check of a user's copy of a data set: counts, files, labels over pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from dhpe_lab.datasets.dexter_object import is_dexter_object, read_dexter_object
from dhpe_lab.datasets.label_files import read_hands
from dhpe_lab.datasets.labelled_hand import LabelledHand, evenly
from dhpe_lab.datasets.rhd import is_rhd, read_rhd
from dhpe_lab.datasets.stb import is_stb, read_stb
from dhpe_lab.evaluation.labelled import unknown_hand
from dhpe_lab.evaluation.report.pictures import jpeg_of, label_tiles, project
from dhpe_lab.training.data import picture_files

# Published numbers of hands to learn from and to measure on. STB: ten sequences of 1,500 moments,
# seen by the stereo camera's two and the other camera; measured on are two by the stereo camera.
PUBLISHED = {
    "RHD": {"train": 41258, "test": 2728},
    "STB": {"train": 45000, "test": 6000},
    "Dexter+Object": {"test": 3014},
}
_NOTES = {
    "STB": "30,000 to learn from where the SK camera is left out",
    "Dexter+Object": "published are pictures; those without a labelled tip are not counted here",
}
_OFF_PX = 2.0  # that joints in 3D may lie beside those in the picture
_COVERED = 1 / 3  # of the joints at least, by the mask
_PICTURED, _COLUMNS = 12, 4


@dataclass
class Checked:
    """Findings in a folder."""

    kind: str
    counts: dict[str, int] = field(default_factory=dict)  # part -> hands, or pictures
    problems: list[str] = field(default_factory=list)  # each names its file
    note: str = ""
    sheet: bytes | None = None  # a JPEG: labels over pictures
    looked_at: int = 0  # hands whose pictures were opened


def check(folder: Path, at_most: int | None) -> Checked:
    """Read all labels, open at most so many pictures of each part, evenly spread.

    Raises ``ValueError`` for a folder that is no data set at all.
    """
    kind, readers = _kind(folder)
    result = Checked(kind, note=_NOTES.get(kind, ""))
    pictured: list[np.ndarray] = []
    for part, read in readers.items():
        try:
            hands = read()
        except (ValueError, OSError) as error:
            result.problems.append(f"{part}: {error}")
            result.counts[part] = 0
            continue
        result.counts[part] = len(hands)
        some = evenly(hands, at_most)
        for hand in tqdm(some, f"{kind}, {part}", unit="picture", disable=None):
            result.problems += _problems(hand)
        result.looked_at += len(some)
        pictured += _tiles(evenly(some, max(1, _PICTURED // len(readers))))
    if pictured:
        result.sheet = jpeg_of(pictured, _COLUMNS)
    return result


def _kind(folder: Path) -> tuple[str, dict]:
    """Kind of a folder, and a reader of each of its parts."""
    if is_rhd(folder):
        return "RHD", {part: lambda p=part: read_rhd(folder, p) for part in ("train", "test")}
    if is_stb(folder):
        return "STB", {part: lambda p=part: read_stb(folder, p) for part in ("train", "test")}
    if is_dexter_object(folder):
        return "Dexter+Object", {"test": lambda: read_dexter_object(folder)}
    names = [n for n in ("", "signs", "wild", "frames") if (folder / n / "labels.json").is_file()]
    if names:
        return "labelled pictures", {
            f"{name or 'all'}, {part}": lambda n=name, t=train: list(read_hands(folder / n, t))
            for name in names
            for part, train in (("to measure on", False), ("train", True))
        }
    if folder.is_dir() and picture_files(folder):
        files = picture_files(folder)
        return "pictures without labels", {"backgrounds": lambda: list(map(unknown_hand, files))}
    raise ValueError(
        f"{folder}: no data set that is known here (docs/how-to/evaluate.md), and no pictures"
    )


def _problems(hand: LabelledHand) -> Iterator[str]:
    """Faults of one hand's files and labels."""
    try:
        image, mask = hand.image(), hand.mask()
    except ValueError as error:
        yield str(error)
        return
    joints_px = hand.joints_px[hand.known]
    if not len(joints_px):
        return
    height, width = image.shape[:2]
    inside = ((joints_px > -1) & (joints_px < (width, height))).all(axis=1)
    if not inside.any():
        yield f"{hand.picture}: no labelled joint lies in its {width} x {height} pixels"
        return
    if hand.joints_m is not None and hand.camera_px is not None:
        off = np.linalg.norm(project(hand)[hand.known] - joints_px, axis=1).max()
        if off > _OFF_PX:
            yield f"{hand.picture}: joints in 3D project up to {off:.1f} px beside those in 2D"
    if mask is not None:
        places = (joints_px[inside] + 0.5) * np.divide(mask.shape[::-1], (width, height))
        columns, rows = places.astype(int).clip(0, np.array(mask.shape[::-1]) - 1).T
        if mask[rows, columns].mean() < _COVERED:
            yield f"{hand.mask_file}: covers less than a third of the joints of its hand"


def _tiles(hands: Sequence[LabelledHand]) -> list[np.ndarray]:
    tiles = []
    for hand in hands:
        if hand.known.any():
            try:
                tiles += label_tiles(hand, hand.image())
            except ValueError:  # named already
                continue
    return tiles
