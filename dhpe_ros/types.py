"""The nouns of the pipeline: the data that one stage hands to the next.

Coordinates (docs/reference/conventions.md): image pixels have their origin at the centre of the top
left pixel, x to the right and y down; crop coordinates are x and y in [-1, 1] over the square crop,
y down; camera coordinates are the optical frame in metres, x right, y down, z forward.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from enum import Enum, IntEnum

import numpy as np

CROP_SIZE = 224  # pixels; the paper's
HEATMAP_SIGMA = 25.0 / 256  # of heat maps, as a part of the crop's side; the paper's
JOINT_COUNT = 21
PARAMETER_COUNT = 63
FEATURE_COUNT = 2048

_FAR_PX = 1e9  # from an image: no box means that
FINGERS = ("thumb", "index", "middle", "ring", "little")
MIDDLE_FINGER = (0, 9, 10, 11, 12)  # from the wrist to the tip: what a hand's length is
JOINT_NAMES = ("wrist", *(f"{finger}{k}" for finger in FINGERS for k in (1, 2, 3, 4)))
BONES = tuple(
    (0 if k == 0 else 4 * finger + k, 4 * finger + k + 1) for finger in range(5) for k in range(4)
)
MIDDLE_MCP = JOINT_NAMES.index("middle1")  # the root of the paper's normalisation
ANGLE_NAMES = (  # of ``Hand.joint_angles``
    *(f"thumb_{name}" for name in ("cmc_flexion", "cmc_abduction", "mcp_flexion", "ip_flexion")),
    *(
        f"{finger}_{name}"
        for finger in FINGERS[1:]
        for name in ("mcp_flexion", "mcp_abduction", "pip_flexion", "dip_flexion")
    ),
)


class Side(IntEnum):
    """Left or right hand; the numbers are those of ``dhpe_ros/msg/Hand``."""

    LEFT = 0
    RIGHT = 1

    @property
    def other(self) -> Side:
        return Side(1 - self)


class SideSource(Enum):
    """Source of a target's side."""

    GIVEN = "given"  # by the caller: no image changes it
    FOLLOWED = "followed"  # from the images before: a clear image changes it
    FOUND = "found"  # by a search: the image may change it


class Scale(IntEnum):
    """Source of a hand's absolute size; the numbers are those of ``dhpe_ros/msg/Hand``."""

    ESTIMATED = 0  # this picture alone
    LEARNED = 1  # the same hand in the pictures, or depth images, before
    KNOWN = 2  # the setting
    DEPTH = 3  # the depth image of the same time

    @property
    def std(self) -> float:
        """Standard deviation of the size, and so of the distance, as a share of it.

        Measured on rendered hands (docs/explanation/distance.md). Learning steadies a size and
        makes it no truer.
        """
        return (0.10, 0.10, 0.07, 0.014)[self]


@dataclass(frozen=True)
class Box:
    """An axis-aligned box in image pixels; may reach outside the image.

    Boxes are measured from the image's corner, so that ``Box(0, 0, width, height)`` is the whole
    image, while points are measured from the centre of the first pixel.
    """

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        if not np.abs((self.x, self.y, self.width, self.height)).max() < _FAR_PX:
            raise ValueError(f"box must be finite, and less than {_FAR_PX:.0e} pixels, got {self}")
        if self.width <= 0 or self.height <= 0:
            raise ValueError(f"box must have a positive width and height, got {self}")

    @property
    def center(self) -> tuple[float, float]:
        return self.x + self.width / 2, self.y + self.height / 2

    def squared(self, scale: float = 1.0) -> Box:
        """The square about the same centre whose side is ``scale`` times the longer side."""
        side = max(self.width, self.height) * scale
        cx, cy = self.center
        return Box(cx - side / 2, cy - side / 2, side, side)

    def touches(self, width: int, height: int) -> bool:
        """True if any of it lies in an image of that size."""
        return self.overlap(Box(0, 0, width, height)) > 0

    def overlap(self, other: Box) -> float:
        """Intersection over union, 0..1."""
        across = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        down = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        shared = max(across, 0.0) * max(down, 0.0)
        return shared / (self.width * self.height + other.width * other.height - shared)

    def as_array(self) -> np.ndarray:
        """``(4,)`` float32: x, y, width, height."""
        return np.array((self.x, self.y, self.width, self.height), np.float32)

    @staticmethod
    def around(points_px: np.ndarray) -> Box:
        """The tight box of ``(N, 2)`` points, at least one pixel wide."""
        low, high = points_px.min(0), points_px.max(0)
        width, height = np.maximum(high - low, 1.0)
        return Box(float(low[0]) + 0.5, float(low[1]) + 0.5, float(width), float(height))

    @staticmethod
    def parse(text: str) -> Box:
        """``"x,y,width,height"`` in pixels. Raises ``ValueError`` naming what is wrong."""
        parts = text.split(",")
        try:
            values = [float(part) for part in parts]
        except ValueError:
            values = []
        if len(values) != 4:
            raise ValueError(f"a box is 'x,y,width,height' in pixels or 'full', got {text!r}")
        return Box(*values)


@dataclass(frozen=True)
class Target:
    """A box in which one hand is estimated."""

    box: Box
    side: Side | None = None  # None: unknown
    track_id: int = 0
    side_source: SideSource = SideSource.GIVEN
    previous: Hand | None = field(default=None, compare=False)  # the same hand, a frame ago


@dataclass(frozen=True)
class Refinement:
    """Outcome of the test-time refinement of one hand."""

    steps: int
    residual_before_px: float  # mean joint distance, mesh to 2D evidence, in image pixels
    residual_after_px: float
    accepted: bool = True  # False: it ended worse or not finite, and the start was kept


@dataclass(frozen=True)
class Hand:
    """One hand, in the image and in the camera's frame. Arrays are float32, joints OpenPose's.

    ``parameters`` are the 63 of docs/reference/conventions.md, for the square ``box`` as the
    network saw it: for a left hand, the mirrored crop.
    """

    side: Side
    score: float  # mean confidence of the 2D joints, times the probability of a hand, 0..1
    box: Box  # the square crop the hand was estimated in
    joints_px: np.ndarray  # (21, 2)
    joints_m: np.ndarray  # (21, 3), camera optical frame
    joint_confidences: np.ndarray  # (21,), 0..1
    vertices_px: np.ndarray  # (778, 3): image pixels, and depth relative to the root in pixels
    vertices_m: np.ndarray  # (778, 3), camera optical frame
    normals: np.ndarray  # (778, 3), unit, outward
    triangles: np.ndarray  # (1538, 3) int32, outward for this side
    joint_rotations: np.ndarray  # (21, 3, 3), columns x, y, z of each joint's frame as in Hand.msg
    joint_angles: np.ndarray  # (20,) radians, in the order of ``ANGLE_NAMES``
    fit_stds_m: np.ndarray  # (21,), of the joints about the wrist, for a hand of the true size
    occluded: np.ndarray  # (21,) bool, by another part of the hand
    parameters: np.ndarray  # (63,)
    intrinsics_known: bool  # False: the lens was assumed, and distances with it
    refinement: Refinement
    track_id: int = 0
    scale: Scale = Scale.ESTIMATED
    right: float = math.nan  # probability of a right hand by this image alone; NaN: given
    contact_distances: np.ndarray = field(default_factory=lambda: np.full(5, np.nan, np.float32))
    """(5,) metres from each finger's last bone to an object, as in ``Hand.msg``; NaN: unknown."""

    @property
    def joint_stds_m(self) -> np.ndarray:
        """``(21,)``: 68 of 100 joints are nearer than this to the truth; NaN: distance unknown."""
        if not self.intrinsics_known:
            return np.full_like(self.fit_stds_m, np.nan)
        return np.hypot(self.fit_stds_m, self.scale.std * np.linalg.norm(self.joints_m, axis=1))
