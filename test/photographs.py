"""Rendered hands as photographs with labels, in the folder format of docs/reference/data.md."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from dhpe_lab.datasets.samples import Sample
from dhpe_lab.synthesis.photo_hands import PhotoHand
from dhpe_lab.synthesis.synthesis import RENDER_SIZE, SyntheticHand, random_hands, render_sample
from dhpe_ros.hand.model import HandModel

BLUE = np.array((20, 40, 200))


@dataclass(frozen=True)
class Photograph:
    """A right hand before blue, and all that is known of it."""

    hand: SyntheticHand
    sample: Sample
    image: np.ndarray  # (160, 160, 3) uint8 RGB

    def in_crop(self) -> np.ndarray:
        """The mesh ``(778, 3)`` in coordinates of the whole picture as a crop."""
        vertices = self.hand.project(self.hand.vertices_m) * (2 / RENDER_SIZE)
        vertices[:, :2] += 1 / RENDER_SIZE - 1
        return vertices.astype(np.float32)

    def photo_hand(self, source: str = "") -> PhotoHand:
        """With the mesh exactly over it."""
        return PhotoHand(self.image, self.in_crop(), self.hand.pose, source)

    def joints_m(self) -> np.ndarray:
        """(21, 3) before the camera, from their mean."""
        turned = self.hand.joints_m @ self.hand.rotation.T
        return turned - turned.mean(0)


def take(model: HandModel, count: int, seed: int) -> list[Photograph]:
    """``count`` photographs; the same for the same seed."""
    rng = np.random.default_rng(seed)
    taken = []
    for hand in random_hands(model, count, rng):
        sample = render_sample(hand, model, rng)
        share = sample.opacity[..., None] / 255
        background = BLUE + rng.normal(0, 6, sample.image.shape)
        image = share * sample.image + (1 - share) * background
        taken.append(Photograph(hand, sample, np.clip(image, 0, 255).astype(np.uint8)))
    return taken


def write(folder: Path, photographs: list[Photograph]) -> None:
    """In turn a right hand of ``signs`` with a mask, a right and a left one of ``wild`` without."""
    labels: dict[str, list[dict]] = {"signs": [], "wild": []}
    for k, photo in enumerate(photographs):
        joints = photo.sample.joints_px.astype(float)
        metres = photo.joints_m()
        hand = {"split": "train", "joints_m": metres.tolist(), "joints_px": joints.tolist()}
        if k % 3 == 0:
            hand |= {"name": str(k), "joints_px": _smaller(joints).tolist()}
            _picture(folder / f"signs/images/{k}.jpg", cv2.resize(photo.image, (100, 100)))
            mask = cv2.resize(photo.sample.mask, (200, 200))
            _picture(folder / f"signs/masks/{k}.png", mask)
            labels["signs"].append(hand)
            continue
        image, side = photo.image, "right"
        if k % 3 == 2:
            image, side = image[:, ::-1], "left"
            flip = (-1, 1)
            hand["joints_px"] = (joints * flip + (RENDER_SIZE - 1, 0)).tolist()
            hand["joints_m"] = (metres * (*flip, 1)).tolist()
        hand |= {"set": "room", "file": f"room/{k}.jpg", "side": side}
        _picture(folder / "wild" / hand["file"], image)
        labels["wild"].append(hand)
    for name, hands in labels.items():
        (folder / name).mkdir(parents=True, exist_ok=True)
        (folder / name / "labels.json").write_text(json.dumps({"hands": hands}))


def _smaller(joints: np.ndarray) -> np.ndarray:
    return (joints + 0.5) * (100 / RENDER_SIZE) - 0.5


def _picture(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), image[..., ::-1] if image.ndim == 3 else image)
