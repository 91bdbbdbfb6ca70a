"""Normalisation of pictures by mean and standard deviation of ImageNet's colours."""

from __future__ import annotations

import torch
from torch import Tensor, nn

IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB in 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalisation(nn.Module):
    """Pictures ``(B, 3, H, W)`` in 0..``white`` to mean 0 and standard deviation 1."""

    scale: Tensor  # (3, 1, 1)
    shift: Tensor  # (3, 1, 1)

    def __init__(self, white: float = 1.0) -> None:
        super().__init__()
        statistics = torch.tensor((IMAGENET_MEAN, IMAGENET_STD), dtype=torch.float32)
        mean, std = statistics[..., None, None]
        self.register_buffer("scale", 1 / (white * std), persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        x = torch.addcmul(self.shift, pictures, self.scale)
        return x.contiguous(memory_format=torch.channels_last)
