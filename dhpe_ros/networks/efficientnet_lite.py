"""EfficientNet-Lite0 as an encoder.

After Tan and Le (ICML 2019) and the Lite variants that TensorFlow published: inverted residual
blocks with ReLU6, no squeeze-and-excitation. The encoder takes published ImageNet weights
(``dhpe_lab/training/published_weights.py``).
"""

from __future__ import annotations

from torch import Tensor, nn

_EPSILON = 1e-3  # of the published batch norms
_STEM = 32
# Expansion, kernel, stride, outputs and repetitions of each stage of blocks.
_STAGES = (
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3), (6, 5, 1, 112, 3),
    (6, 5, 2, 192, 4), (6, 3, 1, 320, 1),
)  # fmt: skip
LEVELS = {0: 16, 1: 24, 2: 40, 4: 112, 6: 320}  # stage -> channels: the last at each resolution


class NormalisedConvolution(nn.Sequential):
    """A convolution without bias and its batch norm, with ReLU6 if ``active``."""

    def __init__(
        self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1,
        active: bool = True,
    ) -> None:  # fmt: skip
        padding = kernel // 2
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding, groups=groups, bias=False),
            nn.BatchNorm2d(outputs, _EPSILON, momentum=0.01),
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
        self.stem = NormalisedConvolution(3, _STEM, 3, stride=2)
        self.stages, inputs = nn.ModuleList(), _STEM
        for expansion, kernel, stride, outputs, repetitions in _STAGES:
            blocks = [InvertedResidual(inputs, outputs, expansion, kernel, stride)]
            for _ in range(repetitions - 1):
                blocks.append(InvertedResidual(outputs, outputs, expansion, kernel, 1))
            self.stages.append(nn.Sequential(*blocks))
            inputs = outputs

    def forward(self, x: Tensor) -> list[Tensor]:
        x = self.stem(x)
        levels = []
        for number, stage in enumerate(self.stages):
            x = stage(x)
            if number in LEVELS:
                levels.append(x)
        return levels
