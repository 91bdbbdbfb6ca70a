"""Backgrounds made of nothing but random numbers: rooms out of focus, colours, things like skin."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from dhpe_lab.rendering import skin_tone


class MadeUpPictures(Sequence[np.ndarray]):
    """Backgrounds (H, W, 3) uint8 RGB, each made when it is first asked for."""

    COUNT, SIZE = 512, 192

    def __init__(self) -> None:
        self._made: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return self.COUNT

    def __getitem__(self, number: int) -> np.ndarray:
        if not 0 <= number < self.COUNT:
            raise IndexError(number)
        if number not in self._made:
            made = background(self.SIZE, np.random.default_rng(number))
            self._made[number] = made.clip(0, 255).astype(np.uint8)
        return self._made[number]


def background(size: int, rng: np.random.Generator) -> np.ndarray:
    """``(size, size, 3)`` float RGB, 0..255: a room, clouds of colour, or things like skin."""
    kind = rng.integers(3)
    if kind == 0:
        return _part_of_a_room(size, rng)
    image = _clouds(size, rng)
    if kind == 1:
        return image
    for _ in range(rng.integers(2, 9)):
        _draw_thing(image, rng)
    return cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 3.0))


def _part_of_a_room(size: int, rng: np.random.Generator) -> np.ndarray:
    whole = room(240, 320, rng)
    side = int(rng.integers(80, 240))
    y, x = rng.integers(240 - side + 1), rng.integers(320 - side + 1)
    piece = cv2.resize(whole[y : y + side, x : x + side], (size, size))
    return 255 * rng.uniform(0.4, 1.1) * piece.clip(0, 0.9)


def _clouds(size: int, rng: np.random.Generator) -> np.ndarray:
    """Random colours on grids from coarse to fine."""
    image = np.tile(rng.uniform(20, 235) + rng.normal(0, 30, 3), (size, size, 1))
    strength = rng.uniform(5, 50)
    for cells in (2, 4, 9, 20, 45):
        grid = rng.normal(0, 1, (cells, cells, 1)) + 0.2 * rng.normal(0, 1, (cells, cells, 3))
        image += strength * cv2.resize(grid, (size, size), interpolation=cv2.INTER_CUBIC)
        strength *= rng.uniform(0.4, 0.9)
    return image.clip(0, 255)


def _draw_thing(image: np.ndarray, rng: np.random.Generator) -> None:
    """A bar, a blob or a board, half of them of the colour of skin."""
    size = len(image)
    color = 255 * skin_tone(rng.uniform()) ** (1 / 2.2) if rng.random() < 0.5 else None
    color = rng.uniform(0, 255, 3) if color is None else color * rng.uniform(0.6, 1.1)
    ends = [tuple(int(v) for v in rng.integers(0, size, 2)) for _ in range(3)]
    color = tuple(float(v) for v in np.clip(color, 0, 255))
    kind = rng.integers(3)
    if kind == 0:
        cv2.line(image, ends[0], ends[1], color, int(rng.integers(2, size // 8)), cv2.LINE_AA)
    elif kind == 1:
        axes = tuple(int(v) for v in rng.integers(3, size // 4, 2))
        cv2.ellipse(image, ends[0], axes, rng.uniform(0, 360), 0, 360, color, -1, cv2.LINE_AA)
    else:
        cv2.fillConvexPoly(image, np.array(ends), color, cv2.LINE_AA)


def room(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    """``(height, width, 3)`` float32 RGB in 0..1: a lit wall, a picture, books, a table."""
    image = _wall(height, width, rng)
    _picture(image, rng)
    _shelf(image, rng)
    _table(image, rng)
    image = cv2.GaussianBlur(image, (0, 0), width / 160)
    return np.clip(image * _light(height, width), 0, 1).astype(np.float32)


def _wall(height: int, width: int, rng: np.random.Generator) -> np.ndarray:
    plaster = cv2.resize(rng.normal(0, 1, (height // 24, width // 24)), (width, height))
    return np.array((0.74, 0.73, 0.69)) + 0.012 * plaster[..., None]


def _light(height: int, width: int) -> np.ndarray:
    """A window to the left: brighter there, darker towards the corners."""
    y, x = np.mgrid[0:height, 0:width] / np.array((height, width))[:, None, None]
    window = np.exp(-(((x - 0.05) / 0.9) ** 2) - ((y - 0.3) / 0.9) ** 2)
    corners = 1 - 0.35 * ((x - 0.5) ** 2 + (y - 0.5) ** 2)
    warmth = np.array((1.0, 0.985, 0.96)) + window[..., None] * np.array((0.0, 0.01, 0.04))
    return (0.62 + 0.42 * window[..., None]) * corners[..., None] * warmth


def _picture(image: np.ndarray, rng: np.random.Generator) -> None:
    """A framed landscape, upper left."""
    height, width = image.shape[:2]
    top, left = int(0.08 * height), int(0.09 * width)
    rows, columns = int(0.34 * height), int(0.2 * width)
    _fill(image, top, left, rows, columns, (0.17, 0.13, 0.10))
    _fill(image, top + 7, left + 7, rows - 14, columns - 14, (0.90, 0.89, 0.85))
    hills = np.linspace(0, 2 * np.pi, columns - 40)
    for level, color in (
        (0.0, (0.62, 0.72, 0.80)),
        (0.45, (0.42, 0.52, 0.45)),
        (0.7, (0.26, 0.34, 0.24)),
    ):
        ridge = level + 0.06 * np.sin(hills * rng.uniform(0.8, 1.6) + rng.uniform(0, 6)) * (
            level > 0
        )
        for column, part in enumerate(ridge):
            start = top + 20 + int(part * (rows - 40))
            image[start : top + rows - 20, left + 20 + column] = color


def _shelf(image: np.ndarray, rng: np.random.Generator) -> None:
    """Two boards with books, to the right."""
    height, width = image.shape[:2]
    left, right = int(0.66 * width), int(0.98 * width)
    for board in (int(0.30 * height), int(0.60 * height)):
        column = left + 6
        while column < right - 12:
            thick, tall = int(rng.integers(8, 22)), int(rng.integers(70, 118) * height / 480)
            if rng.random() < 0.86:
                color = _book_color(rng)
                _fill(image, board - tall, column, tall, thick, color)
                _fill(image, board - tall, column, tall, 2, color * 0.6)
                _fill(image, board - int(0.8 * tall), column + 3, 5, thick - 5, color * 0.5 + 0.4)
            column += thick + 1
        _fill(image, board, left, 10, right - left, (0.40, 0.29, 0.19))
        _fill(image, board + 10, left, 5, right - left, (0.50, 0.48, 0.44))


def _book_color(rng: np.random.Generator) -> np.ndarray:
    hue, saturation, value = rng.uniform(0, 180), rng.uniform(50, 170), rng.uniform(50, 190)
    hsv = np.array([[[hue, saturation, value]]], np.uint8)
    return cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0] / 255.0


def _table(image: np.ndarray, rng: np.random.Generator) -> None:
    """Wood along the lower edge."""
    height, width = image.shape[:2]
    top = int(0.80 * height)
    grain = cv2.resize(rng.normal(0, 1, (height - top, 8)), (width, height - top))
    depth = np.linspace(0.85, 1.1, height - top)[:, None, None]
    image[top:] = np.array((0.47, 0.34, 0.23)) * depth + 0.018 * grain[..., None]
    _fill(image, top, 0, 4, width, (0.58, 0.45, 0.33))


def _fill(
    image: np.ndarray, top: int, left: int, rows: int, columns: int, color: tuple | np.ndarray
) -> None:
    image[max(top, 0) : top + rows, max(left, 0) : left + columns] = color
