"""The network that finds hands in whole pictures: where each one's centre is, and how large."""

from __future__ import annotations

from torch import Tensor, nn

from dhpe_ros.networks.lite_trunk import WIDTHS, ConvBlock, ResidualBlock, double

STRIDE = 8  # pixels of a cell of its answer
MULTIPLE = 32  # that the sides of a picture must be of
_PRIOR_LOGIT = (
    -4.6
)  # one cell of a hundred, so that the first steps are not all about the empty ones


class LocaliserNetwork(nn.Module):
    """``(B, 3, H, W)``, normalised, to ``(B, 5, H / 8, W / 8)``.

    After CenterNet (Zhou, Wang, Kraehenbuehl: Objects as Points, 2019). Of each cell: the logit of
    being a hand's centre, the centre's offset x and y from the cell's in cells, and the logarithms
    of the joints' box's width and height in cells. The encoder is the lite trunk's, and may begin
    with its weights.
    """

    def __init__(self) -> None:
        super().__init__()
        w2, w4, w8, w16, w32 = WIDTHS
        self.down2 = nn.Sequential(ConvBlock(3, w2, stride=2), ConvBlock(w2, w2))
        self.down4 = nn.Sequential(ConvBlock(w2, w4, stride=2), ResidualBlock(w4))
        self.down8 = nn.Sequential(ConvBlock(w4, w8, stride=2), ResidualBlock(w8))
        self.down16 = nn.Sequential(ConvBlock(w8, w16, stride=2), ResidualBlock(w16))
        self.down32 = nn.Sequential(ConvBlock(w16, w32, stride=2), ResidualBlock(w32))
        self.up16 = ConvBlock(w32, w16, kernel=1)
        self.up8 = nn.Sequential(ConvBlock(w16, w8, kernel=1), ResidualBlock(w8))
        self.head = nn.Sequential(ConvBlock(w8, w8), nn.Conv2d(w8, 5, 1))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.head[-1].weight, std=0.01)
        nn.init.zeros_(self.head[-1].bias)
        nn.init.constant_(self.head[-1].bias[:1], _PRIOR_LOGIT)

    def forward(self, x: Tensor) -> Tensor:
        at8 = self.down8(self.down4(self.down2(x)))
        at16 = self.down16(at8)
        x = at16 + double(self.up16(self.down32(at16)))
        x = self.up8[1](at8 + double(self.up8[0](x)))
        return self.head(x)
