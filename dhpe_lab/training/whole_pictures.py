"""Whole pictures with any number of hands, for the network that finds them.

Labelled frames are seen from nearer, farther and aside; others are put together: rendered hands and
hands cut out of photographs, up to four, laid over pictures without hands.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset

from dhpe_lab.datasets.real_hands import read_whole_pictures
from dhpe_lab.datasets.samples import Sample
from dhpe_lab.synthesis.backgrounds import room
from dhpe_lab.training.augmentation import degrade, warp_affine
from dhpe_ros.detection.localiser import SIZE
from dhpe_ros.networks.localiser import STRIDE
from dhpe_ros.types import Box

FRAME_SHARE = 0.5
FARTHEST, NEAREST = 0.6, 2.0  # scales of a frame, of that in which it fills SIZE
MOST_HANDS = 4
SMALLEST, LARGEST = 0.04, 1.0  # longer side of a laid-on hand, in that of SIZE
_MOST_OF_PICTURE = 1.1  # and at most that in the picture's width, which may be smaller
_UPRIGHT, _TILTED = 0.15, 0.8  # radians, standard deviations of a frame's turn; half of them each
_SEEN = 0.6  # of the joints: a hand with fewer in the picture is neither right nor wrong to find
_COVERED = 0.35  # likewise of its joints: more of them under another hand
_SPREAD = 0.13  # of the root of a box's area: standard deviation of a centre's blob
_NEAR_CENTRE = 0.5  # of the blob's height, above which a cell tells the box


@dataclass(frozen=True)
class Frame:
    """A whole picture with the joints of every hand in it."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    hands: list[np.ndarray]  # (21, 2) each, pixels from the centre of the first one
    unsure: Sequence[Box] = ()  # where a hand may be that is not known


@dataclass(frozen=True)
class Targets:
    """Targets of one picture, on the network's cells."""

    centres: np.ndarray  # (h, w) 0..1, 1 at the cell of a hand's centre
    boxes: np.ndarray  # (4, h, w), as ``decode`` reads them
    tells: np.ndarray  # (h, w) bool: the box counts
    counts: np.ndarray  # (h, w) bool: the centre counts


class WholePictures(Dataset):
    """Picture ``k`` of an endless row: the same for the same seed and number."""

    def __init__(
        self,
        frames: Sequence[Sequence[Frame]],
        hands: Sequence[Sequence[Sample]],
        backgrounds: Sequence[np.ndarray],
        seed: int,
        size: tuple[int, int] = SIZE,
    ) -> None:
        """``frames`` and ``hands``, with opacities, by set; a set counts by its size's root.

        Pictures have ``size`` pixels, rows and columns; hands in smaller ones are no smaller.
        """
        self._frames, self._hands, self._backgrounds = frames, hands, backgrounds
        self._seed, self._size = seed, size
        self._shares = [_root_shares(sets) for sets in (frames, hands)]

    def __getitem__(self, number: int) -> tuple[Tensor, ...]:
        """Picture (3, H, W) uint8 and the four of ``Targets``."""
        rng = np.random.default_rng((self._seed, number))
        of_frame = self._frames and rng.random() < FRAME_SHARE
        image, hands, unsure = self._frame(rng) if of_frame else self._laid_on(rng)
        image = degrade(image, rng)
        targets = targets_of(hands, unsure, self._size)
        parts = (image.transpose(2, 0, 1), *vars(targets).values())
        return tuple(torch.from_numpy(np.ascontiguousarray(part)) for part in parts)

    def _frame(self, rng: np.random.Generator) -> tuple[np.ndarray, list[Box], list[Box]]:
        frames = self._frames[rng.choice(len(self._frames), p=self._shares[0])]
        frame = frames[rng.integers(len(frames))]
        height, width = frame.image.shape[:2]
        fitting = min(SIZE[0] / height, SIZE[1] / width)
        scale = fitting * np.exp(rng.uniform(np.log(FARTHEST), np.log(NEAREST)))
        middle = np.array((width, height)) / 2
        if frame.hands and rng.random() < 0.8:  # what is looked at from near is a hand, mostly
            middle = frame.hands[rng.integers(len(frame.hands))].mean(0)
        turn = rng.normal(0, _UPRIGHT if rng.random() < 0.5 else _TILTED)
        view = self._view(middle, scale, turn, rng)
        image = _warped(frame.image, view, cv2.BORDER_CONSTANT, rng.integers(0, 256, 3).tolist())
        whole, cut = self._seen([_moved(joints, view) for joints in frame.hands])
        return image, whole, cut + [_moved_box(box, view) for box in frame.unsure]

    def _laid_on(self, rng: np.random.Generator) -> tuple[np.ndarray, list[Box], list[Box]]:
        image = self._background(rng)
        hands: list[np.ndarray] = []
        covered = []
        for _ in range(rng.integers(0, MOST_HANDS + 1)):
            kind = self._hands[rng.choice(len(self._hands), p=self._shares[1])]
            sample = kind[rng.integers(len(kind))]
            box = Box.around(sample.joints_px)
            side = SIZE[1] * np.exp(rng.uniform(np.log(SMALLEST), np.log(LARGEST)))
            scale = min(side, _MOST_OF_PICTURE * self._size[1]) / max(box.width, box.height)
            turn = rng.uniform(-np.pi, np.pi)
            view = self._view(np.array(box.center) - 0.5, scale, turn, rng)
            opacity = _warped(sample.opacity, view, cv2.BORDER_CONSTANT, 0)[..., None] / 255.0
            picture = _warped(sample.image, view, cv2.BORDER_REPLICATE, 0)
            image = (picture * opacity + image * (1 - opacity)).astype(np.uint8)
            for k, joints in enumerate(hands):
                covered[k] |= _share_on(opacity[..., 0] > 0.5, joints) > _COVERED
            hands.append(_moved(sample.joints_px, view))
            covered.append(False)
        pairs = list(zip(hands, covered, strict=True))
        whole, cut = self._seen([hand for hand, under in pairs if not under])
        return image, whole, cut + [Box.around(joints) for joints, under in pairs if under]

    def _background(self, rng: np.random.Generator) -> np.ndarray:
        rows, columns = self._size
        if not self._backgrounds or rng.random() < 0.2:
            drawn = (255 * room(2 * rows, 2 * columns, rng)).astype(np.uint8)
            return cv2.resize(drawn, (columns, rows), interpolation=cv2.INTER_AREA)
        picture = self._backgrounds[rng.integers(len(self._backgrounds))]
        height, width = picture.shape[:2]
        scale = max(rows / height, columns / width) * rng.uniform(1.0, 2.0)
        part = np.array((columns, rows)) / scale
        middle = part / 2 + rng.random(2) * (np.array((width, height)) - part)
        mirror = np.diag((rng.choice((-1.0, 1.0)), 1.0))
        view = _View(self._size, scale * mirror, middle, np.zeros(2))
        return _warped(picture, view, cv2.BORDER_REPLICATE, 0)

    def _view(
        self,
        middle: np.ndarray,
        scale: float,
        turn: float,
        rng: np.random.Generator,
    ) -> _View:
        """The view, mirrored or not, that turns about ``middle`` and brings it somewhere."""
        c, s = np.cos(turn), np.sin(turn)
        mirror = np.diag((rng.choice((-1.0, 1.0)), 1.0))
        shift = rng.uniform(-0.5, 0.5, 2) * self._size[::-1]
        return _View(self._size, scale * np.array(((c, -s), (s, c))) @ mirror, middle, shift)

    def _seen(self, hands: Sequence[np.ndarray]) -> tuple[list[Box], list[Box]]:
        """Boxes of the hands in the picture, and of those that are only partly in it."""
        whole, cut = [], []
        for joints in hands:
            inside = ((joints >= 0) & (joints < self._size[::-1])).all(1).mean()
            if inside > 0:
                (whole if inside >= _SEEN else cut).append(Box.around(joints))
        return whole, cut


def _root_shares(sets: Sequence[Sequence]) -> np.ndarray:
    roots = np.sqrt([len(of) for of in sets])
    return roots / roots.sum()


@dataclass(frozen=True)
class _View:
    """Pixels ``linear @ (p - middle) + shift`` from the picture's middle, of pixels ``p``."""

    size: tuple[int, int]  # rows and columns of the picture
    linear: np.ndarray  # (2, 2)
    middle: np.ndarray  # (2,)
    shift: np.ndarray  # (2,)

    @property
    def offset(self) -> np.ndarray:
        center = (np.array(self.size[::-1]) - 1) / 2
        return center + self.shift - self.linear @ self.middle


def _warped(image: np.ndarray, view: _View, border: int, value: object) -> np.ndarray:
    return warp_affine(image, view.linear, view.offset, view.size[::-1], border, value)


def _moved(joints_px: np.ndarray, view: _View) -> np.ndarray:
    return joints_px @ view.linear.T + view.offset


def _moved_box(box: Box, view: _View) -> Box:
    """The box about a box's corners."""
    low = np.array((box.x, box.y)) - 0.5
    corners = low + np.array(((0, 0), (1, 0), (0, 1), (1, 1))) * (box.width, box.height)
    return Box.around(_moved(corners, view))


def _share_on(mask: np.ndarray, joints_px: np.ndarray) -> float:
    """The share of the joints that lie on ``mask`` ``(H, W)``."""
    x, y = joints_px.round().astype(int).T
    inside = (x >= 0) & (x < mask.shape[1]) & (y >= 0) & (y < mask.shape[0])
    return float(mask[y[inside], x[inside]].sum() / len(joints_px))


def targets_of(
    hands: Sequence[Box], unsure: Sequence[Box] = (), size: tuple[int, int] = SIZE
) -> Targets:
    """Targets for ``hands``; cells of the ``unsure`` have no target."""
    rows, columns = (np.arange(side // STRIDE) + 0.5 for side in size)
    shape = len(rows), len(columns)
    centres, counts = np.zeros(shape, np.float32), np.ones(shape, bool)
    boxes = np.zeros((4, *shape), np.float32)
    for hand in unsure:
        x, y = (np.array(hand.center)) / STRIDE
        across = abs(columns - x) <= hand.width / STRIDE / 2
        counts &= ~(across & (abs(rows - y) <= hand.height / STRIDE / 2)[:, None])
    for hand in hands:
        x, y = np.clip(np.array(hand.center) / STRIDE, 0, (shape[1] - 1e-3, shape[0] - 1e-3))
        sigma = max(0.7, _SPREAD * (hand.width * hand.height) ** 0.5 / STRIDE)
        of_cell = ((columns - int(x) - 0.5) ** 2) + ((rows - int(y) - 0.5) ** 2)[:, None]
        blob = np.exp(-of_cell / (2 * sigma**2)).astype(np.float32)
        nearest = blob > centres
        centres = np.maximum(centres, blob)
        x, y = np.array(hand.center) / STRIDE
        told = np.broadcast_arrays(
            x - columns, (y - rows)[:, None],
            np.log(hand.width / STRIDE), np.log(hand.height / STRIDE), np.zeros(shape),
        )[:4]  # fmt: skip
        boxes = np.where(nearest, np.stack(told), boxes).astype(np.float32)
        counts |= blob > _NEAR_CENTRE
    return Targets(centres, boxes, centres > _NEAR_CENTRE, counts)


def load_frames_by_set(
    folder: Path, split: str, further: Sequence[str] = (), held_out: Collection[str] = ()
) -> list[list[Frame]]:
    """The pictures of ``frames/``, by set, but for ``held_out`` ones.

    Arguments and errors as of ``read_whole_pictures``.
    """
    by_set: dict[tuple[Path, str], list[Frame]] = {}
    for frame, image in read_whole_pictures(folder, split, further):
        hands = [hand.joints_px for hand in frame.hands]
        same = by_set.setdefault((frame.folder, frame.source), [])
        same.append(Frame(image, hands, frame.unsure))
    return [frames for (_, source), frames in by_set.items() if source not in held_out]
