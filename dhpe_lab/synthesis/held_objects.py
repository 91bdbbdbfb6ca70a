"""Things in the grasp: balls, boxes and rods between palm and fingers, with stripes."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from scipy.spatial import ConvexHull
from scipy.spatial.transform import Rotation

from dhpe_lab.rendering import Skin
from dhpe_lab.rendering.texels import texels_of

_POINTS = 162
_KNUCKLES, _TIPS = slice(5, None, 4), slice(8, None, 4)  # of the four fingers
_SKIN_M = 0.012  # from the joints of the palm to its skin
_BALL, _BOX, _ROD = range(3)


@dataclass(frozen=True)
class HeldObject:
    """A closed mesh in the hand's frame, and its paint."""

    vertices_m: np.ndarray  # (W, 3)
    triangles: np.ndarray  # (F, 3), turned outward, the same for every object
    unit: np.ndarray  # (W, 3) the vertices before they were scaled and turned
    colors: np.ndarray  # (2, 3) linear RGB
    wave: np.ndarray  # (4,): stripes of the two colours, across a direction, and their phase
    gloss: float

    def painted(self, skin: Skin, triangles: np.ndarray, vertex_count: int) -> Skin:
        """The skin of a body of so many vertices, and after it this object's.

        ``triangles`` (F, 3) are those of both.
        """
        texels = texels_of(triangles, vertex_count + len(self.unit), skin.detail)
        # The texels of a part of a mesh come in the same order as in the part alone.
        mine = (texels.vertices >= vertex_count).all(1)
        points = texels.spread(np.concatenate((np.zeros((vertex_count, 3)), self.unit)))[mine]
        stripes = np.sin(points @ self.wave[:3] + self.wave[3]) > 0
        albedo, gloss = np.empty((len(mine), 3), np.float32), np.empty(len(mine), np.float32)
        albedo[~mine], gloss[~mine] = skin.albedo, skin.gloss
        albedo[mine], gloss[mine] = self.colors[stripes.astype(int)], self.gloss
        return replace(skin, albedo=albedo, gloss=gloss)


def random_object(joints_m: np.ndarray, rng: np.random.Generator) -> HeldObject:
    """An object for the hand of these joints (21, 3).

    As thick as a curled hand has room for; in an open hand of any size, on the palm. What is long
    lies across the palm, which faces -y in the model's frame.
    """
    kind, (unit, triangles) = rng.integers(3), _unit_meshes()
    wrist, knuckles = joints_m[0], joints_m[_KNUCKLES].mean(0)
    room_m = max((knuckles - joints_m[_TIPS].mean(0))[1] - _SKIN_M, 0.0)
    radius_m = np.clip(0.5 * room_m, 0.006, 0.04) * rng.uniform(0.7, 1.2)
    if room_m < 0.02:
        radius_m = rng.uniform(0.006, 0.045)
    half_m = radius_m * rng.uniform(0.8, 1.25, 3)
    if kind == _BOX:
        half_m[0] *= rng.uniform(1.0, 2.5)
    elif kind == _ROD:
        half_m[0] = rng.uniform(0.04, 0.14)
        half_m[1:] *= min(0.02 / radius_m, 1.0)
    tilt = rng.normal((0.0, np.pi / 2, 0.0), 0.3)
    turn = Rotation.from_rotvec(tilt).as_matrix()
    center = knuckles + rng.uniform(-0.2, 0.5) * (wrist - knuckles)
    center = center - (0, _SKIN_M + half_m[1:].max(), 0)
    center = center + turn[:, 0] * half_m[0] * rng.uniform(-0.6, 0.6)
    grey = rng.random((2, 1))
    colors = (grey + rng.random((2, 1)) * (rng.random((2, 3)) - grey)) ** 2
    wave = np.append(rng.normal(0, 4.0, 3), rng.uniform(0, 6.3))
    return HeldObject(
        center + unit[kind] * half_m @ turn.T, triangles, unit[kind], colors, wave,
        rng.uniform(0, 0.1),
    )  # fmt: skip


def _unit_meshes() -> tuple[np.ndarray, np.ndarray]:
    """Ball, box and rod (3, W, 3) within [-1, 1], of the same triangles (F, 3)."""
    step = np.arange(_POINTS) + 0.5
    z, angle = 1 - 2 * step / _POINTS, step * (np.pi * (3 - np.sqrt(5)))  # a spiral of even density
    ball = np.column_stack((z, *(np.sqrt(1 - z**2) * (np.cos(angle), np.sin(angle)))))
    box = ball / (np.abs(ball) ** 8).sum(1, keepdims=True) ** (1 / 8)
    rod = ball / np.maximum(np.abs(z), np.sqrt(1 - z**2))[:, None]
    triangles = ConvexHull(ball).simplices
    a, b, c = ball[triangles].transpose(1, 0, 2)
    inward = (np.cross(a, b) * c).sum(1) < 0
    return np.stack((ball, box, rod)), np.where(inward[:, None], triangles[:, ::-1], triangles)
