"""The network that finds hands in whole pictures: where each one's centre is, and how large."""

from __future__ import annotations

from torch import Tensor, nn

from dhpe_ros.networks.imagenet import Normalisation
from dhpe_ros.networks.lite_trunk import WIDTHS, ConvBlock, Pyramid

STRIDE = 8  # pixels of a cell of its answer
_PRIOR_LOGIT = -4.6  # one cell of a hundred: the empty ones would else rule the first steps


class LocaliserNetwork(Pyramid):
    """``(B, 3, H, W)``, normalised, to ``(B, 5, H / 8, W / 8)``; sides are multiples of 32.

    After CenterNet (Zhou, Wang, Kraehenbuehl: Objects as Points, 2019). Of each cell: the logit of
    being a hand's centre, the centre's offset x and y from the cell's in cells, and the logarithms
    of the joints' box's width and height in cells. What it shares with the lite trunk may
    begin with that one's weights.
    """

    def __init__(self) -> None:
        super().__init__()
        width = WIDTHS[2]
        self.head = nn.Sequential(ConvBlock(width, width), nn.Conv2d(width, 5, 1))
        self.initialise()
        nn.init.normal_(self.head[-1].weight, std=0.01)
        nn.init.zeros_(self.head[-1].bias)
        nn.init.constant_(self.head[-1].bias[:1], _PRIOR_LOGIT)
        self.normalise = Normalisation(white=255)

    def normalised(self, pictures: Tensor) -> Tensor:
        """``(B, 3, H, W)`` in 0..255 to what the network was trained on."""
        return self.normalise(pictures.float())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.ascend(*self.encode(x)[2:]))
