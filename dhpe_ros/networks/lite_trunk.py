"""The small shared trunk of the lite profile: one encoder for the features and the heat maps."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional

from dhpe_ros.types import FEATURE_COUNT, JOINT_COUNT

WIDTHS = (24, 48, 96, 192, 320)  # at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input


class ConvBlock(nn.Sequential):
    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = ConvBlock(width, width)
        self.second = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)
        )

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


class Pyramid(nn.Module):
    """Common part of the small networks: down to 1/32 of the input, and up again to 1/8."""

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

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Features at 1/2, 1/4, 1/8, 1/16 and 1/32."""
        at2 = self.down2(x)
        at4 = self.down4(at2)
        at8 = self.down8(at4)
        at16 = self.down16(at8)
        return at2, at4, at8, at16, self.down32(at16)

    def ascend(self, at8: Tensor, at16: Tensor, at32: Tensor) -> Tensor:
        """Features at 1/8 with the context of the coarser ones."""
        x = at16 + double(self.up16(at32))
        return self.up8[1](at8 + double(self.up8[0](x)))

    def initialise(self) -> None:
        """Random convolutions after He et al. (2015)."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")


class LiteTrunk(Pyramid):
    """``(B, 3, 128, 128)`` to features ``(B, 2048)`` and heat maps ``(B, 21, 32, 32)``.

    And to the inputs of the mask head: ``(B, 48, 32, 32)`` and ``(B, 24, 64, 64)``.
    """

    input_size = 128
    tells_facing = False  # palm and back are not told apart by a head of their own
    mask_channels = WIDTHS[1], WIDTHS[0]  # coarse, fine

    def __init__(self) -> None:
        super().__init__()
        _, w4, w8, _, w32 = WIDTHS
        self.feature_head = ConvBlock(w32, FEATURE_COUNT, kernel=1)
        self.up4 = nn.Sequential(ConvBlock(w8, w4, kernel=1), ResidualBlock(w4))
        self.heatmap_head = nn.Conv2d(w4, JOINT_COUNT, 1)
        self.initialise()
        nn.init.normal_(self.heatmap_head.weight, std=0.01)

    def features(self, x: Tensor) -> Tensor:
        return self._features(self.encode(x)[-1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        at2, at4, *coarser = self.encode(x)
        x = self.ascend(*coarser)
        x = self.up4[1](at4 + double(self.up4[0](x)))
        return self._features(coarser[-1]), self.heatmap_head(x), x, at2

    def _features(self, at32: Tensor) -> Tensor:
        return self.feature_head(at32).mean(dim=(2, 3))


def double(x: Tensor) -> Tensor:
    return functional.interpolate(x, scale_factor=2, mode="nearest")
