"""Finds all hands in a whole picture: boxes of where their joints will be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dhpe_ros.geometry.association import same_box, suppress_duplicates
from dhpe_ros.networks.layers import IMAGENET_MEAN, for_inference
from dhpe_ros.networks.localiser import LocaliserNetwork, decode
from dhpe_ros.networks.weights import load_localiser
from dhpe_ros.types import Box

SIZE = 288, 352  # rows and columns of what the network sees
Locate = Callable[[Tensor], Tensor]  # (1, 3, *SIZE) uint8 to what `LocaliserNetwork` answers
_GREY = tuple(round(255 * value) for value in IMAGENET_MEAN)  # beside a picture
_MOST = 16  # hands in a picture
_SURE = 0.5  # score from which a hand is found by one look
_QUARTER = 0.55  # of a picture's sides, that a closer look sees
_Part = tuple[int, int, np.ndarray]  # of a picture: its left and top in it, and itself


@dataclass(frozen=True)
class FoundHand:
    """A box and how sure the localiser is of it."""

    box: Box  # of the joints, image pixels
    score: float  # 0..1


class HandLocaliser:
    """The trained network, however it is run, ready for pictures of any size."""

    def __init__(self, locate: Locate, device: torch.device) -> None:
        self._locate = locate
        self._device = device

    @staticmethod
    def load(path: Path, device: torch.device) -> HandLocaliser:
        """By torch. ``FileNotFoundError`` or ``ValueError`` name the file and the remedy."""
        network = load_fused(path, device)
        return HandLocaliser(lambda pictures: network(network.normalised(pictures)), device)

    @torch.no_grad()
    def find(self, image: np.ndarray, min_score: float, closer: bool = True) -> list[FoundHand]:
        """Find the hands in ``(H, W, 3)`` uint8 RGB, surest first, from ``min_score`` on.

        A closer look at the picture's quarters finds small hands. It is left out where all that is
        found in the whole picture is sure.
        """
        hands = self._look([(0, 0, image)], min_score)
        if closer and not (hands and hands[-1].score >= _SURE):
            hands = sorted(hands + self._look(_quarters(image), min_score), key=lambda h: -h.score)
        return suppress_duplicates(hands, lambda one, other: same_box(one.box, other.box))[:_MOST]

    def _look(self, parts: Sequence[_Part], min_score: float) -> list[FoundHand]:
        """The hands in parts of a picture, in its pixels, surest first in each."""
        pictures, scales = zip(*(shrunk(part) for _, _, part in parts), strict=True)
        seen = torch.from_numpy(np.stack(pictures)).to(self._device).permute(0, 3, 1, 2)
        answers = [self._locate(one)[0].float().cpu() for one in seen.split(1)]
        hands = []
        for (left, top, _), scale, answer in zip(parts, scales, answers, strict=True):
            for (x, y, width, height), score in _peaks(answer, min_score):
                box = Box(left + x / scale, top + y / scale, width / scale, height / scale)
                hands.append(FoundHand(box, score))
        return hands


def load_fused(path: str | Path, device: torch.device) -> LocaliserNetwork:
    """The network of a file, ready to run. Errors as of ``load_localiser``."""
    return for_inference(load_localiser(path), device)


def shrunk(image: np.ndarray) -> tuple[np.ndarray, float]:
    """The picture as the network wants it, grey to the right of it and below, and its scale."""
    sides = image.shape[:2]
    scale = min(most / side for most, side in zip(SIZE, sides, strict=True))
    height, width = (max(1, round(side * scale)) for side in sides)
    while image.shape[0] > 2 * height and image.shape[1] > 2 * width:  # OpenCV halves fast
        half = image.shape[1] // 2, image.shape[0] // 2
        image = cv2.resize(image, half, interpolation=cv2.INTER_AREA)
    image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    rest = SIZE[0] - height, SIZE[1] - width
    seen = cv2.copyMakeBorder(image, 0, rest[0], 0, rest[1], cv2.BORDER_CONSTANT, value=_GREY)
    return seen, scale


def _quarters(image: np.ndarray) -> list[_Part]:
    """Four parts of a picture; a hand that is smaller than their overlap is whole in one."""
    sides = image.shape[:2]
    height, width = (math.ceil(_QUARTER * side) for side in sides)
    return [
        (left, top, image[top : top + height, left : left + width])
        for top in (0, sides[0] - height)
        for left in (0, sides[1] - width)
    ]


def _peaks(answer: Tensor, min_score: float) -> list[tuple[tuple[float, ...], float]]:
    """Boxes ``x, y, width, height`` in the network's pixels, and scores, of ``(5, H, W)``."""
    scores = answer[0].sigmoid()
    highest = functional.max_pool2d(scores[None], 3, 1, 1)[0]
    rows, columns = ((scores == highest) & (scores >= min_score)).nonzero(as_tuple=True)
    boxes = decode(answer[1:, rows, columns], rows, columns)
    best = scores[rows, columns].argsort(descending=True)[:_MOST].tolist()
    return [(tuple(boxes[k].tolist()), float(scores[rows[k], columns[k]])) for k in best]
