"""Real photographs with labels: the folder format of ``docs/training.md``.

A folder holds ``signs/`` and ``wild/`` (one labelled hand per picture) and ``frames/`` (whole
pictures with every hand in them), each with a ``labels.json``. The labels are MediaPipe's, not
ground truth; their depth is used as a hint only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np

from dhpe_ros.datasets.labelled_hand import CORNER_PX
from dhpe_ros.datasets.samples import Sample
from dhpe_ros.types import MIDDLE_MCP, Box

_DEPTH_TRUST = 0.2  # of another tracker's depth
_Label, _Read = TypeVar("_Label"), TypeVar("_Read")


def photograph_joints_px(label: Mapping) -> np.ndarray:
    """``(21, 2)`` from the centre of the first pixel, of a label that counts from the corner."""
    return np.asarray(label["joints_px"], np.float64) - CORNER_PX


def load_real_hands(folder: Path, split: str) -> list[Sample]:
    """All labelled hands of ``split`` ("train" or "val") in ``signs`` and ``wild``.

    Raises ``FileNotFoundError`` for a folder without labels and ``ValueError`` for a picture that
    cannot be read.
    """
    return [*_signs(folder / "signs", split), *_wild(folder / "wild", split)]


def load_frames(folder: Path, split: str) -> tuple[list[Sample], list[np.ndarray]]:
    """Hands in whole pictures, and hand-free pieces of the same pictures for backgrounds."""
    samples, backgrounds = [], []
    for frame, image in read_frames(folder, split):
        hands = [photograph_joints_px(hand).astype(np.float32) for hand in frame["hands"]]
        backgrounds += _hand_free_pieces(image, [Box.around(joints) for joints in hands])
        samples += [
            Sample(image, joints, hand["side"] == "right", "frames")
            for joints, hand in zip(hands, frame["hands"], strict=True)
        ]
    return samples, backgrounds


def read_frames(folder: Path, split: str) -> Iterator[tuple[dict, np.ndarray]]:
    """The entries of ``frames/labels.json`` and their pictures (H, W, 3) uint8 RGB."""
    frames = [frame for frame in _labels(folder / "frames")["frames"] if frame["split"] == split]
    pictures = together(lambda frame: _read(folder / "frames" / frame["file"]), frames)
    return zip(frames, pictures, strict=True)


def together(read: Callable[[_Label], _Read], labels: Iterable[_Label]) -> Iterator[_Read]:
    """``map``, several at a time: decoding pictures leaves Python to others."""
    with ThreadPoolExecutor() as pool:
        yield from pool.map(read, labels)


def _hands(folder: Path, split: str) -> list[dict]:
    return [hand for hand in _labels(folder)["hands"] if hand["split"] == split]


def _signs(folder: Path, split: str) -> Iterator[Sample]:
    def read(hand: dict) -> Sample:
        joints = photograph_joints_px(hand).astype(np.float32)
        file = f"images/{hand['name']}.jpg"
        image = cv2.resize(_read(folder / file), (200, 200))
        joints = joints * 2 + 0.5
        mask = _read_mask(folder / "masks" / f"{hand['name']}.png")
        depth = _depth_hint(joints, hand)
        name = f"signs/{file}"
        return Sample(image, joints, True, "signs", mask, mask, depth, _DEPTH_TRUST, name=name)

    return together(read, _hands(folder, split))


def _wild(folder: Path, split: str) -> Iterator[Sample]:
    def read(hand: dict) -> Sample:
        joints = photograph_joints_px(hand).astype(np.float32)
        mask_file = (folder / "masks" / hand["file"]).with_suffix(".png")
        mask = _read_mask(mask_file) if mask_file.is_file() else None
        image = _read(folder / hand["file"])
        right = hand["side"] == "right"
        depth = _depth_hint(joints, hand)
        name = f"wild/{hand['file']}"
        return Sample(image, joints, right, hand["set"], mask, mask, depth, _DEPTH_TRUST, name=name)

    return together(read, _hands(folder, split))


def _depth_hint(joints_px: np.ndarray, hand: dict) -> np.ndarray:
    """MediaPipe's metric depth in pixels of this picture, relative to the middle MCP."""
    joints_m = np.asarray(hand["joints_m"], np.float32)
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


def _labels(folder: Path) -> dict:
    path = folder / "labels.json"
    if not path.is_file():
        raise FileNotFoundError(f"no labels at {path}; see docs/training.md for the folder format")
    return json.loads(path.read_text())


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"{path}: not a readable picture")
    return cv2.cvtColor(image, cv2.COLOR_BGR2RGB)


def _read_mask(path: Path) -> np.ndarray:
    mask = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if mask is None:
        raise ValueError(f"{path}: not a readable mask")
    return mask
