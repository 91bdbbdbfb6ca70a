"""The network that finds hands in whole pictures: where each one's centre is, and how large."""

from __future__ import annotations

from torch import Tensor, nn

from dhpe_ros.networks.efficientnet_lite import DECODER, EfficientNetPyramid
from dhpe_ros.networks.imagenet import Normalisation
from dhpe_ros.networks.lite_trunk import WIDTHS, ConvBlock, Pyramid

STRIDE = 8  # pixels of a cell of its answer
_PRIOR_LOGIT = -4.6  # one cell of a hundred: the empty ones would else rule the first steps


class LocaliserNetwork(nn.Module):
    """``(B, 3, H, W)``, normalised, to ``(B, 5, H / 8, W / 8)``; sides are multiples of 32.

    After CenterNet (Zhou, Wang, Kraehenbuehl: Objects as Points, 2019). Of each cell: the logit of
    being a hand's centre, the centre's offset x and y from the cell's in cells, and the logarithms
    of the joints' box's width and height in cells. What it shares with a lite trunk may
    begin with that one's weights. Subclasses bring what comes before the head.
    """

    trunk_name: str  # of ``LITE_TRUNKS``, with which it shares its encoder

    def add_head(self, width: int) -> None:
        """The last layers, on ``width`` channels at 1/8."""
        block, last = ConvBlock(width, width), nn.Conv2d(width, 5, 1)
        first = block[0]
        assert isinstance(first, nn.Conv2d) and last.bias is not None
        self.head = nn.Sequential(block, last)
        nn.init.kaiming_normal_(first.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(last.weight, std=0.01)
        nn.init.zeros_(last.bias)
        nn.init.constant_(last.bias[:1], _PRIOR_LOGIT)
        self.normalise = Normalisation(white=255)

    def normalised(self, pictures: Tensor) -> Tensor:
        """``(B, 3, H, W)`` in 0..255 to what the network was trained on."""
        return self.normalise(pictures.float())

    def features(self, x: Tensor) -> Tensor:
        """``(B, width, H / 8, W / 8)``."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.features(x))


class PyramidLocaliser(LocaliserNetwork, Pyramid):
    """On the small pyramid."""

    trunk_name = "pyramid"

    def __init__(self) -> None:
        super().__init__()
        self.initialise()
        self.add_head(WIDTHS[2])

    def features(self, x: Tensor) -> Tensor:
        return self.ascend(*self.encode(x)[2:])


class EfficientNetLocaliser(LocaliserNetwork, EfficientNetPyramid):
    """On EfficientNet-Lite0."""

    trunk_name = "efficientnet_lite0"

    def __init__(self) -> None:
        super().__init__(finest=STRIDE)
        self.add_head(DECODER)

    def features(self, x: Tensor) -> Tensor:
        return self.ascend(self.encoder(x))


def build_localiser(trunk: str = "pyramid") -> LocaliserNetwork:
    """The untrained network on a trunk of ``LITE_TRUNKS``."""
    kinds = PyramidLocaliser, EfficientNetLocaliser
    return {kind.trunk_name: kind for kind in kinds}[trunk]()
