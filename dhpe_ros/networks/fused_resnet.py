"""ResNet-50 for one picture on a GPU: in fewer kernels, forward and back to the picture.

One picture is too little work for a GPU: nearly all of the time goes to kernels that begin and end.
So bias, skip and ReLU belong to the convolution before them, 1x1 convolutions are matrix products,
and a block is differentiated as one operation.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from dhpe_ros.networks.resnet import Bottleneck, ResNet50

_GRADIENT_SCALE = 4096.0  # a picture's gradient is too small for half precision


class FusedResNet50(nn.Module):
    """`ResNet50` at inference: its batch norms must be folded already.

    Differentiable by the picture alone. Inside it is ``dtype`` and channels last.
    """

    def __init__(self, network: ResNet50, dtype: torch.dtype) -> None:
        super().__init__()
        self._dtype = dtype
        self._stem = _Convolution.of(network.conv1, dtype)
        self._pool = network.maxpool
        stages = (network.layer1, network.layer2, network.layer3, network.layer4)
        self._stages = [[_Block.of(block, dtype) for block in stage] for stage in stages]

    def features(self, x: Tensor) -> Tensor:
        """The pooled features alone, as `EvidenceNetwork.features`."""
        return self(x)[0]

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As ``ResNet50.forward``; the features are float32, the others ``dtype``."""
        x = _GradientTimes.apply(x, 1 / _GRADIENT_SCALE).to(self._dtype)
        x = self._pool(_Stem.apply(x.contiguous(memory_format=torch.channels_last), self._stem))
        stages_out = []
        for blocks in self._stages:
            for block in blocks:
                x = _Bottleneck.apply(x, block)
            stages_out.append(x)
        features = _GradientTimes.apply(x.mean((2, 3)).float(), _GRADIENT_SCALE)
        return features, stages_out[1], stages_out[0]


class _Convolution(NamedTuple):
    weight: Tensor
    bias: Tensor
    stride: int
    padding: int

    @classmethod
    def of(cls, convolution: nn.Conv2d, dtype: torch.dtype) -> _Convolution:
        weight = convolution.weight.detach().to(dtype, memory_format=torch.channels_last)
        bias = convolution.bias.detach().to(dtype)
        return cls(weight, bias, convolution.stride[0], convolution.padding[0])

    @property
    def sizes(self) -> list[tuple[int, int]]:
        """Stride, padding and dilation, as torch wants them."""
        return [(n, n) for n in (self.stride, self.padding, 1)]

    def relu(self, x: Tensor, skip: Tensor | None = None) -> Tensor:
        """``relu(self(x) + skip)``."""
        weight, bias = self.weight, self.bias
        if not x.is_cuda:
            y = functional.conv2d(x, weight, bias, *self.sizes)
            return (y if skip is None else y + skip).relu()
        if skip is None:
            return torch.cudnn_convolution_relu(x, weight, bias, *self.sizes, 1)
        return torch.cudnn_convolution_add_relu(x, weight, skip, 1.0, bias, *self.sizes, 1)

    def product_relu(self, x: Tensor) -> Tensor:
        """As ``relu``, of a 1x1 convolution."""
        return _picture(torch._addmm_activation(self.bias, _rows(x), self.weight.flatten(1).T), x)

    def pull(self, gradient: Tensor, x: Tensor) -> Tensor:
        """Gradient of the result by ``x``."""
        wanted = (True, False, False)
        return torch.ops.aten.convolution_backward(
            gradient, x, self.weight, None, *self.sizes, False, (0, 0), 1, wanted
        )[0]

    def product_pull(self, gradient: Tensor, x: Tensor, onto: Tensor | None = None) -> Tensor:
        """As ``pull``, of a 1x1 convolution; added in place to ``onto`` where there is one."""
        if onto is None:
            return _picture(_rows(gradient) @ self.weight.flatten(1), x)
        _rows(onto).addmm_(_rows(gradient), self.weight.flatten(1))
        return onto


class _Block(NamedTuple):
    first: _Convolution
    second: _Convolution
    third: _Convolution
    skip: _Convolution | None

    @classmethod
    def of(cls, block: Bottleneck, dtype: torch.dtype) -> _Block:
        plain = (block.conv1, block.conv2, block.conv3)
        skip = None if block.downsample is None else _Convolution.of(block.downsample[0], dtype)
        return cls(*(_Convolution.of(convolution, dtype) for convolution in plain), skip)


class _Bottleneck(torch.autograd.Function):
    """A block of three convolutions and its skip."""

    @staticmethod
    def forward(ctx, x: Tensor, block: _Block) -> Tensor:
        first = block.first.product_relu(x)
        second = block.second.relu(first)
        skip = x
        if block.skip is not None:
            skip = functional.conv2d(x, block.skip.weight, block.skip.bias, block.skip.stride)
        third = block.third.relu(second, skip)
        ctx.save_for_backward(x, first, second, third)
        ctx.block = block
        return third

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        x, first, second, third = ctx.saved_tensors
        block = ctx.block
        on_third = _through_relu(gradient, third)
        on_second = _through_relu(block.third.product_pull(on_third, second), second)
        on_first = _through_relu(block.second.pull(on_second, first), first)
        on_x = on_third if block.skip is None else block.skip.pull(on_third, x)
        return block.first.product_pull(on_first, x, onto=on_x), None


class _Stem(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, convolution: _Convolution) -> Tensor:
        y = convolution.relu(x)
        ctx.save_for_backward(x, y)
        ctx.convolution = convolution
        return y

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        x, y = ctx.saved_tensors
        return ctx.convolution.pull(_through_relu(gradient, y), x), None


class _GradientTimes(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, factor: float) -> Tensor:
        ctx.factor = factor
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:
        return gradient * ctx.factor, None


def _through_relu(gradient: Tensor, result: Tensor) -> Tensor:
    return torch.ops.aten.threshold_backward(gradient, result, 0)


def _rows(x: Tensor) -> Tensor:
    """Channels last ``(B, C, H, W)`` as ``(B H W, C)``, the same memory."""
    return x.permute(0, 2, 3, 1).view(-1, x.shape[1])


def _picture(rows: Tensor, like: Tensor) -> Tensor:
    """Back, as wide and high as ``like``."""
    batch, _, height, width = like.shape
    return rows.view(batch, height, width, -1).permute(0, 3, 1, 2)
