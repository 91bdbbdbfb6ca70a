"""manopth (Hasson et al., CVPR 2019) as the hand layer, where it is installed.

It poses the published mesh exactly as others do; the refinement keeps this project's kernels.

It is GPL software and no part of this project; nothing here runs unless ``model.hand_layer`` asks.
"""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch
from torch import Tensor, nn

from dhpe_ros.hand.model import HandModel

_CHUMPY = ("v_template", "shapedirs", "posedirs", "weights")  # arrays under another name, in .r


class ManopthHandModel(HandModel):
    """A ``HandModel`` whose mesh comes from manopth's ``ManoLayer``; all else is the same."""

    def __init__(self, path: str | Path) -> None:
        """Errors as in ``HandModel``, and ``ImportError`` with the remedy without manopth."""
        super().__init__(path)
        self.layer = self._mano_layer()

    def pose_hand(self, pose: Tensor, shape: Tensor, frame: Tensor) -> tuple[Tensor, Tensor]:
        """As in ``HandModel``: metres, the wrist where ``frame`` puts it."""
        wrist = torch.zeros_like(pose[:, 0])
        millimetres, _ = self.layer(torch.cat((wrist, pose.flatten(1)), 1), shape)
        moved = 1e-3 * millimetres @ frame[:, :, :3].mT + frame[:, None, :, 3]
        return moved, self.skeleton(moved)

    def _mano_layer(self) -> nn.Module:
        """A ``ManoLayer`` of the file that was read here.

        Its own reader runs the pickle's code and needs chumpy, which new Python and NumPy refuse;
        it gets the arrays instead, in the form that it would have read.
        """
        try:
            from manopth import manolayer
        except ImportError as error:
            raise ImportError(
                f"manopth cannot be imported ({error}); install it (it is GPL software: "
                "github.com/hassony2/manopth), or set model.hand_layer to own"
            ) from error
        arrays = self._file.arrays
        read = {key: SimpleNamespace(r=arrays[key]) for key in _CHUMPY}
        read["betas"] = SimpleNamespace(r=np.zeros(10))
        read["J_regressor"] = SimpleNamespace(toarray=lambda: arrays["J_regressor"])
        reader = manolayer.ready_arguments
        manolayer.ready_arguments = lambda _: {**arrays, **read}
        try:
            return manolayer.ManoLayer(side="right", use_pca=False, flat_hand_mean=True)
        finally:
            manolayer.ready_arguments = reader
