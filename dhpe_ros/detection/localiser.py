"""Finds all hands in a whole picture: boxes of where their joints will be."""

from __future__ import annotations

from collections.abc import Callable
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
    def find(self, image: np.ndarray, min_score: float, augmented: bool = True) -> list[FoundHand]:
        """Find the hands in ``(H, W, 3)`` uint8 RGB, surest first, from ``min_score`` on.

        Test-time augmentation averages the answers to the picture and to its mirror image, unless
        all that is found in the picture is sure: what the network takes for a hand by mistake it
        seldom does twice (weights/localiser.md). Without it more boxes are found beside hands.
        """
        small, scale = shrunk(image)
        picture = torch.from_numpy(small).to(self._device)[None].permute(0, 3, 1, 2)
        (answer,) = self._locate(picture)
        found = _peaks(answer.float().cpu(), min_score)
        if augmented and not (found and found[-1][1] >= _SURE):
            answer = (answer + _mirrored(self._locate(picture.flip(3))[0])) / 2
            found = _peaks(answer.float().cpu(), min_score)
        hands = [FoundHand(Box(*((v / scale) for v in box)), score) for box, score in found]
        return suppress_duplicates(hands, lambda one, other: same_box(one.box, other.box))


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


def _mirrored(answer: Tensor) -> Tensor:
    """Mirror a network's answer ``(5, H, W)``: that to the mirror image of the picture."""
    flipped = answer.flip(2)
    flipped[1] = -flipped[1]  # offset to the right
    return flipped


def _peaks(answer: Tensor, min_score: float) -> list[tuple[tuple[float, ...], float]]:
    """Boxes ``x, y, width, height`` in the network's pixels, and scores, of ``(5, H, W)``."""
    scores = answer[0].sigmoid()
    highest = functional.max_pool2d(scores[None], 3, 1, 1)[0]
    rows, columns = ((scores == highest) & (scores >= min_score)).nonzero(as_tuple=True)
    boxes = decode(answer[1:, rows, columns], rows, columns)
    best = scores[rows, columns].argsort(descending=True)[:_MOST].tolist()
    return [(tuple(boxes[k].tolist()), float(scores[rows[k], columns[k]])) for k in best]
