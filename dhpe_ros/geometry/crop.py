"""An image and a box in, a square crop for the networks out, with the exact way back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dhpe_ros.types import CROP_SIZE, Box

OUTSIDE = 127  # grey: what lies outside an image


@dataclass(frozen=True)
class Crop:
    """A square piece of an image, resampled; mirrored left to right for left hands."""

    image: np.ndarray  # (CROP_SIZE, CROP_SIZE, 3) uint8 RGB
    box: Box  # the square, in image pixels
    mirrored: bool

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Crop coordinates ``(N, 2)`` to image pixels."""
        return crop_to_image(points, self.box, self.mirrored)

    def to_crop(self, points_px: np.ndarray) -> np.ndarray:
        """Image pixels ``(N, 2)`` to crop coordinates; the inverse of ``to_image``."""
        return image_to_crop(points_px, self.box, self.mirrored)


def crop_to_image(points: np.ndarray, box: Box, mirrored: bool) -> np.ndarray:
    """Crop coordinates ``(N, 2)`` of the square ``box`` to image pixels (0 is a pixel's centre)."""
    return points * _half_sides(box, mirrored) + box.center - 0.5


def image_to_crop(points_px: np.ndarray, box: Box, mirrored: bool) -> np.ndarray:
    """Image pixels ``(N, 2)`` to crop coordinates of the square ``box``."""
    return (points_px + 0.5 - box.center) / _half_sides(box, mirrored)


def _half_sides(box: Box, mirrored: bool) -> np.ndarray:
    return np.array((-0.5 if mirrored else 0.5, 0.5)) * box.width


def crop_image(image: np.ndarray, box: Box, mirrored: bool = False, size: int = CROP_SIZE) -> Crop:
    """Cut the square about ``box`` out of ``(H, W, 3)`` uint8 RGB, ``size`` pixels a side.

    What lies outside the image is grey: no edge pixels drawn out that could pass for fingers.
    """
    square = box.squared()
    corners = np.array(((-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0)))
    source = crop_to_image(corners, square, mirrored).astype(np.float32)
    target = ((corners + 1) / 2 * size - 0.5).astype(np.float32)
    image, offset = _cut(image, square)
    if not image.size:
        return Crop(np.full((size, size, 3), OUTSIDE, np.uint8), square, mirrored)
    source -= offset
    reduction = square.width / (2 * size)  # bilinear sampling skips pixels beyond a factor of two
    if reduction > 1:
        height, width = image.shape[:2]
        reduced = (max(1, round(width / reduction)), max(1, round(height / reduction)))
        image = cv2.resize(image, reduced, interpolation=cv2.INTER_AREA)
        source = ((source + 0.5) * np.divide(reduced, (width, height)) - 0.5).astype(np.float32)
    matrix, grey = cv2.getAffineTransform(source, target), (OUTSIDE,) * 3
    pixels = cv2.warpAffine(image, matrix, (size, size), flags=cv2.INTER_LINEAR, borderValue=grey)
    return Crop(pixels, square, mirrored)


def _cut(image: np.ndarray, square: Box) -> tuple[np.ndarray, np.ndarray]:
    """The part of the image that a square can see, maybe empty, and where it begins."""
    margin = 2 + int(square.width / CROP_SIZE)
    low = np.floor((square.x, square.y)).astype(int) - margin
    high = np.ceil((square.x + square.width, square.y + square.height)).astype(int) + margin
    low, high = (np.clip(corner, 0, image.shape[1::-1]) for corner in (low, high))
    return image[low[1] : high[1], low[0] : high[0]], low.astype(np.float32)
