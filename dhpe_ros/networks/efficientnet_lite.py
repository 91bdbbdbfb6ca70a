"""EfficientNet-Lite0 as an encoder, and a decoder that turns it into heat maps.

After Tan and Le (ICML 2019) and the Lite variants that TensorFlow published: inverted residual
blocks with ReLU6, no squeeze-and-excitation. The encoder takes published ImageNet weights
(``dhpe_lab/training/published_weights.py``).
"""

from __future__ import annotations

from torch import Tensor, nn

from dhpe_ros.networks.lite_trunk import ConvBlock, ResidualBlock, double
from dhpe_ros.types import FEATURE_COUNT, JOINT_COUNT

EPSILON = 1e-3  # of the published batch norms
STEM = 32
# Expansion, kernel, stride, outputs and repetitions of each stage of blocks.
_STAGES = (
    (1, 3, 1, 16, 1),
    (6, 3, 2, 24, 2),
    (6, 5, 2, 40, 2),
    (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4),
    (6, 3, 1, 320, 1),
)
_TAPS = {0: 16, 1: 24, 2: 40, 4: 112, 6: 320}  # stage -> channels: the last at each resolution
DECODER = 64


class NormalisedConvolution(nn.Sequential):
    """A convolution without bias and its batch norm, with ReLU6 if ``active``."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1,
        active: bool = True,
    ) -> None:  # fmt: skip
        padding = kernel // 2
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, EPSILON, momentum=0.01),
            *([nn.ReLU6(inplace=True)] if active else []),
        )


class InvertedResidual(nn.Module):
    """MBConv: expand, convolve each channel by itself, project."""

    def __init__(self, inputs: int, outputs: int, expansion: int, kernel: int, stride: int) -> None:
        super().__init__()
        inner = inputs * expansion
        self.expand = NormalisedConvolution(inputs, inner, 1) if expansion > 1 else nn.Identity()
        self.depthwise = NormalisedConvolution(inner, inner, kernel, stride, groups=inner)
        self.project = NormalisedConvolution(inner, outputs, 1, active=False)
        self.shortcut = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        y = self.project(self.depthwise(self.expand(x)))
        return x + y if self.shortcut else y


class EfficientNetLite0(nn.Module):
    """``(B, 3, S, S)`` to its features at 1/2, 1/4, 1/8, 1/16 and 1/32: 16 to 320 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = NormalisedConvolution(3, STEM, 3, stride=2)
        stages, inputs = [], STEM
        for expansion, kernel, stride, outputs, repetitions in _STAGES:
            blocks = []
            for first in (True, *[False] * (repetitions - 1)):
                step = stride if first else 1
                blocks.append(InvertedResidual(inputs, outputs, expansion, kernel, step))
                inputs = outputs
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.ModuleList(stages)

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        levels = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in _TAPS:
                levels.append(x)
        return levels


class EfficientNetPyramid(nn.Module):
    """Down to 1/32 of the input, and up again to ``finest`` in 64 channels."""

    def __init__(self, finest: int) -> None:
        super().__init__()
        self.encoder = EfficientNetLite0()
        *finer, deepest = _TAPS.values()
        skipped = finer[finest.bit_length() - 2 :]
        self.deepest = ConvBlock(deepest, DECODER, kernel=1)
        self.skips = nn.ModuleList(ConvBlock(width, DECODER, kernel=1) for width in skipped)
        self.blocks = nn.ModuleList(ResidualBlock(DECODER) for _ in skipped)

    def ascend(self, levels: list[Tensor]) -> Tensor:
        """``(B, 64, S / finest, S / finest)`` from the encoder's features."""
        y = self.deepest(levels[-1])
        used = levels[-1 - len(self.skips) : -1]
        for fine, skip, block in zip(used[::-1], self.skips[::-1], self.blocks, strict=True):
            y = block(double(y) + skip(fine))
        return y


class EfficientNetTrunk(EfficientNetPyramid):
    """``(B, 3, S, S)`` to features ``(B, 2048)`` and heat maps ``(B, 21, S / 4, S / 4)``.

    And to the inputs of the mask head: ``(B, 64, S / 4, S / 4)`` and ``(B, 16, S / 2, S / 2)``.
    """

    input_size = 192
    tells_facing = True
    mask_channels = DECODER, _TAPS[0]  # coarse, fine

    def __init__(self) -> None:
        super().__init__(finest=4)
        self.feature_head = ConvBlock(_TAPS[6], FEATURE_COUNT, kernel=1)
        self.heatmap_head = nn.Conv2d(DECODER, JOINT_COUNT, 1)
        nn.init.normal_(self.heatmap_head.weight, std=0.01)
        assert self.heatmap_head.bias is not None
        nn.init.zeros_(self.heatmap_head.bias)

    def features(self, x: Tensor) -> Tensor:
        return self._features(self.encoder(x)[-1])

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        levels = self.encoder(x)
        y = self.ascend(levels)
        return self._features(levels[-1]), self.heatmap_head(y), y, levels[0]

    def _features(self, at32: Tensor) -> Tensor:
        return self.feature_head(at32).mean(dim=(2, 3))
