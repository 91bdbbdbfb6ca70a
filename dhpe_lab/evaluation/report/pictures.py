"""Sheets of hands for the report: the picture, what was found on it, and where it was wrong."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import cv2
import numpy as np

from dhpe_lab.evaluation.labelled import LabelledHand, LabelledSet
from dhpe_lab.evaluation.predict import Prediction
from dhpe_lab.evaluation.score import found_mask
from dhpe_ros.geometry.crop import crop_image
from dhpe_ros.rendering.overlay import draw_overlay
from dhpe_ros.types import BONES, Box

_TILE = 190  # pixels of a side
_CAPTION = 20
_SHARED, _EXTRA, _MISSED = (60, 180, 90), (220, 60, 50), (60, 110, 220)  # RGB
_JPEG = (cv2.IMWRITE_JPEG_QUALITY, 88)


def overlay_tiles(prediction: Prediction, image: np.ndarray, caption: str) -> list[np.ndarray]:
    """The picture and the overlay on it, labels in white, both as far as the hand reaches."""
    box, hand = _box(prediction), prediction.hand
    tile = _tile(image, box)
    over = tile.copy()
    if len(hand.vertices_px):
        vertices = hand.vertices_px * (_TILE / box.width)
        vertices[:, :2] = _in_tile(hand.vertices_px[:, :2], box)
        joints_px = _in_tile(hand.joints_px, box)
        over = draw_overlay(tile, [replace(hand, vertices_px=vertices, joints_px=joints_px)])
    _draw_joints(over, prediction.label.joints_px, box)
    return [_captioned(tile, caption), _captioned(over, "")]


def mask_tiles(prediction: Prediction, image: np.ndarray, caption: str) -> list[np.ndarray]:
    """The picture, and its pixels in both masks, in the found one alone, in the true one alone."""
    truth = prediction.label.mask().astype(np.uint8)
    height, width = image.shape[:2]
    truth = cv2.resize(truth, (width, height), interpolation=cv2.INTER_NEAREST) > 0
    found = found_mask(prediction.hand, (height, width), (height, width))
    shown = image.astype(np.float32)
    for where, color in (
        (found & truth, _SHARED),
        (found & ~truth, _EXTRA),
        (truth & ~found, _MISSED),
    ):
        shown[where] = 0.4 * shown[where] + 0.6 * np.array(color, np.float32)
    box = _box(prediction)
    tiles = _tile(image, box), _tile(shown.astype(np.uint8), box)
    return [_captioned(tiles[0], caption), _captioned(tiles[1], "")]


def label_tiles(label: LabelledHand, image: np.ndarray) -> list[np.ndarray]:
    """The picture with its mask and what its label says: joints in 3D projected, else in 2D."""
    joints_px = label.joints_px
    if label.joints_m is not None and label.camera_px is not None:
        joints_px = project(label)
    box = Box.around(joints_px[label.known]).squared(1.6)
    shown, mask = image, label.mask()
    if mask is not None:
        mask = cv2.resize(mask.astype(np.uint8), image.shape[1::-1]) > 0
        shown = image.copy()
        shown[mask] = (0.7 * shown[mask] + 0.3 * np.array(_SHARED)).astype(np.uint8)
    tile = _tile(shown, box)
    _draw_joints(tile, joints_px, box)
    return [_captioned(tile, label.picture.name[-26:])]


def project(label: LabelledHand) -> np.ndarray:
    """``(21, 2)`` pixels: the label's joints in 3D, through its camera."""
    fx, fy, cx, cy = label.camera_px
    return label.joints_m[:, :2] / label.joints_m[:, 2:] * (fx, fy) + (cx, cy)


def sheet(
    labelled: LabelledSet,
    predictions: Sequence[Prediction],
    captions: Sequence[str],
    tiles: Callable[[Prediction, np.ndarray, str], list[np.ndarray]],
) -> bytes:
    """A JPEG of the tiles of each prediction, three predictions in a row."""
    images = dict(_images(labelled, predictions))
    return jpeg_of(
        [
            np.concatenate(tiles(one, images[k], caption), axis=1)
            for k, (one, caption) in enumerate(zip(predictions, captions, strict=True))
        ],
        columns=3,
    )


def jpeg_of(cells: Sequence[np.ndarray], columns: int) -> bytes:
    """Cells of one size side by side, so many in a row."""
    cells = [*cells, *[np.full_like(cells[0], 255)] * (-len(cells) % columns)]
    rows = [np.concatenate(cells[k : k + columns], 1) for k in range(0, len(cells), columns)]
    whole = cv2.cvtColor(np.concatenate(rows), cv2.COLOR_RGB2BGR)
    return cv2.imencode(".jpg", whole, _JPEG)[1].tobytes()


def _images(
    labelled: LabelledSet, predictions: Sequence[Prediction]
) -> Iterator[tuple[int, np.ndarray]]:
    """Index and picture of each; a clip is read once, in its own order."""
    order = sorted(range(len(predictions)), key=lambda k: predictions[k].label.frame)
    hands = [predictions[k].label for k in order]
    some = LabelledSet(labelled.name, hands)
    for k, (_, image) in zip(order, some.pictures(), strict=True):
        yield k, image


def _box(prediction: Prediction) -> Box:
    """A square about what is labelled and what was found."""
    label = prediction.label
    return Box.around(np.concatenate((label.joints_px[label.known], prediction.hand.joints_px))
                      ).squared(1.35)  # fmt: skip


def _tile(image: np.ndarray, box: Box) -> np.ndarray:
    return crop_image(image, box, size=_TILE).image


def _in_tile(points_px: np.ndarray, box: Box) -> np.ndarray:
    """Pixels of the picture ``(N, 2)`` to those of a tile."""
    return (points_px + 0.5 - (box.x, box.y)) * _TILE / box.width - 0.5


def _draw_joints(tile: np.ndarray, joints_px: np.ndarray, box: Box) -> None:
    """Draw the known joints, and the bones between them, in white."""
    places = _in_tile(joints_px, box)
    known = np.isfinite(places).all(axis=1)
    points = np.where(known[:, None], places, 0).round().astype(int).tolist()
    for a, b in BONES:
        if known[a] and known[b]:
            cv2.line(tile, points[a], points[b], (255, 255, 255), 1, cv2.LINE_AA)
    for k in np.flatnonzero(known):
        cv2.circle(tile, points[k], 2, (255, 255, 255), -1, cv2.LINE_AA)


def _captioned(tile: np.ndarray, caption: str) -> np.ndarray:
    framed = np.full((_TILE + _CAPTION + 6, _TILE + 6, 3), 255, np.uint8)
    framed[_CAPTION : _CAPTION + _TILE, 3 : 3 + _TILE] = tile
    font, place = cv2.FONT_HERSHEY_SIMPLEX, (5, 14)
    cv2.putText(framed, caption, place, font, 0.42, (40, 45, 60), 1, cv2.LINE_AA)
    return framed
