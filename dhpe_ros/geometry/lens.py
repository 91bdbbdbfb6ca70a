"""Lens models as ROS and OpenCV name them: rays to distorted image coordinates, and back.

Distorted image coordinates have no unit: pixels less the principal point, over the focal length.
Beyond the angle up to which its polynomial is one-to-one a lens goes on in proportion, so that
nothing outside its field of view appears inside, and each point of the image has one ray.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Protocol

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


class Lens(Protocol):
    """Distortion of a camera. Equal lenses compare equal."""

    @property
    def model(self) -> str:
        """The ``distortion_model`` of ``sensor_msgs/CameraInfo``."""
        ...

    @property
    def coefficients(self) -> tuple[float, ...]:
        """D, in OpenCV's order."""
        ...

    @property
    def distorts(self) -> bool:
        """False: straight lines stay straight."""
        ...

    @property
    def limit_rad(self) -> float:
        """Angle to the optical axis up to which the model is one-to-one."""
        ...

    def distort(self, rays: np.ndarray) -> np.ndarray:
        """``(N, 3)`` rays of any length to ``(N, 2)`` distorted image coordinates."""
        ...

    def undistort(self, points: np.ndarray) -> np.ndarray:
        """``(N, 2)`` distorted image coordinates to ``(N, 3)`` unit rays."""
        ...

    def field_of_view_rad(self, width: float) -> float:
        """Angle across an image ``width`` focal lengths wide, distortion left aside."""
        ...


@dataclass(frozen=True)
class BrownConrady:
    """OpenCV's pinhole camera: radial, tangential, and prism terms; none without coefficients.

    ROS calls it ``plumb_bob`` with up to five coefficients and ``rational_polynomial`` with more.
    Rays must lie before the camera.
    """

    coefficients: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        _check(self.model, self.coefficients, (0, 4, 5, 8, 12, 14))

    @property
    def model(self) -> str:
        return "plumb_bob" if len(self.coefficients) <= 5 else "rational_polynomial"

    @property
    def distorts(self) -> bool:
        return any(self.coefficients)

    def distort(self, rays: np.ndarray) -> np.ndarray:
        return self._distort(rays[:, :2] / rays[:, 2:])[0]

    def undistort(self, points: np.ndarray) -> np.ndarray:
        # Newton's method: OpenCV's fixed-point iteration diverges in the corners of wide lenses.
        flat = np.array(points, np.float64)
        for _ in range(_NEWTON_STEPS):
            distorted, slopes = self._distort(flat)
            rest = points - distorted
            if not np.abs(rest).max(initial=0.0) > _CONVERGED:
                break
            flat += np.linalg.solve(slopes, rest[..., None])[..., 0]
        rays = np.column_stack((flat, np.ones(len(flat))))
        return rays / np.linalg.norm(rays, axis=1, keepdims=True)

    def field_of_view_rad(self, width: float) -> float:
        return 2 * math.atan(width / 2)

    def _distort(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``(N, 2)`` tangents of the angles to distorted coordinates, and slopes ``(N, 2, 2)``."""
        if not self.distorts:
            return flat, np.broadcast_to(np.eye(2), (len(flat), 2, 2))
        radius, limit = np.linalg.norm(flat, axis=1)[:, None], math.tan(self.limit_rad)
        beyond = np.maximum(radius / limit, 1.0)
        seen, slopes = self._polynomial(flat / beyond)
        outside = (beyond > 1)[:, 0]
        if outside.any():
            along = (flat / np.maximum(radius, 1e-12))[outside, :, None]
            there = slopes[outside]
            steady = seen[outside, :, None] / limit
            slopes[outside] = there + (steady - there @ along) @ along.transpose(0, 2, 1)
        return seen * beyond, slopes

    def _polynomial(self, flat: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        zero, coefficients = np.zeros(3), np.array(self.coefficients)
        points = np.column_stack((flat, np.ones(len(flat))))
        seen, jacobian = cv2.projectPoints(points, zero, zero, np.eye(3), coefficients)
        return seen[:, 0], jacobian.reshape(-1, 2, jacobian.shape[1])[..., 3:5]

    @cached_property
    def limit_rad(self) -> float:
        angles = np.linspace(0, _STEEPEST_RAD, _SAMPLES)
        around = np.linspace(0, 2 * math.pi, 8, endpoint=False)
        flat = np.tan(angles)[:, None, None] * np.stack((np.cos(around), np.sin(around)), axis=1)
        slopes = self._polynomial(flat.reshape(-1, 2))[1].reshape(_SAMPLES, len(around), 2, 2)
        per_solid_angle = np.linalg.det(slopes).min(1) / np.cos(angles) ** 3
        return _limit_rad(angles, per_solid_angle)


@dataclass(frozen=True)
class Equidistant:
    """OpenCV's fisheye camera, ROS's ``equidistant``; sees what lies beside and behind it too."""

    coefficients: tuple[float, ...] = (0.0,) * 4
    model = "equidistant"
    distorts = True  # also without coefficients

    def __post_init__(self) -> None:
        _check(self.model, self.coefficients, (4,))

    def distort(self, rays: np.ndarray) -> np.ndarray:
        across = np.linalg.norm(rays[:, :2], axis=1)
        angle = np.arctan2(across, rays[:, 2])
        distorted = self._distort(angle)[0]
        return rays[:, :2] * (distorted / np.maximum(across, 1e-12))[:, None]

    def undistort(self, points: np.ndarray) -> np.ndarray:
        distorted = np.linalg.norm(points, axis=1)
        angle = np.minimum(distorted, self.limit_rad)
        for _ in range(_NEWTON_STEPS):
            seen, slope = self._distort(angle)
            rest = distorted - seen
            if not np.abs(rest).max(initial=0.0) > _CONVERGED:
                break
            angle += rest / slope
        angle = np.minimum(angle, _FARTHEST_RAD)
        across = points * (np.sin(angle) / np.maximum(distorted, 1e-12))[:, None]
        return np.column_stack((across, np.cos(angle)))

    def field_of_view_rad(self, width: float) -> float:
        return width

    def _distort(self, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """``(N,)`` angles to distances from the middle, and slopes."""
        inner = np.minimum(angle, self.limit_rad)
        seen, slope = self._polynomial(inner)
        beyond = angle > self.limit_rad
        slope = np.where(beyond, seen / self.limit_rad, slope)
        return np.where(beyond, slope * angle, seen), slope

    def _polynomial(self, angle: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        k1, k2, k3, k4 = self.coefficients
        a2 = angle**2
        seen = angle * (1 + a2 * (k1 + a2 * (k2 + a2 * (k3 + a2 * k4))))
        return seen, 1 + a2 * (3 * k1 + a2 * (5 * k2 + a2 * (7 * k3 + a2 * 9 * k4)))

    @cached_property
    def limit_rad(self) -> float:
        angles = np.linspace(0, math.pi, _SAMPLES)
        return _limit_rad(angles, self._polynomial(angles)[1])


@lru_cache(maxsize=8)  # a camera says the same with every image
def lens_of(model: str, coefficients: tuple[float, ...]) -> Lens:
    """The lens of that ``distortion_model`` and D, which may be empty: no distortion.

    Raises ``ValueError`` for other models, and for a number of coefficients that it does not have.
    """
    if not coefficients:
        return BrownConrady()
    if model in FISHEYE:
        return Equidistant(coefficients)
    if not any(coefficients):
        return BrownConrady()
    if model in _BROWN_CONRADY:
        return BrownConrady(coefficients)
    raise ValueError(f"distortion model {model!r} is not known; known are {', '.join(MODELS)}")


def _check(model: str, coefficients: tuple[float, ...], counts: tuple[int, ...]) -> None:
    if len(coefficients) not in counts:
        wanted = ", ".join(map(str, counts))
        raise ValueError(f"{model} has {wanted} coefficients, got {len(coefficients)}")
    if not all(map(math.isfinite, coefficients)):
        raise ValueError(f"distortion coefficients must be finite, got {coefficients}")


def _limit_rad(angles: np.ndarray, density: np.ndarray) -> float:
    """The last of ``(N,)`` angles before the density of pixels ``(N,)``, 1 in the middle, drops."""
    sparse = np.flatnonzero(density < _SPARSE)
    return float(angles[max(int(sparse[0]) - 1, 1) if len(sparse) else -1])
