"""Joints of a hand without its whole mesh, and their derivatives.

A point that is linear in the posed vertices is a sum over the few bones that move these: exactly
the hand layer's point, for the joints at a fiftieth of the work. Float64, on the CPU.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from dhpe_ros.hand.kernels.skeleton_kernels import differentiate_points, place_points
from dhpe_ros.hand.model import HandModel
from dhpe_ros.types import PARAMETER_COUNT

_LEAST_WEIGHT = 1e-9  # of a bone that moves a point


class LinearPoints:
    """N points of a hand model; P pairs of a point and a bone that moves it."""

    def __init__(self, model: HandModel, regressor: Tensor) -> None:
        """``regressor`` is ``(N, 778)``."""
        template, directions, weights = (
            part.double().cpu().numpy()
            for part in (model.v_template, model.blend_shapes, model.weights)
        )
        rows, vertex_count = regressor.double().cpu().numpy(), len(weights)
        self._count = len(rows)
        kept = abs(rows) @ abs(weights) > _LEAST_WEIGHT
        self._pairs = np.stack(kept.nonzero(), 1)  # (P, 2), point by point
        shares = rows[self._pairs[:, 0]] * weights.T[self._pairs[:, 1]]
        self._points = shares @ np.concatenate((template, np.ones((vertex_count, 1))), 1)
        by_vertex = directions.reshape(3, vertex_count, -1).transpose(1, 0, 2)
        self._blend = (shares @ by_vertex.reshape(vertex_count, -1)).reshape(
            -1, *by_vertex.shape[1:]
        )
        rest = (model.joint_template, model.jointdirs, model.hands_components.T, model.hands_mean)
        self._rest = tuple(np.ascontiguousarray(part.double().cpu().numpy()) for part in rest)

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        """Arrays of all points for ``skeleton_kernels``."""
        return self._pairs, self._points, self._blend, *self._rest

    def place(self, parameters: Tensor) -> Tensor:
        """``(B, 63)`` to ``(B, N, 3)``, crop coordinates."""
        rows = parameters.detach().double().contiguous()
        out = rows.new_empty(len(rows), self._count, 3)
        place_points(rows.numpy(), self.arrays, out.numpy())
        return out

    def derivatives(self, parameters: Tensor, coordinates: int = 3) -> tuple[Tensor, Tensor]:
        """As ``place``, and derivatives by the raw 63 numbers, ``(B, N, coordinates, 63)``.

        The latter are of the first 2 coordinates or of all 3.
        """
        rows = parameters.detach().double().contiguous()
        out = rows.new_empty(len(rows), self._count, 3)
        slopes = rows.new_empty(len(rows), self._count, coordinates, PARAMETER_COUNT)
        differentiate_points(rows.numpy(), self.arrays, out.numpy(), slopes.numpy())
        return out, slopes
