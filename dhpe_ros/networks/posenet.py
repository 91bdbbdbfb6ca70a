"""PoseNet of Zimmermann & Brox (ICCV 2017): 21 heat maps in three stages, after CPM."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from dhpe_ros.networks.layers import he_initialise
from dhpe_ros.types import JOINT_COUNT

_ENCODER = ((64,) * 2, (128,) * 2, (256,) * 4, (512, 512, 256, 256, 256, 256, 128))  # blocks
NORM = "_norm"  # suffix of a batch norm's name, after that of its convolution


class PoseNet(nn.Module):
    """``(B, 3, 256, 256)`` in [-0.5, 0.5] to three ``(B, 21, 32, 32)``, one per stage.

    Or another side that is a multiple of 8. Parameter names are those of the published weights
    (``conv1_1`` ... ``conv7_7``); leaky ReLU 0.01, zero padding that keeps the size
    (docs/explanation/method.md). Batch norms, which the published network does without, are for
    learning from nothing: ``fuse_batch_norms`` leaves the published layers alone.
    """

    def __init__(self) -> None:
        super().__init__()
        inputs = 3
        for block, widths in enumerate(_ENCODER, 1):
            for k, width in enumerate(widths, 1):
                self._add(f"conv{block}_{k}", inputs, width, kernel=3)
                inputs = width
        self._add("conv5_1", 128, 512, kernel=1)
        self.conv5_2 = nn.Conv2d(512, JOINT_COUNT, 1)
        for stage in (6, 7):
            for k in range(1, 6):
                self._add(f"conv{stage}_{k}", 128 + JOINT_COUNT * (k == 1), 128, kernel=7)
            self._add(f"conv{stage}_6", 128, 128, kernel=1)
            setattr(self, f"conv{stage}_7", nn.Conv2d(128, JOINT_COUNT, 1))
        self.activation = nn.LeakyReLU(0.01)
        self.pool = nn.MaxPool2d(2)
        he_initialise(self)
        for scores in ("conv5_2", "conv6_7", "conv7_7"):  # heat maps are empty at first
            nn.init.normal_(getattr(self, scores).weight, std=0.01)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        for block, widths in enumerate(_ENCODER, 1):
            x = self.pool(x) if block > 1 else x
            for k in range(1, len(widths) + 1):
                x = self._active(f"conv{block}_{k}", x)
        encoding = x
        scores = [self.conv5_2(self._active("conv5_1", encoding))]
        for stage in (6, 7):
            x = torch.cat((scores[-1], encoding), 1)
            for k in range(1, 7):
                x = self._active(f"conv{stage}_{k}", x)
            scores.append(getattr(self, f"conv{stage}_7")(x))
        return tuple(scores)

    def _add(self, name: str, inputs: int, outputs: int, kernel: int) -> None:
        setattr(self, name, nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2))
        setattr(self, name + NORM, nn.BatchNorm2d(outputs))

    def _active(self, name: str, x: Tensor) -> Tensor:
        return self.activation(getattr(self, name + NORM)(getattr(self, name)(x)))
