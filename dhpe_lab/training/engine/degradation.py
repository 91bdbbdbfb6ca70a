"""Degradation of pictures by lenses, sensors and codecs: ``augmentation``'s by the batch.

Pictures are (B, 3, S, S) float32 sRGB in 0..1; lengths are in pixels of ``INPUT_SIZE``.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dhpe_lab.training.augmentation import INPUT_SIZE
from dhpe_lab.training.engine.draws import Draws

_REDUCTIONS = (1.5, 2.0, 3.0, 4.0)
_MOTION_SAMPLES = 7
_BLUR_REACH = 6  # pixels on either side; the widest sigma has two thirds of it at 224
_BLOCK = 8
# The table of luminance of ITU-T T.81 (JPEG), annex K, for all three channels.
_QUANTA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)


def degrade(images: Tensor, draws: Draws) -> Tensor:
    """Apply every degradation, each with its own chance, in the order of light's way."""
    scale = images.shape[-1] / INPUT_SIZE
    images = _sometimes(0.85, tinted(images, draws), images, draws)
    images = _sometimes(0.15, _few_pixels(images, draws), images, draws)
    sigma = scale * draws.uniform(low=0.3, high=1.6)
    images = _sometimes(0.25, blurred(images, sigma), images, draws)
    images = _sometimes(0.12, _moved(images, draws), images, draws)
    images = _sometimes(0.3, _noisy(images, draws), images, draws)
    images = _sometimes(0.2, compressed(images, draws.uniform(low=20.0, high=80.0)), images, draws)
    return images.clamp(0, 1)


def tinted(images: Tensor, draws: Draws) -> Tensor:
    """Exposure, contrast, gamma and colour cast; sometimes towards grey."""
    gamma = (0.2 * draws.normal(1, 1, 1)).exp()
    gain = (0.15 * draws.normal(1, 1, 1) + 0.07 * draws.normal(3, 1, 1)).exp()
    contrast = (0.15 * draws.normal(1, 1, 1)).exp()
    images = ((images.clamp(min=1e-4) ** gamma - 0.5) * contrast + 0.5).clamp(0, 1) * gain
    images = (images + 0.05 * draws.normal(1, 1, 1)).clamp(0, 1)
    keep = torch.where(draws.chance(0.3, 1, 1, 1), draws.uniform(1, 1, 1), 1.0)
    return torch.lerp(_grey(images), images, keep)


def blurred(images: Tensor, sigma: Tensor) -> Tensor:
    """Gaussian, ``sigma`` (B,) in pixels."""
    reach = torch.arange(-_BLUR_REACH, _BLUR_REACH + 1, device=images.device)
    kernel = (-0.5 * (reach / sigma[:, None].clamp(min=0.05)) ** 2).exp()
    kernel = (kernel / kernel.sum(1, keepdim=True)).repeat_interleave(images.shape[1], 0)
    flat = images.flatten(0, 1)[None]  # every channel of every picture with its own kernel
    edge = (_BLUR_REACH,) * 4
    flat = functional.pad(flat, edge, mode="replicate")
    for weights in (kernel[:, None, None], kernel[:, None, :, None]):
        flat = functional.conv2d(flat, weights, groups=len(weights))
    return flat[0].reshape(images.shape)


def compressed(images: Tensor, quality: Tensor) -> Tensor:
    """Rounded in blocks as JPEG does at ``quality`` (B,) 1..100, colour at half the resolution."""
    size = images.shape[-1]
    missing = -size % (2 * _BLOCK)
    images = functional.pad(images, (0, missing, 0, missing), mode="replicate")
    light = _grey(images)
    color = images - light
    coarse = functional.avg_pool2d(color, 2)
    coarse = _rounded_blocks(coarse, quality)
    color = functional.interpolate(coarse, scale_factor=2, mode="bilinear")
    return (_rounded_blocks(light - 0.5, quality) + 0.5 + color)[..., :size, :size]


def _rounded_blocks(values: Tensor, quality: Tensor) -> Tensor:
    """(B, C, S, S), S a multiple of the block."""
    quanta, cosines = _jpeg_tables(values.device)
    # The formula of the Independent JPEG Group's library.
    percent = torch.where(quality < 50, 5000 / quality, 200 - 2 * quality)
    steps = (quanta * percent[:, None, None] / 100).clamp(min=1.0) / 255
    blocks = values.unflatten(3, (-1, _BLOCK)).unflatten(2, (-1, _BLOCK)).movedim(3, 4)
    steps = steps[:, None, None, None]
    waves = cosines @ blocks @ cosines.T
    blocks = cosines.T @ ((waves / steps).round() * steps) @ cosines
    return blocks.movedim(4, 3).flatten(4, 5).flatten(2, 3)


@lru_cache(maxsize=8)
def _jpeg_tables(device: torch.device) -> tuple[Tensor, Tensor]:
    """Quanta, and the orthonormal cosine transform, rows frequencies; (8, 8) each."""
    k, n = np.mgrid[:_BLOCK, :_BLOCK]
    cosines = np.cos(np.pi * (2 * n + 1) * k / (2 * _BLOCK)) * math.sqrt(2 / _BLOCK)
    cosines[0] /= math.sqrt(2)
    return tuple(torch.tensor(np.array(t), dtype=torch.float32, device=device)
                 for t in (_QUANTA, cosines))  # fmt: skip


def _few_pixels(images: Tensor, draws: Draws) -> Tensor:
    """Pictures of a sensor with fewer pixels, drawn larger."""
    size, which, result = images.shape[-1], draws.pick(len(_REDUCTIONS)), images
    for k, reduction in enumerate(_REDUCTIONS):
        small = max(8, round(size / reduction))
        few = functional.interpolate(images, small, mode="area")
        few = functional.interpolate(few, size, mode="bilinear")
        result = torch.where((which == k)[:, None, None, None], few, result)
    return result


def _moved(images: Tensor, draws: Draws) -> Tensor:
    """Smeared along a line."""
    reach = draws.uniform(low=1.5, high=5.0) * (2 / INPUT_SIZE)  # to either side
    angle = math.pi * draws.uniform()
    along = torch.stack((angle.cos(), angle.sin()), 1) * reach[:, None]
    still = torch.eye(2, 3, device=images.device).expand(len(images), -1, -1)
    grid = functional.affine_grid(still, list(images.shape), align_corners=False)
    places = torch.linspace(-1, 1, _MOTION_SAMPLES).tolist()
    return sum(
        functional.grid_sample(
            images, grid + at * along[:, None, None], padding_mode="border", align_corners=False
        )
        for at in places
    ) / len(places)


def _noisy(images: Tensor, draws: Draws) -> Tensor:
    sigma = draws.uniform(1, 1, 1, low=2 / 255, high=12 / 255)
    return (images + sigma * draws.normal(1, *images.shape[2:])).clamp(0, 1)


def _sometimes(share: float, changed: Tensor, images: Tensor, draws: Draws) -> Tensor:
    return torch.where(draws.chance(share, 1, 1, 1), changed, images)


def _grey(images: Tensor) -> Tensor:
    red, green, blue = images.split(1, 1)
    return 0.299 * red + 0.587 * green + 0.114 * blue
