"""Layers that several networks share, and batch norms folded away for inference."""

from __future__ import annotations

from itertools import pairwise
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.fusion import fuse_conv_bn_eval

_Network = TypeVar("_Network", bound=nn.Module)
IMAGENET_MEAN = (0.485, 0.456, 0.406)  # RGB in 0..1
IMAGENET_STD = (0.229, 0.224, 0.225)


class Normalisation(nn.Module):
    """Pictures ``(B, 3, H, W)`` in 0..``white`` to ImageNet's mean 0 and standard deviation 1."""

    scale: Tensor  # (3, 1, 1)
    shift: Tensor  # (3, 1, 1)

    def __init__(self, white: float = 1.0) -> None:
        super().__init__()
        statistics = torch.tensor((IMAGENET_MEAN, IMAGENET_STD), dtype=torch.float32)
        mean, std = statistics[..., None, None]
        self.register_buffer("scale", 1 / (white * std), persistent=False)
        self.register_buffer("shift", -mean / std, persistent=False)

    def forward(self, pictures: Tensor) -> Tensor:
        x = torch.addcmul(self.shift, pictures, self.scale)
        return x.contiguous(memory_format=torch.channels_last)


class ConvBlock(nn.Sequential):
    """A convolution, its batch norm and ReLU."""

    def __init__(self, inputs: int, outputs: int, kernel: int = 3, stride: int = 1) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


class ResidualBlock(nn.Module):
    """Two 3x3 convolutions with a skip."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first = ConvBlock(width, width)
        self.second = nn.Sequential(*list(ConvBlock(width, width))[:2])

    def forward(self, x: Tensor) -> Tensor:
        return functional.relu(x + self.second(self.first(x)))


def maps_layer(inputs: int, outputs: int) -> nn.Conv2d:
    """The 1x1 convolution that gives maps, which are about zero at first."""
    layer = nn.Conv2d(inputs, outputs, 1)
    nn.init.normal_(layer.weight, std=0.01)
    nn.init.zeros_(layer.get_parameter("bias"))
    return layer


def double(x: Tensor) -> Tensor:
    """``(B, C, H, W)`` twice as high and wide."""
    return functional.interpolate(x, scale_factor=2, mode="nearest")


def he_initialise(module: nn.Module) -> None:
    """Random convolutions after He et al. (2015), their biases zero."""
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def for_inference(network: _Network, device: torch.device) -> _Network:
    """``network``, in evaluation mode, as it runs fastest; it is changed in place."""
    fuse_batch_norms(network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network.to(device)


def fuse_batch_norms(module: nn.Module) -> None:
    """Fold batch norms of ``module``, in evaluation mode, into the convolutions before them.

    A batch norm belongs to the convolution registered directly before it, as in ``nn.Sequential``
    and in ResNet's blocks.
    """
    for (name, first), (next_name, second) in pairwise(list(module.named_children())):
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(first, second))
            setattr(module, next_name, nn.Identity())
    for child in module.children():
        fuse_batch_norms(child)
