"""Regions of palm, creases, nails and knuckles on the hand, for its synthetic skin."""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np

from dhpe_lab.rendering.texels import Texels, texels_of
from dhpe_lab.synthesis.forearm import straight_forearm
from dhpe_lab.synthesis.hand_poses import FINGERS
from dhpe_ros.hand.model import HandModel
from dhpe_ros.rendering.normals import area_normals

DETAIL = 3  # texels along an edge: about 2 mm each
_JOINTS = {"thumb": 1, "index": 5, "middle": 9, "ring": 13, "little": 17}  # first of each finger

# The palm's three lines, from the middle MCP in units of its distance to the wrist: towards the
# wrist, towards the thumb's side.
_PALM_LINES = (
    ((0.30, -0.52), (0.16, -0.26), (0.07, -0.04), (-0.04, 0.12)),  # distal crease
    ((0.15, 0.42), (0.20, 0.22), (0.32, -0.04), (0.46, -0.26)),  # proximal crease
    ((0.15, 0.42), (0.26, 0.26), (0.46, 0.13), (0.68, 0.06), (0.85, 0.03)),  # thenar crease
)


class HandSurface(NamedTuple):
    """A hand with a forearm, cut into texels. All fields but `texels` are (N,) float32, 0 to 1."""

    texels: Texels
    palm: np.ndarray
    redness: np.ndarray
    creases: np.ndarray
    nails: np.ndarray

    def regions(self) -> dict[str, np.ndarray | int]:
        """Parts of the hand for `random_skin`."""
        fields = self._asdict()
        return {"detail": fields.pop("texels").detail, **fields}


_surfaces: WeakKeyDictionary[HandModel, HandSurface] = WeakKeyDictionary()


def surface_of(model: HandModel) -> HandSurface:
    """The surface of a model with `pose_axes`; its mesh is the hand's, then the forearm's.

    It is made once for a model.
    """
    if model not in _surfaces:
        _surfaces[model] = _surface(model)
    return _surfaces[model]


def _surface(model: HandModel) -> HandSurface:
    rest_m = model.v_template.double().numpy()
    forearm = straight_forearm(rest_m, model.extras["wrist_loop"])
    mesh_m = np.concatenate((rest_m, forearm.vertices_m))
    triangles = np.concatenate((model.triangles.numpy(), forearm.triangles)).astype(np.int64)
    texels = texels_of(triangles, len(mesh_m), DETAIL)
    points_m = texels.spread(mesh_m)
    normals = texels.spread(area_normals(mesh_m, triangles)[0])
    joints_m = model.pivots(model.v_template[None])[0].double().numpy()
    wrist, root = joints_m[0], joints_m[9]
    length = np.linalg.norm(wrist - root)
    beyond = (points_m - root) @ (wrist - root) / length**2  # 1 at the wrist
    palm = _ramp(-normals[:, 1], -0.3, 0.8) * _ramp(-beyond, -1.2, -0.7)
    creases = palm * _palm_lines((points_m - root)[:, [0, 2]] / length)
    redness, nails = 0.5 * palm, np.zeros(len(points_m))
    for finger, first in _JOINTS.items():
        chain = joints_m[first : first + 4]
        flexion = np.asarray(model.extras["pose_axes"], float)[FINGERS[finger] + np.arange(3), 0]
        part = _finger(points_m, normals, chain, flexion)
        creases, redness, nails = map(np.maximum, (creases, redness, nails), part)
    fields = (palm, redness, creases * (1.0 - nails), nails)
    return HandSurface(texels, *(field.astype(np.float32) for field in fields))


def _finger(points_m, normals, chain_m, flexion):
    """Creases, redness and nail of one finger from its joints (4, 3) and flexion axes (3, 3)."""
    creases, redness = np.zeros(len(points_m)), np.zeros(len(points_m))
    along = chain_m[1:] - chain_m[:-1]
    length = np.linalg.norm(along, axis=1)
    along /= length[:, None]
    dorsal = np.cross(along, flexion)
    for k in range(3):
        local = points_m - chain_m[k]
        place, close = local @ along[k], np.linalg.norm(local, axis=1)
        across = np.linalg.norm(local - place[:, None] * along[k], axis=1)
        back = _ramp(normals @ dorsal[k], 0.0, 0.5)
        redness = np.maximum(redness, back * np.exp(-((close / 0.013) ** 2)))
        near = close < 0.018
        # The folds of the palm's side: at each joint, but half way to the PIP for the MCP.
        fold = 0.45 * length[0] if k == 0 else 0.0
        front = _ramp(-normals @ dorsal[k], 0.0, 0.4)
        on_finger = (np.abs(place) < 0.03) & (across < 0.014)
        creases = np.maximum(creases, front * _line(place - fold) * on_finger)
        if k:
            wrinkles = sum(_line(place - offset) for offset in (-0.003, 0.0, 0.003))
            creases = np.maximum(creases, 0.6 * back * near * np.minimum(wrinkles, 1.0))
    tip = chain_m[3]
    redness = np.maximum(redness, np.exp(-((np.linalg.norm(points_m - tip, axis=1) / 0.012) ** 2)))
    nail = _nail(points_m, normals, tip, along[2], dorsal[2], flexion[2], length[2])
    return creases, redness, nail


def _nail(points_m, normals, tip, along, dorsal, across, length):
    """An ellipse on the back of the last bone, wider than it looks as it bends round the finger."""
    local = points_m - tip
    mine = np.linalg.norm(local + 0.4 * length * along, axis=1) < 0.8 * length
    width = np.quantile(np.abs(local @ across)[mine], 0.95)
    forward, sideways = (local @ along + 0.25 * length) / (0.29 * length), local @ across / width
    ellipse = _ramp(-np.hypot(forward, 1.15 * sideways), -1.15, -0.85)
    return mine * ellipse * _ramp(normals @ dorsal, 0.2, 0.45)


def _palm_lines(points):
    """Closeness to the lines of the palm, (N,)."""
    distance = np.full(len(points), np.inf)
    for line in _PALM_LINES:
        corners = np.asarray(line, float)
        for a, b in pairwise(corners):
            share = np.clip((points - a) @ (b - a) / ((b - a) @ (b - a)), 0.0, 1.0)
            away = np.linalg.norm(points - a - share[:, None] * (b - a), axis=1)
            distance = np.minimum(distance, away)
    return np.exp(-((distance / 0.016) ** 2))


def _line(distance_m):
    return np.exp(-((distance_m / 0.0012) ** 2))


def _ramp(values, low, high):
    """0 up to `low`, 1 from `high` on, smooth between."""
    share = np.clip((values - low) / (high - low), 0.0, 1.0)
    return share * share * (3.0 - 2.0 * share)
