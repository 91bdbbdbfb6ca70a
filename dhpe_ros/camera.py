"""Intrinsics: pixels to metres in the camera's optical frame, and back."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Camera:
    """A pinhole camera in pixels, for an undistorted image of ``width`` x ``height``."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    assumed: bool = False  # True: nobody measured it

    def __post_init__(self) -> None:
        values = (self.fx, self.fy, self.cx, self.cy)
        if not all(math.isfinite(v) for v in values) or self.fx <= 0 or self.fy <= 0:
            raise ValueError(
                f"camera intrinsics must be finite with fx, fy > 0, got fx={self.fx} fy={self.fy} "
                f"cx={self.cx} cy={self.cy}; calibrate the camera or leave the intrinsics out"
            )

    @staticmethod
    def from_field_of_view(width: int, height: int, field_of_view_deg: float) -> Camera:
        """The camera to assume for an image nobody has intrinsics for."""
        focal = width / 2 / math.tan(math.radians(field_of_view_deg) / 2)
        return Camera(focal, focal, (width - 1) / 2, (height - 1) / 2, width, height, assumed=True)

    def back_project(self, point_px: np.ndarray, depth_m: float) -> np.ndarray:
        """The ``(3,)`` metric point at ``depth_m`` that is seen at pixel ``(2,)``."""
        return np.array(
            (
                (point_px[0] - self.cx) / self.fx * depth_m,
                (point_px[1] - self.cy) / self.fy * depth_m,
                depth_m,
            )
        )

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """``(N, 3)`` metres to ``(N, 2)`` pixels; the points must lie before the camera."""
        focal = np.array((self.fx, self.fy))
        return points_m[:, :2] / points_m[:, 2:] * focal + (self.cx, self.cy)
