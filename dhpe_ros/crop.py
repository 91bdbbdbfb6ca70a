"""An image and a box in, a square crop for the networks out, with the exact way back."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from dhpe_ros.types import CROP_SIZE, Box


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
    flip = np.array((-1.0 if mirrored else 1.0, 1.0))
    return points * flip * (box.width / 2) + box.center - 0.5


def image_to_crop(points_px: np.ndarray, box: Box, mirrored: bool) -> np.ndarray:
    """Image pixels ``(N, 2)`` to crop coordinates of the square ``box``."""
    flip = np.array((-1.0 if mirrored else 1.0, 1.0))
    return (points_px + 0.5 - box.center) / (box.width / 2) * flip


def crop_image(image: np.ndarray, box: Box, mirrored: bool = False, size: int = CROP_SIZE) -> Crop:
    """Cut the square about ``box`` out of ``(H, W, 3)`` uint8 RGB, ``size`` pixels a side.

    What lies outside the image is grey: no edge pixels drawn out that could pass for fingers.
    """
    square = box.squared()
    corners = np.array(((-1.0, -1.0), (1.0, -1.0), (-1.0, 1.0)))
    source = crop_to_image(corners, square, mirrored).astype(np.float32)
    target = ((corners + 1) / 2 * size - 0.5).astype(np.float32)
    reduction = square.width / (2 * size)  # bilinear sampling skips pixels beyond a factor of two
    if reduction > 1:
        height, width = image.shape[:2]
        reduced = (max(1, round(width / reduction)), max(1, round(height / reduction)))
        image = cv2.resize(image, reduced, interpolation=cv2.INTER_AREA)
        source = ((source + 0.5) * np.divide(reduced, (width, height)) - 0.5).astype(np.float32)
    matrix = cv2.getAffineTransform(source, target)
    pixels = cv2.warpAffine(
        image,
        matrix,
        (size, size),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=(127, 127, 127),
    )
    return Crop(pixels, square, mirrored)
