"""The network that finds hands in whole pictures: where each one's centre is, and how large."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dhpe_ros.networks.layers import ConvBlock, Normalisation, maps_layer
from dhpe_ros.networks.trunks import DEFAULT_TRUNK, EfficientNetPyramid, PlainPyramid, Pyramid

STRIDE = 8  # pixels of a cell of its answer
_PRIOR_LOGIT = -4.6  # one cell of a hundred: the empty ones would else rule the first steps


class LocaliserNetwork(Pyramid):
    """``(B, 3, H, W)``, normalised, to ``(B, 5, H / 8, W / 8)``; sides are multiples of 32.

    After CenterNet (Zhou, Wang, Kraehenbuehl: Objects as Points, 2019). Of each cell: the logit of
    being a hand's centre, the centre's offset x and y from the cell's in cells, and the logarithms
    of the joints' box's width and height in cells. Subclasses bring the pyramid; what it shares
    with the lite trunk of that name may begin with that one's weights.
    """

    trunk_name: str  # of ``LITE_TRUNKS``

    def __init__(self) -> None:
        super().__init__(finest=STRIDE)
        last = maps_layer(self.decoded, 5)
        nn.init.constant_(last.get_parameter("bias")[:1], _PRIOR_LOGIT)
        self.head = nn.Sequential(ConvBlock(self.decoded, self.decoded), last)
        self.normalise = Normalisation(white=255)

    def normalised(self, pictures: Tensor) -> Tensor:
        """``(B, 3, H, W)`` in 0..255 to what the network was trained on."""
        return self.normalise(pictures.float())

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.ascend(self.encode(x)))


class PlainLocaliser(LocaliserNetwork, PlainPyramid):
    trunk_name = DEFAULT_TRUNK


class EfficientNetLocaliser(LocaliserNetwork, EfficientNetPyramid):
    trunk_name = "efficientnet_lite0"


def build_localiser(trunk: str = DEFAULT_TRUNK) -> LocaliserNetwork:
    """The untrained network on a trunk of ``LITE_TRUNKS``."""
    kinds = PlainLocaliser, EfficientNetLocaliser
    return {kind.trunk_name: kind for kind in kinds}[trunk]()


def decode(numbers: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """``(N, 4)`` boxes, x, y, width and height in pixels, from what ``N`` cells say, ``(4, N)``."""
    across, down, width, height = numbers
    width, height = (STRIDE * side.clamp(-5, 5).exp() for side in (width, height))
    x, y = STRIDE * (columns + 0.5 + across), STRIDE * (rows + 0.5 + down)
    return torch.stack((x - width / 2, y - height / 2, width, height), 1)
