"""Layout of MANO-format hands: sizes, kinematic tree, and the tensors that the kernels read."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

VERTEX_COUNT = 778
# Of the wrist, and of three bones each of index, middle, little, ring finger and thumb.
BONE_COUNT = 16
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 0, 10, 11, 0, 13, 14)


class HandTensors(NamedTuple):
    """Buffers of ``HandModel`` by the same names, of one type on one device."""

    template: Tensor  # (3, 778) metres
    blend_shapes: Tensor  # (3 * 778, 145), of shape (10) and of R - I of each bone (9 * 15)
    bone_weights: Tensor  # (16, 778)
    joint_template: Tensor  # (16, 3) metres
    jointdirs: Tensor  # (16, 3, 10)
    skeleton_regressor: Tensor  # (21, 778)
