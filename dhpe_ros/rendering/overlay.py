"""Pictures of results: overlays and masks in the whole image."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from dhpe_ros.rendering import covered, visible_faces
from dhpe_ros.system.compiled import kernel
from dhpe_ros.types import BONES, Hand, Side

FINGER_COLORS = (  # thumb, index, middle, ring, little: apart also for colour-blind readers
    (230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (204, 121, 167),
)  # fmt: skip
MESH_COLOR = (120, 190, 255)
_MESH_OPACITY = 0.55


def draw_overlay(image: np.ndarray, hands: Sequence[Hand]) -> np.ndarray:
    """A copy of ``(H, W, 3)`` uint8 RGB with each hand's mesh, skeleton and label on it."""
    picture = image.copy()
    for hand in hands:
        _draw_mesh(picture, hand)
    for hand in hands:
        _draw_skeleton(picture, hand)
        _draw_label(picture, hand)
    return picture


def hand_mask(hands: Sequence[Hand], height: int, width: int) -> np.ndarray:
    """``(H, W)`` uint8: 255 where a hand's mesh covers the pixel's centre, else 0."""
    mask = np.zeros((height, width), np.uint8)
    for hand in hands:
        window = window_of(hand, height, width)
        if window is not None:
            part = mask[window]
            part[covered(_in_window(hand, window)[None], hand.triangles, _size(part))[0]] = 255
    return mask


def window_of(hand: Hand, height: int, width: int, margin: int = 0) -> tuple[slice, slice] | None:
    """Rows and columns of an image that hold the mesh, and so many more about it, or None."""
    low = np.floor(hand.vertices_px[:, :2].min(0)) - margin
    high = np.ceil(hand.vertices_px[:, :2].max(0)) + 1 + margin
    low, high = (np.clip(corner, 0, (width, height)).astype(int) for corner in (low, high))
    if (high <= low).any():
        return None
    return slice(low[1], high[1]), slice(low[0], high[0])


def warm_up() -> None:
    """Compile the drawing kernels, so that the first real picture does not wait for them."""
    corners = np.array(((-1, -1, 0), (1, -1, 0), (0, 1, 0)), np.float32)[None]
    triangle = np.array(((0, 1, 2),))
    covered(corners, triangle, (8, 8))
    faces = visible_faces(corners, triangle, (8, 8))[0]
    picture = np.zeros((8, 9, 3), np.uint8)
    for part in (picture[:, :8], picture[:, :8].copy()):  # within the picture, and as wide as it
        _lay_over(part, faces, np.ones((1, 3), np.float32), 0.5)


def _draw_mesh(picture: np.ndarray, hand: Hand) -> None:
    """Lay the mesh over ``picture``, lit from the viewer."""
    window = window_of(hand, *picture.shape[:2])
    if window is not None:
        part = picture[window]
        unit = _in_window(hand, window)[None]
        faces = visible_faces(unit, hand.triangles, _size(part))[0]
        _lay_over(part, faces, _colors(hand), 1 - _MESH_OPACITY)


def _size(picture: np.ndarray) -> tuple[int, int]:
    height, width = picture.shape[:2]
    return height, width


def _colors(hand: Hand) -> np.ndarray:
    """``(F, 3)`` float32: a share of each triangle's colour, lit from the viewer."""
    facing = np.abs(hand.normals[hand.triangles, 2].sum(1, keepdims=True)) / 3
    light = np.float32(_MESH_OPACITY) * (np.float32(0.35) + np.float32(0.65) * facing)
    return light * np.array(MESH_COLOR, np.float32)


@kernel
def _lay_over(picture, face, colors, share):
    """Pixels (H, W, 3) of faces (H, W) that are not -1: their colour beside a share of theirs."""
    for i in range(face.shape[0]):
        for j in range(face.shape[1]):
            if face[i, j] >= 0:
                for k in range(3):
                    picture[i, j, k] = np.uint8(share * picture[i, j, k] + colors[face[i, j], k])


def _draw_skeleton(picture: np.ndarray, hand: Hand) -> None:
    length = float(np.ptp(hand.joints_px, axis=0).max())
    thickness = max(1, round(length / 120))
    points = [_point(joint) for joint in hand.joints_px]
    for index, (start, end) in enumerate(BONES):
        color = FINGER_COLORS[index // 4]
        cv2.line(picture, points[start], points[end], color, thickness, cv2.LINE_AA, _SHIFT)
    radius = (thickness + 1) << _SHIFT
    for index, point in enumerate(points):
        color = (255, 255, 255) if index == 0 else FINGER_COLORS[(index - 1) // 4]
        cv2.circle(picture, point, radius, color, -1, cv2.LINE_AA, _SHIFT)


_SHIFT = 4  # OpenCV's fixed-point bits: joints are not rounded to pixels


def _point(joint: np.ndarray) -> tuple[int, int]:
    x, y = np.clip(joint, -1e6, 1e6) * (1 << _SHIFT)
    return round(float(x)), round(float(y))


def _draw_label(picture: np.ndarray, hand: Hand) -> None:
    text = f"{'left' if hand.side is Side.LEFT else 'right'} {hand.score:.2f}"
    scale = max(picture.shape[0] / 900, 0.4)
    (width, height), baseline = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    x = int(np.clip(hand.vertices_px[:, 0].min(), 0, max(picture.shape[1] - width, 0)))
    y = int(np.clip(hand.vertices_px[:, 1].min() - 4, height + 2, picture.shape[0] - baseline))
    cv2.rectangle(picture, (x, y - height - 2), (x + width, y + baseline), (0, 0, 0), -1)
    where, font = (x, y), cv2.FONT_HERSHEY_SIMPLEX
    cv2.putText(picture, text, where, font, scale, (255, 255, 255), 1, cv2.LINE_AA)


def _in_window(hand: Hand, window: tuple[slice, slice]) -> np.ndarray:
    """``(778, 3)`` float32: the mesh as the renderer wants it, the window its [-1, 1]."""
    rows, columns = window
    size = np.array((columns.stop - columns.start, rows.stop - rows.start, 2.0))
    corner = np.array((columns.start - 0.5, rows.start - 0.5, 1.0))
    return ((hand.vertices_px - corner) * (2 / size) - (1, 1, -1)).astype(np.float32)
