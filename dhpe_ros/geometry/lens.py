"""Lens models as ROS and OpenCV name them: rays to distorted image coordinates, and back.

Distorted image coordinates have no unit: pixels less the principal point, over the focal length.
Beyond the angle up to which its polynomial is one-to-one a lens goes on in proportion, so that
nothing outside its field of view appears inside, and each point of the image has one ray.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import ClassVar

import cv2
import numpy as np

_BROWN_CONRADY = ("plumb_bob", "rational_polynomial")
FISHEYE = ("equidistant", "fisheye")
MODELS = _BROWN_CONRADY + FISHEYE

_NEWTON_STEPS = 30
_CONVERGED = 1e-10  # of a focal length
_SPARSE = 0.2  # of the middle's pixels to an angle: fewer, and a polynomial is about to turn back
_STEEPEST_RAD = math.radians(85)  # to the optical axis, that a flat image can show
_FARTHEST_RAD = math.radians(179)  # straight behind the camera there is no direction in the image
_SAMPLES = 128  # of the angle


@dataclass(frozen=True)
class Lens:
    """Distortion of a camera, and D in OpenCV's order. Subclasses bring the polynomial."""

    coefficients: tuple[float, ...] = ()
    counts: ClassVar[tuple[int, ...]]  # numbers of coefficients that the model may have

    def __post_init__(self) -> None:
        if len(self.coefficients) not in self.counts:
            wanted = ", ".join(map(str, self.counts))
            got = len(self.coefficients)
            raise ValueError(f"{self.model} has {wanted} coefficients, got {got}")
        if not all(map(math.isfinite, self.coefficients)):
            raise ValueError(f"distortion coefficients must be finite, got {self.coefficients}")

    @property
    def model(self) -> str:
        """The ``distortion_model`` of ``sensor_msgs/CameraInfo``."""
        raise NotImplementedError

    @property
    def distorts(self) -> bool:
        """False: straight lines stay straight."""
        return bool(self.coefficients)

    def distort(self, rays: np.ndarray) -> np.ndarray:
        """``(N, 3)`` rays of any length to ``(N, 2)`` distorted image coordinates."""
        raise NotImplementedError

    def undistort(self, points: np.ndarray) -> np.ndarray:
        """``(N, 2)`` distorted image coordinates to ``(N, 3)`` unit rays."""
        raise NotImplementedError

    @cached_property
    def limit_rad(self) -> float:
        """Angle to the optical axis up to which the model is one-to-one."""
        angles, density = self._density()
        sparse = np.flatnonzero(density < _SPARSE)
        return float(angles[max(int(sparse[0]) - 1, 1) if len(sparse) else -1])

    def _density(self) -> tuple[np.ndarray, np.ndarray]:
        """Angles to the axis and the pixels to an angle there, 1 in the middle; ``(S,)`` each."""
        raise NotImplementedError

    def _polynomial(self, undistorted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``(N, D)`` undistorted to distorted coordinates, and slopes ``(N, D, D)``."""
        raise NotImplementedError

    def _distorted(self, undistorted: np.ndarray, limit: float) -> tuple[np.ndarray, np.ndarray]:
        """As ``_polynomial`` up to the radius ``limit``, and in proportion beyond it."""
        radius = np.linalg.norm(undistorted, axis=1)[:, None]
        beyond = np.maximum(radius / limit, 1.0)
        seen, slopes = self._polynomial(undistorted / beyond)
        along = (undistorted / np.maximum(radius, 1e-12))[:, :, None]
        outside = slopes + (seen[:, :, None] / limit - slopes @ along) @ along.transpose(0, 2, 1)
        return seen * beyond, np.where((beyond > 1)[:, :, None], outside, slopes)

    def _undistorted(self, distorted: np.ndarray, limit: float) -> np.ndarray:
        """Invert ``_distorted`` by Newton's method.

        OpenCV's fixed-point iteration diverges in the corners of wide lenses.
        """
        found = distorted / np.maximum(np.linalg.norm(distorted, axis=1)[:, None] / limit, 1.0)
        for _ in range(_NEWTON_STEPS):
            seen, slopes = self._distorted(found, limit)
            rest = distorted - seen
            if not np.abs(rest).max(initial=0.0) > _CONVERGED:
                break
            found = found + np.linalg.solve(slopes, rest[..., None])[..., 0]
        return found


@dataclass(frozen=True)
class BrownConrady(Lens):
    """OpenCV's pinhole camera: radial, tangential, and prism terms; none without coefficients.

    ROS calls it ``plumb_bob`` with up to five coefficients and ``rational_polynomial`` with more.
    Rays must lie before the camera.
    """

    counts = (0, 4, 5, 8, 12, 14)

    @property
    def model(self) -> str:
        return "plumb_bob" if len(self.coefficients) <= 5 else "rational_polynomial"

    def distort(self, rays: np.ndarray) -> np.ndarray:
        flat = rays[:, :2] / rays[:, 2:]
        return self._distorted(flat, math.tan(self.limit_rad))[0] if self.coefficients else flat

    def undistort(self, points: np.ndarray) -> np.ndarray:
        if self.coefficients:
            points = self._undistorted(points, math.tan(self.limit_rad))
        rays = np.column_stack((points, np.ones(len(points))))
        return rays / np.linalg.norm(rays, axis=1, keepdims=True)

    def _polynomial(self, undistorted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        zero, coefficients = np.zeros(3), np.array(self.coefficients)
        points = np.column_stack((undistorted, np.ones(len(undistorted))))
        seen, jacobian = cv2.projectPoints(points, zero, zero, np.eye(3), coefficients)
        return seen[:, 0], jacobian.reshape(-1, 2, jacobian.shape[1])[..., 3:5]

    def _density(self) -> tuple[np.ndarray, np.ndarray]:
        angles = np.linspace(0, _STEEPEST_RAD, _SAMPLES)
        around = np.linspace(0, 2 * math.pi, 8, endpoint=False)
        flat = np.tan(angles)[:, None, None] * np.stack((np.cos(around), np.sin(around)), axis=1)
        slopes = self._polynomial(flat.reshape(-1, 2))[1].reshape(_SAMPLES, len(around), 2, 2)
        return angles, np.linalg.det(slopes).min(1) / np.cos(angles) ** 3


@dataclass(frozen=True)
class Equidistant(Lens):
    """OpenCV's fisheye camera, ROS's ``equidistant``; sees what lies beside and behind it too."""

    coefficients: tuple[float, ...] = (0.0,) * 4
    counts = (4,)
    model = "equidistant"

    def distort(self, rays: np.ndarray) -> np.ndarray:
        across = np.linalg.norm(rays[:, :2], axis=1, keepdims=True)
        angle = np.arctan2(across, rays[:, 2:])
        distorted = self._distorted(angle, self.limit_rad)[0]
        return rays[:, :2] * distorted / np.maximum(across, 1e-12)

    def undistort(self, points: np.ndarray) -> np.ndarray:
        distorted = np.linalg.norm(points, axis=1, keepdims=True)
        angle = np.minimum(self._undistorted(distorted, self.limit_rad), _FARTHEST_RAD)
        across = points * np.sin(angle) / np.maximum(distorted, 1e-12)
        return np.column_stack((across, np.cos(angle)))

    def _polynomial(self, undistorted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        powers = np.arange(5) * 2 + 1
        terms = np.array((1.0, *self.coefficients)) * undistorted ** (powers - 1)
        slopes = (powers * terms).sum(1)
        return undistorted * terms.sum(1, keepdims=True), slopes[:, None, None]

    def _density(self) -> tuple[np.ndarray, np.ndarray]:
        angles = np.linspace(0, math.pi, _SAMPLES)
        return angles, self._polynomial(angles[:, None])[1][:, 0, 0]


@lru_cache(maxsize=8)  # a camera says the same with every image
def lens_of(model: str, coefficients: tuple[float, ...]) -> Lens:
    """The lens of that ``distortion_model`` and D, which may be empty: no distortion.

    Raises ``ValueError`` for other models, and for a number of coefficients that it does not have.
    """
    if model in FISHEYE and coefficients:
        return Equidistant(coefficients)
    if not any(coefficients):
        return BrownConrady()
    if model in _BROWN_CONRADY:
        return BrownConrady(coefficients)
    raise ValueError(f"distortion model {model!r} is not known; known are {', '.join(MODELS)}")
