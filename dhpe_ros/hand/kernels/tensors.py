"""Tensors of a hand model that the kernels read; V vertices."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor


class HandTensors(NamedTuple):
    """Buffers of ``HandModel`` by the same names, of one type on one device."""

    template: Tensor  # (3, V) metres
    blend_shapes: Tensor  # (3 V, 145), of shape (10) and of R - I of each bone (9 * 15)
    bone_weights: Tensor  # (16, V)
    joint_template: Tensor  # (16, 3) metres
    jointdirs: Tensor  # (16, 3, 10)
    skeleton_regressor: Tensor  # (21, V)
