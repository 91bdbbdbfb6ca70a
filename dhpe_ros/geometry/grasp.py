"""Objects in the grasp of a hand: what a registered depth image shows before palm and fingers.

Everything in metres is in the camera's optical frame. The hand is taken as it lies in the image, at
the distances of its mesh: there the depth image shows it, also where a fit without perspective put
``vertices_m`` beside it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np

from dhpe_ros.geometry.camera import Camera
from dhpe_ros.rendering.kernels import nearest
from dhpe_ros.rendering.overlay import window_of
from dhpe_ros.types import BONES, FINGERS, MIDDLE_MCP, Hand, Scale

_SKIN_M = 0.012  # before the mesh, in which what is measured is still the hand
_RIM_M = 0.004  # beside the mesh in the image, likewise
_JUMP_M = 0.012  # between neighbours, one of which may be a mix of near and far
_PITCH_M = 0.003  # between points
_LEAST_M2 = 1e-4  # of a seen object's area; less is noise
_EDGE_M = 0.002  # by which those three let an object seem too far from a finger
_AGREEING = 2  # points that tell a distance
_BESIDE_M = 0.003  # by which what lies beside a finger may lie behind its skin
_ARM = 0.15  # of the palm's length, up to which the arm may reach
_DORSAL = -0.3  # cosine to the palmar direction below which skin is the hand's back
_PAD = 0.5  # the same, above which it faces what the finger would touch
_TOUCH_M = 0.01  # nearer, no matter what is hidden
_FREE = 0.75  # of the space before a pad, which must be seen for more than that


@dataclass(frozen=True)
class Grasp:
    """Points of the object within a hand's reach, and each finger's distance from them.

    ``distances_m`` goes from the thumb to the little finger. Each is the distance of ``points_m``
    from the skin of the last bone, without its back. It is infinite where no point is in reach, and
    NaN where the gap is hidden from the camera or was not measured.
    """

    points_m: np.ndarray  # (N, 3) float32
    distances_m: np.ndarray  # (5,) float32


UNKNOWN = Grasp(np.zeros((0, 3), np.float32), np.full(len(FINGERS), np.nan, np.float32))


def find_grasps(
    hands: Sequence[Hand], depth_m: np.ndarray | None, camera: Camera | None, reach_m: float
) -> list[Grasp]:
    """Find what is within ``reach_m`` of the palmar side of each hand.

    ``depth_m`` ``(H, W)`` is along the optical axis, NaN where nothing was measured, and registered
    to the image of ``camera``. ``UNKNOWN`` without either, and for hands that it did not place.
    """
    if depth_m is None or camera is None:
        return [UNKNOWN] * len(hands)
    without_m = depth_m.copy()
    for hand in hands:
        _erase(hand, without_m, camera)
    return [
        _find(hand, depth_m, without_m, camera, reach_m) if _is_placed(hand) else UNKNOWN
        for hand in hands
    ]


def with_contacts(hands: Sequence[Hand], grasps: Sequence[Grasp]) -> list[Hand]:
    """The hands with the distances of their grasps."""
    pairs = zip(hands, grasps, strict=True)
    return [replace(hand, contact_distances=grasp.distances_m) for hand, grasp in pairs]


def _is_placed(hand: Hand) -> bool:
    return hand.scale is Scale.DEPTH and hand.intrinsics_known and hand.vertices_m[:, 2].min() > 0


def _erase(hand: Hand, depth_m: np.ndarray, camera: Camera) -> None:
    """Set to NaN what is measured on a hand, and behind it."""
    rim_px = max(round(_RIM_M * camera.fx / hand.joints_m[MIDDLE_MCP, 2]), 1)
    height, width = depth_m.shape
    window = window_of(hand, height, width, margin=rim_px)
    if window is None:
        return
    part, (rows, columns) = depth_m[window], window
    faces, nearness = np.empty(part.shape, np.int32), np.empty(part.shape, np.float32)
    pixels = hand.vertices_px[:, :2] - np.array((columns.start, rows.start), float)
    depths = -1 / hand.vertices_m[:, 2].astype(float)  # which is linear in the image
    nearest(pixels, depths, hand.triangles.astype(np.int64), False, faces, nearness)
    front = cv2.erode(nearness, np.ones((2 * rim_px + 1, 2 * rim_px + 1), np.uint8))
    part[part > np.where(np.isinf(front), np.inf, -1 / front - _SKIN_M)] = np.nan


def _find(
    hand: Hand, depth_m: np.ndarray, without_m: np.ndarray, camera: Camera, reach_m: float
) -> Grasp:
    skin = _palmar_skin(hand, camera)
    points_m = _within_reach(hand, skin, without_m, camera, reach_m)
    ends = skin.rows(skin.bone % 4 == 3)
    distances_m = np.maximum(_distances_m(ends, points_m, reach_m) - _EDGE_M, 0)
    hidden = ~_seen_through(ends, np.minimum(distances_m, reach_m), depth_m, camera)
    distances_m[hidden & (distances_m > _TOUCH_M)] = np.nan
    return Grasp(points_m.astype(np.float32), distances_m.astype(np.float32))


@dataclass(frozen=True)
class _Skin:
    """Palm, the palmar side of the fingers and their flanks: a disc for each triangle."""

    centers_m: np.ndarray  # (F, 3)
    normals: np.ndarray  # (F, 3) outward
    radii_m: np.ndarray  # (F,)
    bone: np.ndarray  # (F,) row of ``BONES``
    palmar: np.ndarray  # (F, 3) unit: out of the palmar side of that bone
    wrist_m: np.ndarray  # (3,)
    palm_m: np.ndarray  # (3,) from the wrist to the middle finger's base

    @property
    def finger(self) -> np.ndarray:
        return self.bone // 4

    def rows(self, kept: np.ndarray) -> _Skin:
        names = "centers_m", "normals", "radii_m", "bone", "palmar"
        return replace(self, **{name: getattr(self, name)[kept] for name in names})


def _palmar_skin(hand: Hand, camera: Camera) -> _Skin:
    vertices_m = _at_pixels(hand.vertices_px[:, :2], hand.vertices_m[:, 2], camera)
    joints_m = _at_pixels(hand.joints_px, hand.joints_m[:, 2], camera)
    a, b, c = vertices_m[hand.triangles].transpose(1, 0, 2)
    normals = np.cross(b - a, c - a)
    doubled_m2 = np.linalg.norm(normals, axis=1)
    normals /= np.maximum(doubled_m2, 1e-12)[:, None]
    bone = _nearest_bone(vertices_m, joints_m)[hand.triangles[:, 0]]
    skin = _Skin(
        (a + b + c) / 3,
        normals,
        np.sqrt(doubled_m2 / (2 * np.pi)),
        bone,
        -hand.joint_rotations[np.array(BONES)[bone, 0], :, 2],
        joints_m[0],
        joints_m[MIDDLE_MCP] - joints_m[0],
    )
    return skin.rows((skin.normals * skin.palmar).sum(1) > _DORSAL)


def _at_pixels(points_px: np.ndarray, depths_m: np.ndarray, camera: Camera) -> np.ndarray:
    """``(N, 3)``: what is seen at pixels ``(N, 2)`` in depths ``(N,)``."""
    rays = camera.rays(points_px)
    return rays * (depths_m / rays[:, 2])[:, None]


def _nearest_bone(points_m: np.ndarray, joints_m: np.ndarray) -> np.ndarray:
    """``(N,)`` row of ``BONES`` that each point ``(N, 3)`` is nearest to."""
    start, end = joints_m[np.array(BONES)].transpose(1, 0, 2)
    along = end - start
    share = (points_m @ along.T - (start * along).sum(1)) / np.maximum((along**2).sum(1), 1e-12)
    away = points_m[:, None] - start - np.clip(share, 0, 1)[..., None] * along
    return np.einsum("nbi,nbi->nb", away, away).argmin(1)


def _within_reach(
    hand: Hand, skin: _Skin, depth_m: np.ndarray, camera: Camera, reach_m: float
) -> np.ndarray:
    """``(N, 3)``: points within reach of the palmar skin, of what lies in part before it."""
    near_m, far_m = hand.vertices_m[:, 2].min(), hand.vertices_m[:, 2].max()
    step = max(round(_PITCH_M * camera.fx / far_m), 1)
    height, width = depth_m.shape
    window = window_of(hand, height, width, margin=round(reach_m * camera.fx / near_m))
    if window is None or min(depth_m[window].shape) < 3:
        return np.zeros((0, 3))
    height, width = depth_m[window].shape
    around = [
        depth_m[window][y : height - 2 + y : step, x : width - 2 + x : step]
        for y, x in np.ndindex(3, 3)
    ]
    grid_m = around[4]
    kept = (grid_m > near_m - reach_m) & (grid_m < far_m + reach_m)
    for neighbour_m in around:
        kept &= ~(np.abs(neighbour_m - grid_m) > _JUMP_M)  # where there is one
    rows, columns = np.nonzero(kept)
    pixels = np.stack((columns, rows), 1) * step + (window[1].start + 1, window[0].start + 1)
    points_m = _at_pixels(pixels, grid_m[kept], camera)
    on_hand = (points_m - skin.wrist_m) @ skin.palm_m > _ARM * (skin.palm_m @ skin.palm_m)
    kept[kept] = on_hand
    points_m = points_m[on_hand]
    away_m, disc = _tree(skin.centers_m).query(points_m, distance_upper_bound=reach_m)
    near = np.isfinite(away_m)
    kept[kept] = near
    points_m, disc = points_m[near], disc[near]
    before = ((points_m - skin.centers_m[disc]) * skin.palmar[disc]).sum(1) > -_BESIDE_M
    part = cv2.connectedComponents(kept.view(np.uint8))[1][kept]
    areas_m2 = np.bincount(part, before) * (step * far_m / camera.fx) ** 2
    return points_m[areas_m2[part] > _LEAST_M2]


def _tree(points_m: np.ndarray) -> Any:
    from scipy.spatial import cKDTree  # which takes 30 MB: only where there is a depth image

    return cKDTree(points_m)


def _distances_m(ends: _Skin, points_m: np.ndarray, reach_m: float) -> np.ndarray:
    """``(5,)``: from each finger's skin to the nearest points ``(N, 3)``; infinite out of reach."""
    nearest_m = np.full(len(FINGERS), np.inf)
    tree = _tree(points_m.reshape(-1, 3))
    away_m, index = tree.query(ends.centers_m, [_AGREEING], distance_upper_bound=reach_m)
    found = np.isfinite(away_m[:, 0])
    discs = ends.rows(found)
    offset = points_m[index[found, 0]] - discs.centers_m
    height = (offset * discs.normals).sum(1)
    beside = np.sqrt(np.maximum((offset**2).sum(1) - height**2, 0))
    np.minimum.at(nearest_m, discs.finger, np.hypot(height, np.maximum(beside - discs.radii_m, 0)))
    return nearest_m


def _seen_through(
    ends: _Skin, up_to_m: np.ndarray, depth_m: np.ndarray, camera: Camera
) -> np.ndarray:
    """``(5,)`` bool: the camera sees the space before a finger's pad, up to ``(5,)`` metres."""
    pads = ends.rows((ends.normals * ends.palmar).sum(1) > _PAD)
    steps = np.array((0.25, 0.5, 0.75))[:, None, None] * up_to_m[pads.finger][:, None]
    points_m = (pads.centers_m + steps * pads.normals).reshape(-1, 3)
    x, y = np.rint(camera.project(points_m)).T
    height, width = depth_m.shape
    inside = (x >= 0) & (y >= 0) & (x < width) & (y < height)
    free, (x, y) = inside.copy(), (axis[inside].astype(int) for axis in (x, y))
    free[inside] = depth_m[y, x] > points_m[inside, 2] - _BESIDE_M
    count = np.bincount(pads.finger, minlength=len(FINGERS)) * len(steps)
    return np.bincount(np.tile(pads.finger, len(steps)), free, len(FINGERS)) > _FREE * count
