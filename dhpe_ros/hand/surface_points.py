"""The hand's vertices one by one, for who asks of a few of them."""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from dhpe_ros.hand.model import HandModel

_LEAST_WEIGHT = 1e-6  # of a bone, for a vertex to hang on it


class SurfacePoints:
    """The vertices of ``Projection``, as sums over the bones that they hang on; float64, on a CPU.

    What ``SkeletonLayer`` is to the joints.
    """

    def __init__(self, model: HandModel) -> None:
        weights = model.bone_weights.T.double().cpu().numpy()  # (778, 16)
        template = model.template.T.double().cpu().numpy()  # (778, 3)
        count = len(weights)
        directions = model.blend_shapes.double().cpu().numpy().reshape(3, count, -1)
        vertex, bone = (weights > _LEAST_WEIGHT).nonzero()
        share = weights[vertex, bone][:, None]
        self._bones = bone
        self._first = np.searchsorted(vertex, np.arange(count + 1))
        self._points = share * np.concatenate((template, np.ones((count, 1))), 1)[vertex]
        self._blend = share[..., None] * directions[:, vertex].transpose(1, 0, 2)
        rest = (model.joint_template, model.jointdirs, model.hands_components.T, model.hands_mean)
        self._rest = tuple(np.ascontiguousarray(part.double().cpu().numpy()) for part in rest)

    def some(self, vertices: np.ndarray) -> tuple[np.ndarray, ...]:
        """What ``read_field`` wants to know of ``vertices`` ``(N,)``."""
        first, count = self._first[vertices], np.diff(self._first)[vertices]
        point = np.repeat(np.arange(len(vertices)), count)
        pair = np.arange(len(point)) - np.repeat(count.cumsum() - count, count)
        pair += np.repeat(first, count)
        pairs = np.stack((point, self._bones[pair]), 1)
        return pairs, self._points[pair], self._blend[pair], *self._rest


@lru_cache(maxsize=8)
def surface_points_of(model: HandModel) -> SurfacePoints:
    """Those of a model, made once."""
    return SurfacePoints(model)
