"""Real photographs to train on: the folder of ``docs/reference/data.md``.

It holds ``signs/``, ``wild/`` and maybe ``wild2/`` (one labelled hand per picture), ``frames/`` and
maybe ``frames2/`` (whole pictures with the hands in them) and maybe ``negatives/`` (whole pictures
without a hand), each with a ``labels.json``. The labels are MediaPipe's, not ground truth; their
depth is used as a hint only.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from dhpe_lab.datasets.label_files import LabelledFrame, labels_file, read_frames, read_hands
from dhpe_lab.datasets.labelled_hand import LabelledHand, read_grey
from dhpe_lab.datasets.samples import Sample
from dhpe_ros.media.pictures import read_image
from dhpe_ros.types import MIDDLE_MCP, Box, Side

_DEPTH_TRUST = 0.2  # of another tracker's depth
_Label, _Read = TypeVar("_Label"), TypeVar("_Read")


def load_real_hands(folder: Path, split: str) -> list[Sample]:
    """The hands in single crops that are marked ``train``; for "val" those that are not.

    Raises ``FileNotFoundError`` for a folder without labels and ``ValueError`` for a label or a
    picture that cannot be read.
    """
    folders = _present(folder, ("signs", "wild"), ("wild2",))
    hands = [hand for one in folders for hand in read_hands(one, split == "train")]
    return list(together(partial(_photograph, folder), hands))


def load_frames(folder: Path, split: str) -> tuple[list[Sample], list[np.ndarray]]:
    """Hands in whole pictures, and hand-free pieces of the same pictures for backgrounds.

    Pieces are of ``frames/`` alone, whose every hand is labelled.
    """
    samples, backgrounds = [], []
    for frame, image in read_whole_pictures(folder, split):
        kind = frame.folder.name
        if kind == "frames":
            backgrounds += _hand_free_pieces(
                image, [Box.around(hand.joints_px) for hand in frame.hands]
            )
        source = kind if kind == "frames" else frame.source
        samples += [
            Sample(
                image, hand.joints_px.astype(np.float32), hand.side is Side.RIGHT, source,
                whole=True,
            )
            for hand in frame.hands
        ]  # fmt: skip
    return samples, backgrounds


def load_negatives(folder: Path, split: str) -> list[np.ndarray]:
    """The whole pictures of ``negatives/``, (H, W, 3) uint8 RGB; none where it is missing."""
    frames = [
        frame
        for one in _present(folder, (), ("negatives",))
        for frame in read_frames(one, split == "train")
    ]
    return list(together(lambda frame: read_image(frame.picture), frames))


def read_whole_pictures(
    folder: Path, split: str, further: Sequence[str] = ("frames2",)
) -> Iterator[tuple[LabelledFrame, np.ndarray]]:
    """The labels of ``frames/`` and ``further`` folders, with pictures (H, W, 3) uint8 RGB."""
    folders = _present(folder, ("frames",), further)
    frames = [frame for one in folders for frame in read_frames(one, split == "train")]
    pictures = together(lambda frame: read_image(frame.picture), frames)
    return zip(frames, pictures, strict=True)


def _present(folder: Path, needed: Sequence[str], further: Sequence[str]) -> list[Path]:
    """The folders of ``needed`` labels, and those of the ``further`` ones that are there."""
    more = [name for name in further if labels_file(folder / name).is_file()]
    return [folder / name for name in (*needed, *more)]


def together(read: Callable[[_Label], _Read], labels: Iterable[_Label]) -> Iterator[_Read]:
    """``map``, several at a time: decoding pictures leaves Python to others."""
    with ThreadPoolExecutor() as pool:
        yield from pool.map(read, labels)


def _photograph(folder: Path, hand: LabelledHand) -> Sample:
    """One hand, as large as its mask is, which may have more pixels than the picture."""
    image, joints = hand.image(), hand.joints_px.astype(np.float32)
    mask = None if hand.mask_file is None else read_grey(hand.mask_file)
    if mask is not None and mask.shape != image.shape[:2]:
        scale = np.divide(mask.shape[::-1], image.shape[1::-1]).astype(np.float32)
        image = cv2.resize(image, mask.shape[::-1])
        joints = joints * scale + (scale - 1) / 2
    return Sample(
        image=image,
        joints_px=joints,
        right=hand.side is Side.RIGHT,
        source=hand.source,
        mask=mask,
        opacity=mask,
        relative_depth_px=_depth_hint(joints, hand.hinted_m),
        depth_trust=_DEPTH_TRUST,
        name=hand.picture.relative_to(folder).as_posix(),
    )


def _depth_hint(joints_px: np.ndarray, joints_m: np.ndarray | None) -> np.ndarray | None:
    """Another tracker's depth in pixels of this picture, relative to the middle MCP."""
    if joints_m is None:
        return None
    joints_m = joints_m.astype(np.float32)
    spread_px = np.linalg.norm(joints_px - joints_px.mean(0))
    spread_m = np.linalg.norm(joints_m[:, :2] - joints_m[:, :2].mean(0))
    depth = joints_m[:, 2] * (spread_px / max(spread_m, 1e-4))
    return depth - depth[MIDDLE_MCP]


def _hand_free_pieces(image: np.ndarray, hands: list[Box]) -> list[np.ndarray]:
    """Squares of the picture that keep clear of every hand, largest first, at most two."""
    height, width = image.shape[:2]
    pieces = []
    for side in (min(height, width), min(height, width) // 2):
        for y in range(0, height - side + 1, max(side // 2, 1)):
            for x in range(0, width - side + 1, max(side // 2, 1)):
                piece = Box(x, y, side, side)
                if all(_clear(piece, hand.squared(1.5)) for hand in hands):
                    pieces.append(image[y : y + side, x : x + side])
    return pieces[:2]


def _clear(a: Box, b: Box) -> bool:
    return a.overlap(b) == 0.0
