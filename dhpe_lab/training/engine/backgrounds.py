"""Backgrounds and occluders of synthetic hands, by the batch: of pictures, or made up."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dhpe_lab.rendering import random_skin
from dhpe_lab.training.engine.draws import Draws

PIECE_SIZE = 256  # pixels, side of the pieces that are kept
_PIECES_MAX = 8192
_PICTURE_SHARE = 0.75  # of the backgrounds, where there are pictures
_PLAIN_SHARE = 0.1
_OCTAVES = (3, 6, 12, 24, 48)
_SHAPES = 5
_SKIN_SHAPES = 2  # of them, as long as limbs
_OCCLUDED_SHARE = 0.2
_MADE_UP = 512
_MADE_UP_SIZE = 192  # pixels a side
_MADE_UP_SKINS = 64


class Backgrounds:
    """Makes pictures without hands, (B, 3, S, S) float32 sRGB in 0..1."""

    def __init__(
        self, pictures: Sequence[np.ndarray], skin_colors: Tensor, device: torch.device
    ) -> None:
        """``pictures`` (H, W, 3) uint8, may be none; ``skin_colors`` (N, 3) linear RGB."""
        self._skin_colors = skin_colors.to(device)
        pieces = [_square(picture) for picture in pictures[:_PIECES_MAX]]
        self._pieces = torch.from_numpy(np.stack(pieces)).to(device) if pieces else None

    def draw(self, size: int, draws: Draws) -> Tensor:
        """Pictures to lay hands over: rooms, patterns, plain colours, with limbs among them."""
        made_up = self._made_up(size, draws)
        if self._pieces is None:
            return made_up
        pictures = self._from_pictures(size, draws)
        real = draws.chance(_PICTURE_SHARE)[:, None, None, None]
        return torch.where(real, pictures, made_up)

    def _from_pictures(self, size: int, draws: Draws) -> Tensor:
        """Squares of the pieces, turned, mirrored and scaled."""
        pieces = self._pieces[draws.pick(len(self._pieces))].movedim(3, 1).float() / 255
        part = draws.uniform(low=0.3, high=1.0)
        turn = _turns(draws.pick(4) * (math.pi / 2) + 0.1 * draws.normal())
        flip = torch.where(draws.chance(0.5), -1.0, 1.0)
        turn = torch.stack((turn[..., 0] * flip[:, None], turn[..., 1]), 2)
        place = draws.uniform(2, low=-1.0, high=1.0) * (1 - part[:, None])
        affine = torch.cat((turn * part[:, None, None], place[..., None]), 2)
        grid = functional.affine_grid(affine, (len(part), 3, size, size), align_corners=False)
        return functional.grid_sample(pieces, grid, padding_mode="reflection", align_corners=False)

    def _made_up(self, size: int, draws: Draws) -> Tensor:
        """Noise of several octaves between two colours, a gradient, shapes over it."""
        noise = 0.0
        roughness = draws.uniform(1, 1, 1, low=0.3, high=1.0)
        for k, cells in enumerate(_OCTAVES):
            octave = draws.normal(1, cells, cells)
            octave = functional.interpolate(octave, (size, size), mode="bilinear")
            noise = noise + octave * roughness**k
        share = (2.0 * draws.uniform(1, 1, 1) * noise).sigmoid()
        colors = _colors(2, draws)[..., None, None]
        picture = torch.lerp(colors[:, 0], colors[:, 1], share)
        x, y = _coordinates(size, draws.device)
        slope = 0.3 * draws.normal(2, 1, 1, 1)
        picture = picture * (1 + slope[:, 0] * x + slope[:, 1] * y)
        plain = draws.chance(_PLAIN_SHARE)[:, None, None, None]
        for k in range(_SHAPES):
            limb = k < _SKIN_SHAPES
            there = draws.chance(0.3, 1, 1, 1) & ~plain
            alpha, shade = _shapes(size, draws, limb)
            color = _colors(1, draws)[:, 0]
            if limb:
                skin = self._skin_colors[draws.pick(len(self._skin_colors))]
                color = _linear_to_srgb(skin * draws.uniform(1, low=0.4, high=1.3))
            color = color[:, :, None, None] * shade
            picture = torch.where(there, torch.lerp(picture, color, alpha), picture)
        picture = torch.where(plain, colors[:, 0], picture)
        return picture.clamp(0, 1)


class MadeUpPictures(Sequence[np.ndarray]):
    """Made-up backgrounds: (H, W, 3) uint8, each made when it is first asked for."""

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        skins = np.concatenate([random_skin(rng, 1).albedo for _ in range(_MADE_UP_SKINS)])
        self._backgrounds = Backgrounds((), torch.from_numpy(skins), torch.device("cpu"))
        self._made: dict[int, np.ndarray] = {}

    def __len__(self) -> int:
        return _MADE_UP

    def __getitem__(self, number: int) -> np.ndarray:
        if not 0 <= number < _MADE_UP:
            raise IndexError(number)
        if number not in self._made:
            picture = self._backgrounds.draw(_MADE_UP_SIZE, Draws(0, torch.tensor([number])))[0]
            self._made[number] = (picture.movedim(0, 2) * 255).round().byte().numpy()
        return self._made[number]


def occluders(background: Tensor, draws: Draws) -> tuple[Tensor, Tensor]:
    """Something before some of the hands: colours (B, 3, S, S), and where, (B, 1, S, S) 0..1.

    An ellipse or a bar that looks like another part of the surroundings.
    """
    alpha, shade = _shapes(background.shape[-1], draws, limbs=False)
    front = background.flip((2, 3)).roll(1, 1) * shade
    front = front * draws.uniform(3, 1, 1, low=0.5, high=1.2)
    return front.clamp(0, 1), alpha * draws.chance(_OCCLUDED_SHARE, 1, 1, 1)


def _shapes(size: int, draws: Draws, limbs: bool) -> tuple[Tensor, Tensor]:
    """Ellipses, bars or limbs, turned at random: (B, 1, S, S) opacity, and shading about 1."""
    x, y = _coordinates(size, draws.device)
    center = draws.uniform(2, 1, 1, 1, low=-1.0, high=1.0)
    axes = draws.uniform(2, 1, 1, 1, low=0.08, high=0.45)
    if limbs:
        axes = torch.stack((2.5 * axes[:, 0] + 0.2, 0.4 * axes[:, 1] + 0.03), 1)
    turn = _turns(math.pi * draws.uniform())[..., None, None, None]
    x, y = x - center[:, 0], y - center[:, 1]
    u = (turn[:, 0, 0] * x + turn[:, 0, 1] * y) / axes[:, 0]
    v = (turn[:, 1, 0] * x + turn[:, 1, 1] * y) / axes[:, 1]
    power = draws.uniform(1, 1, 1, low=2.0, high=8.0)
    radius = (u.abs() ** power + v.abs() ** power + 1e-9) ** (1 / power)
    edge = axes.amin(1) * (size / 2)  # pixels from centre to edge
    opacity = ((1 - radius) * edge + 0.5).clamp(0, 1)
    round_off = draws.uniform(1, 1, 1) if not limbs else 1.0
    shade = 1 - 0.5 * round_off * v.clamp(-1, 1) ** 2 + 0.2 * draws.normal(1, 1, 1) * v.clamp(-1, 1)
    return opacity, shade


def _coordinates(size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Crop coordinates x (1, S) and y (S, 1) of pixel centres."""
    steps = (torch.arange(size, device=device) * 2 + 1) / size - 1
    return steps[None], steps[:, None]


def _turns(angles: Tensor) -> Tensor:
    """(B,) radians to (B, 2, 2)."""
    c, s = angles.cos(), angles.sin()
    return torch.stack((torch.stack((c, -s), -1), torch.stack((s, c), -1)), -2)


def _colors(count: int, draws: Draws) -> Tensor:
    """(B, count, 3) sRGB, most of them near grey, as things are."""
    grey = draws.uniform(count, 1)
    return torch.lerp(grey, draws.uniform(count, 3), draws.uniform(count, 1) ** 2)


def _linear_to_srgb(linear: Tensor) -> Tensor:
    return linear.clamp(1e-6, 1.0) ** (1 / 2.2)


def _square(picture: np.ndarray) -> np.ndarray:
    """The middle of a picture, ``PIECE_SIZE`` pixels a side."""
    height, width = picture.shape[:2]
    side = min(height, width)
    y, x = (height - side) // 2, (width - side) // 2
    square = picture[y : y + side, x : x + side]
    return cv2.resize(square, (PIECE_SIZE, PIECE_SIZE), interpolation=cv2.INTER_AREA)
