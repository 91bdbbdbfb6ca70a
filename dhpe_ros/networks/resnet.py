"""ResNet-50 (He et al., CVPR 2016), with torchvision's parameter names so its checkpoints load."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dhpe_ros.networks.layers import he_initialise


class Bottleneck(nn.Module):
    """1x1, 3x3, 1x1 with a skip; the stride sits on the 3x3, as in torchvision's "v1.5"."""

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        outputs = 4 * width
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, outputs, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(outputs)
        self.relu = nn.ReLU(inplace=True)
        self.downsample: nn.Module | None = None
        if stride != 1 or inputs != outputs:
            self.downsample = nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )

    def forward(self, x: Tensor) -> Tensor:
        skip = x if self.downsample is None else self.downsample(x)
        x = self.relu(self.bn1(self.conv1(x)))
        x = self.relu(self.bn2(self.conv2(x)))
        return self.relu(self.bn3(self.conv3(x)) + skip)


class ResNet50(nn.Module):
    """Without the classifier: ``(B, 3, H, W)`` to the pooled ``(B, 2048)``.

    And to its features at 1/8 and 1/4, 512 and 256 channels.
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, 2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, padding=1)
        self.layer1 = _stage(64, 64, 3, 1)
        self.layer2 = _stage(256, 128, 4, 2)
        self.layer3 = _stage(512, 256, 6, 2)
        self.layer4 = _stage(1024, 512, 3, 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        he_initialise(self)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        at4 = self.layer1(self.maxpool(self.relu(self.bn1(self.conv1(x)))))
        at8 = self.layer2(at4)
        x = self.layer4(self.layer3(at8))
        return torch.flatten(self.avgpool(x), 1), at8, at4


def _stage(inputs: int, width: int, blocks: int, stride: int) -> nn.Sequential:
    rest = [Bottleneck(4 * width, width, 1) for _ in range(blocks - 1)]
    return nn.Sequential(Bottleneck(inputs, width, stride), *rest)
