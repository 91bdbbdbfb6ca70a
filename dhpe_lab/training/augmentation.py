"""Labelled pictures to network inputs with exact labels: view, background, light, degradation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

import cv2
import numpy as np

from dhpe_lab.datasets.samples import Sample, StoredSample
from dhpe_ros.config import TrackingConfig
from dhpe_ros.types import JOINT_COUNT, Box

INPUT_SIZE = 128  # what the lite trunk sees; lengths below are in pixels of such a crop
CLOSEST_CROP = 1.3  # side of the closest crop in joint boxes
WIDEST_MESH = 2.6  # crops wider than so many joint boxes only train the finding of hands
PLAIN_CROP = TrackingConfig().crop_scale  # likewise, without augmentation


def _zeros(*shape: int) -> np.ndarray:
    return np.zeros(shape, np.float32)


@dataclass(frozen=True)
class Example:
    """One input and its targets, in crop coordinates of the augmented crop; without a hand none."""

    image: np.ndarray  # (S, S, 3) uint8 RGB
    mask: np.ndarray  # (S, S) uint8
    hand: bool = False  # False: background only
    right: bool = False  # as it looks in the crop
    near: bool = False  # a right hand, as large as in the crops that the mesh networks get
    joints: np.ndarray = field(default_factory=partial(_zeros, JOINT_COUNT, 2))
    depth: np.ndarray = field(
        default_factory=partial(_zeros, JOINT_COUNT)
    )  # relative to the middle MCP
    depth_trust: float = 0.0  # 1 exact, 0 unknown, between: a hint
    mask_known: bool = False
    mask_exact: bool = False  # of a right hand, and it ends where the hand model does
    synthetic: bool = False  # rotation, pose and shape are known
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3, dtype=np.float32))
    pose: np.ndarray = field(default_factory=partial(_zeros, 15, 3))
    shape: np.ndarray = field(default_factory=partial(_zeros, 10))


@dataclass(frozen=True)
class _View:
    """Crop coordinates ``c = linear @ (p - center)`` of pixels ``p``."""

    linear: np.ndarray  # (2, 2)
    center: np.ndarray  # (2,)
    margin: float  # side of the crop over the longer side of the joints' box
    turn: float  # radians, in the crop
    scale: float  # crop half-sides per pixel
    mirrored: bool

    def points(self, points_px: np.ndarray) -> np.ndarray:
        return (points_px - self.center) @ self.linear.T

    def warp(self, image: np.ndarray, size: int) -> np.ndarray:
        linear = self.linear * size / 2
        return warp_affine(image, linear, (size - 1) / 2 - linear @ self.center, (size, size))


def warp_affine(
    image: np.ndarray,
    linear: np.ndarray,
    offset: np.ndarray,
    size: tuple[int, int],
    border: int = cv2.BORDER_CONSTANT,
    value: object = 0,
) -> np.ndarray:
    """Draw pixel ``p`` at ``linear @ p + offset`` of a picture of ``size`` (width, height)."""
    reduction = abs(np.linalg.det(linear)) ** -0.5
    if reduction > 1.5:  # as in crop.py: bilinear sampling alone would skip pixels
        small = tuple(max(1, round(side / reduction)) for side in image.shape[1::-1])
        factors = np.divide(small, image.shape[1::-1])
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        linear, offset = linear / factors, offset + linear @ (0.5 / factors - 0.5)
    matrix = np.column_stack((linear, offset))
    return cv2.warpAffine(
        image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border, borderValue=value
    )


def augment(
    sample: Sample | StoredSample,
    backgrounds: Sequence[np.ndarray],
    rng: np.random.Generator,
    size: int = INPUT_SIZE,
    varied: bool = True,
    right_share: float = 0.75,
) -> Example:
    """A random view of ``sample``, ``size`` pixels a side.

    Over another background where its mask is known. Not ``varied``, it is the picture as it is, cut
    out about the joints; only what is rendered gets a background, and sides are mirrored as ever.
    """
    sample = sample.opened()
    mirrored = bool(rng.random() < right_share) != sample.right
    view = _random_view(sample, rng, mirrored) if varied else _plain_view(sample, mirrored)
    image, mask = _compose(sample, view, backgrounds, rng, size, varied)
    if varied:
        image = degrade(_occlude(image, backgrounds, rng), rng)
    right = sample.right != view.mirrored
    known: dict[str, np.ndarray | float] = {}
    if sample.relative_depth_px is not None:
        known |= {"depth": sample.relative_depth_px * view.scale}
    if sample.rotation is not None:
        turned = _about_z(view.turn) @ sample.rotation
        known |= {"rotation": turned, "pose": sample.pose, "shape": sample.shape}
    labels = {name: np.asarray(value, np.float32) for name, value in known.items()}
    return Example(
        image=image,
        mask=np.zeros((size, size), np.uint8) if mask is None else mask,
        hand=True,
        right=right,
        near=right and view.margin < WIDEST_MESH,
        joints=view.points(sample.joints_px).astype(np.float32),
        depth_trust=0.0 if sample.relative_depth_px is None else sample.depth_trust,
        mask_known=mask is not None,
        mask_exact=mask is not None and sample.exact and right,
        synthetic=sample.synthetic and right,
        **labels,
    )


def background_example(
    backgrounds: Sequence[np.ndarray], rng: np.random.Generator, size: int = INPUT_SIZE
) -> Example:
    """A crop without a hand, of any part of a picture."""
    image = degrade(_random_background(backgrounds, rng, size, smallest=0.1), rng)
    return Example(image, mask=np.zeros((size, size), np.uint8))


def _random_view(sample: Sample, rng: np.random.Generator, mirrored: bool) -> _View:
    box = Box.around(sample.joints_px)
    longest = max(box.width, box.height)
    widest = 5.0 if sample.whole else WIDEST_MESH
    margin = rng.uniform(CLOSEST_CROP, WIDEST_MESH if rng.random() < 0.7 else widest)
    side = longest * margin
    # The joints stay inside, most of the time.
    slack = max(side - longest, 0.15 * side) / 2
    center = np.array(box.center) - 0.5 + rng.uniform(-1, 1, 2) * slack
    turn = rng.uniform(-np.pi, np.pi) if rng.random() < 0.5 else rng.normal(0, 0.5)
    stretch = np.exp(rng.normal(0, 0.03)) if not sample.exact else 1.0
    flip = np.diag((-1.0 if mirrored else 1.0, 1.0))
    scale = 2 / side
    linear = scale * _about_z(turn)[:2, :2] @ np.diag((stretch, 1 / stretch)) @ flip
    return _View(linear, center, margin, turn, scale, mirrored)


def _plain_view(sample: Sample, mirrored: bool) -> _View:
    """View of a hand as its labels frame it at test time."""
    box = Box.around(sample.joints_px)
    scale = 2 / (max(box.width, box.height) * PLAIN_CROP)
    linear = scale * np.diag((-1.0 if mirrored else 1.0, 1.0))
    return _View(linear, np.array(box.center) - 0.5, PLAIN_CROP, 0.0, scale, mirrored)


def _about_z(angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    return np.array(((c, -s, 0), (s, c, 0), (0, 0, 1.0)))


def _compose(
    sample: Sample,
    view: _View,
    backgrounds: Sequence[np.ndarray],
    rng: np.random.Generator,
    size: int,
    varied: bool,
) -> tuple[np.ndarray, np.ndarray | None]:
    """The warped picture; what it lacks, and maybe all around the hand, is filled in.

    Colours are multiplied by their opacity before they are resampled: what lies outside the hand in
    the source must not leave a rim around it.
    """
    mask = None if sample.mask is None else view.warp(sample.mask, size)
    picture, opacity = sample.image, np.full(sample.image.shape[:2], 255, np.uint8)
    if sample.opacity is not None and (sample.synthetic or (varied and rng.random() < 0.7)):
        opacity = sample.opacity
        picture = _tint(picture, rng) if varied and rng.random() < 0.5 else picture
        picture = cv2.multiply(picture, cv2.merge((opacity,) * 3), scale=1 / 255)
    hand, share = view.warp(picture, size), view.warp(opacity, size)
    if share.min() == 255:
        return hand, mask
    if opacity is sample.opacity and rng.random() < 0.7:
        sigma = rng.uniform(0.4, 0.9) * size / INPUT_SIZE
        hand, share = (cv2.GaussianBlur(layer, (0, 0), sigma) for layer in (hand, share))
    behind = _fill(backgrounds, rng, size)
    behind = cv2.multiply(behind, cv2.merge((255 - share,) * 3), scale=1 / 255)
    return cv2.add(hand, behind), mask


def _fill(backgrounds: Sequence[np.ndarray], rng: np.random.Generator, size: int) -> np.ndarray:
    if rng.random() < 0.2:
        return _plain(rng, size)
    return _random_background(backgrounds, rng, size)


def _plain(rng: np.random.Generator, size: int) -> np.ndarray:
    color = rng.integers(0, 256, 3) if rng.random() < 0.5 else np.full(3, 127)
    return np.tile(color.astype(np.uint8), (size, size, 1))


def _random_background(
    backgrounds: Sequence[np.ndarray],
    rng: np.random.Generator,
    size: int,
    smallest: float = 0.3,
) -> np.ndarray:
    """A square of at least ``smallest`` of a picture's shorter side, turned by right angles."""
    if not backgrounds:
        return _plain(rng, size)
    picture = backgrounds[rng.integers(len(backgrounds))]
    height, width = picture.shape[:2]
    side = int(smallest ** rng.uniform(0.0, 1.0) * min(height, width))
    y, x = rng.integers(height - side + 1), rng.integers(width - side + 1)
    piece = cv2.resize(picture[y : y + side, x : x + side], (size, size))
    return np.ascontiguousarray(np.rot90(piece, rng.integers(4))[:, :: rng.choice((-1, 1))])


def _occlude(
    image: np.ndarray, backgrounds: Sequence[np.ndarray], rng: np.random.Generator
) -> np.ndarray:
    """Sometimes something in front: an ellipse or a bar that looks like other surroundings."""
    if rng.random() > 0.2:
        return image
    size = len(image)
    scale = size / INPUT_SIZE
    shape = np.zeros((size, size), np.uint8)
    center = scale * rng.integers(10, INPUT_SIZE - 10, 2)
    placed = center.tolist(), (2 * scale * rng.uniform(4, 24, 2)).tolist(), rng.uniform(0, 360)
    if rng.random() < 0.5:
        cv2.ellipse(shape, placed, 255, -1)
    else:
        cv2.fillConvexPoly(shape, cv2.boxPoints(placed).astype(np.int32), 255)
    front = _random_background(backgrounds, rng, size)
    return np.where(shape[..., None] > 0, front, image)


def degrade(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Degrade ``(H, W, 3)`` uint8 as lenses, sensors and codecs do."""
    height, width = image.shape[:2]
    scale = min(height, width) / INPUT_SIZE
    if rng.random() < 0.85:
        image = _tint(image, rng)
    if rng.random() < 0.15:  # few pixels
        part = rng.uniform(32, 100) / INPUT_SIZE
        small = int(width * part), int(height * part)
        image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        image = cv2.resize(image, (width, height), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.6) * scale)
    if rng.random() < 0.12:
        image = cv2.filter2D(image, -1, _motion_kernel(rng, scale))
    if rng.random() < 0.3:
        noise = rng.normal(0, rng.uniform(2, 12), (*image.shape[:2], 1)).astype(np.float32)
        image = np.clip(image + noise, 0, 255).astype(np.uint8)
    if rng.random() < 0.2:
        quality = (cv2.IMWRITE_JPEG_QUALITY, int(rng.uniform(20, 80)))
        image = cv2.imdecode(cv2.imencode(".jpg", image, quality)[1], cv2.IMREAD_COLOR)
    return image


def _tint(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Exposure, contrast, gamma and colour cast by one look-up table per channel."""
    ramp = np.linspace(0, 1, 256)[:, None]
    gamma = np.exp(rng.normal(0, 0.2))
    gain = np.exp(rng.normal(0, 0.15) + rng.normal(0, 0.07, 3))
    table = np.clip((ramp**gamma - 0.5) * np.exp(rng.normal(0, 0.15)) + 0.5, 0, 1) * gain
    table = np.clip(table + rng.normal(0, 0.05), 0, 1)
    image = cv2.LUT(image, (table * 255).astype(np.uint8)[:, None])
    if rng.random() < 0.3:  # towards grey, sometimes all the way
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].repeat(3, 2)
        image = cv2.addWeighted(image, keep := rng.random(), grey, 1 - keep, 0)
    return image


def _motion_kernel(rng: np.random.Generator, scale: float) -> np.ndarray:
    size = max(1, int(rng.integers(3, 10) * scale))
    kernel = np.zeros((size, size), np.float32)
    angle, center = rng.uniform(0, np.pi), (size - 1) / 2
    reach = np.array((np.cos(angle), np.sin(angle))) * center
    ends = [tuple(round(float(v)) for v in center + sign * reach) for sign in (-1, 1)]
    cv2.line(kernel, *ends, 1.0, 1)
    return kernel / kernel.sum()
