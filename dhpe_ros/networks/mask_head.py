"""Which cells of a crop show the hand, from features that were learnt for something else."""

from __future__ import annotations

from torch import Tensor, nn

from dhpe_ros.networks.lite_trunk import ConvBlock, double

_WIDTH = 24


class MaskHead(nn.Module):
    """Features ``(B, coarse, S / 2, S / 2)`` and ``(B, fine, S, S)`` to logits ``(B, S, S)``."""

    def __init__(self, coarse: int, fine: int) -> None:
        super().__init__()
        self.coarse = nn.Sequential(ConvBlock(coarse, 2 * _WIDTH), ConvBlock(2 * _WIDTH, _WIDTH, 1))
        self.fine = ConvBlock(fine, _WIDTH, 1)
        self.both = nn.Sequential(ConvBlock(_WIDTH, _WIDTH), nn.Conv2d(_WIDTH, 1, 1))

    def forward(self, coarse: Tensor, fine: Tensor) -> Tensor:
        return self.both(double(self.coarse(coarse)) + self.fine(fine))[:, 0]
