"""Shared trunks of the lite profile: one encoder for the features and the heat maps."""

from __future__ import annotations

from torch import Tensor, nn

from dhpe_ros.networks.efficientnet_lite import LEVELS, EfficientNetLite0
from dhpe_ros.networks.layers import ConvBlock, ResidualBlock, double, he_initialise, maps_layer
from dhpe_ros.types import FEATURE_COUNT, JOINT_COUNT


class Pyramid(nn.Module):
    """Down to 1/32 of the input, and up again to 1/``finest`` (4 or 8)."""

    widths: tuple[int, ...]  # channels at 1/2, 1/4, 1/8, 1/16 and 1/32
    decoded: int  # channels that ``ascend`` gives

    def encode(self, x: Tensor) -> list[Tensor]:
        """Features of ``(B, 3, H, W)`` at 1/2, 1/4, 1/8, 1/16 and 1/32."""
        raise NotImplementedError

    def ascend(self, levels: list[Tensor]) -> Tensor:
        """Features at 1/``finest`` with the context of the coarser ones."""
        raise NotImplementedError


class PlainPyramid(Pyramid):
    """Residual blocks of few channels."""

    widths = (24, 48, 96, 192, 320)

    def __init__(self, finest: int) -> None:
        super().__init__()
        w2, w4, w8, w16, w32 = self.widths
        self.decoded = w4 if finest == 4 else w8
        self.down2 = nn.Sequential(ConvBlock(3, w2, stride=2), ConvBlock(w2, w2))
        self.down4 = nn.Sequential(ConvBlock(w2, w4, stride=2), ResidualBlock(w4))
        self.down8 = nn.Sequential(ConvBlock(w4, w8, stride=2), ResidualBlock(w8))
        self.down16 = nn.Sequential(ConvBlock(w8, w16, stride=2), ResidualBlock(w16))
        self.down32 = nn.Sequential(ConvBlock(w16, w32, stride=2), ResidualBlock(w32))
        self.up16 = ConvBlock(w32, w16, kernel=1)
        self.up8 = nn.Sequential(ConvBlock(w16, w8, kernel=1), ResidualBlock(w8))
        if finest == 4:
            self.up4 = nn.Sequential(ConvBlock(w8, w4, kernel=1), ResidualBlock(w4))
        he_initialise(self)

    def encode(self, x: Tensor) -> list[Tensor]:
        levels = []
        for down in (self.down2, self.down4, self.down8, self.down16, self.down32):
            x = down(x)
            levels.append(x)
        return levels

    def ascend(self, levels: list[Tensor]) -> Tensor:
        _, at4, at8, at16, at32 = levels
        x = at16 + double(self.up16(at32))
        x = self.up8[1](at8 + double(self.up8[0](x)))
        if self.decoded == self.widths[1]:
            x = self.up4[1](at4 + double(self.up4[0](x)))
        return x


class EfficientNetPyramid(Pyramid):
    """EfficientNet-Lite0, and up again in 64 channels."""

    widths = tuple(LEVELS.values())
    decoded = 64

    def __init__(self, finest: int) -> None:
        super().__init__()
        self.encoder = EfficientNetLite0()
        skipped = self.widths[finest.bit_length() - 2 : -1]
        self.deepest = ConvBlock(self.widths[-1], self.decoded, kernel=1)
        self.skips = nn.ModuleList(ConvBlock(width, self.decoded, kernel=1) for width in skipped)
        self.blocks = nn.ModuleList(ResidualBlock(self.decoded) for _ in skipped)

    def encode(self, x: Tensor) -> list[Tensor]:
        return self.encoder(x)

    def ascend(self, levels: list[Tensor]) -> Tensor:
        *_, deepest = levels
        y = self.deepest(deepest)
        used = levels[-1 - len(self.skips) : -1]
        for fine, skip, block in zip(used[::-1], self.skips[::-1], self.blocks, strict=True):
            y = block(double(y) + skip(fine))
        return y


class Trunk(Pyramid):
    """``(B, 3, S, S)`` to features ``(B, 2048)`` and heat maps ``(B, 21, S / 4, S / 4)``.

    And to the inputs of the mask head, at S / 4 and S / 2, of ``decoded`` and ``widths[0]``
    channels. Subclasses bring the pyramid.
    """

    input_size: int  # S of choice
    tells_facing: bool  # palm and back are told apart by a head of their own

    def __init__(self) -> None:
        super().__init__(finest=4)
        self.feature_head = ConvBlock(self.widths[-1], FEATURE_COUNT, kernel=1)
        self.heatmap_head = maps_layer(self.decoded, JOINT_COUNT)

    def features(self, x: Tensor) -> Tensor:
        """F alone, ``(B, 2048)``."""
        return self._features(self.encode(x))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        levels = self.encode(x)
        y = self.ascend(levels)
        return self._features(levels), self.heatmap_head(y), y, levels[0]

    def _features(self, levels: list[Tensor]) -> Tensor:
        return self.feature_head(levels[-1]).mean(dim=(2, 3))


class PlainTrunk(Trunk, PlainPyramid):
    input_size, tells_facing = 128, False


class EfficientNetTrunk(Trunk, EfficientNetPyramid):
    input_size, tells_facing = 128, True


DEFAULT_TRUNK = "pyramid"
LITE_TRUNKS: dict[str, type[Trunk]] = {
    DEFAULT_TRUNK: PlainTrunk,
    "efficientnet_lite0": EfficientNetTrunk,
}
