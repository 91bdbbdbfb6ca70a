"""Folds batch norms into the convolutions before them: the same function in fewer passes."""

from __future__ import annotations

from itertools import pairwise

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fuse_batch_norms(module: nn.Module) -> None:
    """Change ``module``, which must be in evaluation mode, in place.

    A batch norm belongs to the convolution registered directly before it, as in ``nn.Sequential``
    and in ResNet's blocks.
    """
    for (name, first), (next_name, second) in pairwise(list(module.named_children())):
        if isinstance(first, nn.Conv2d) and isinstance(second, nn.BatchNorm2d):
            setattr(module, name, fuse_conv_bn_eval(first, second))
            setattr(module, next_name, nn.Identity())
    for child in module.children():
        fuse_batch_norms(child)
