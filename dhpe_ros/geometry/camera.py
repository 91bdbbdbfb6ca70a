"""Intrinsics: pixels to rays in the camera's optical frame, and metres to pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

import numpy as np

from dhpe_ros.geometry.lens import BrownConrady, Equidistant, Lens, lens_of

INTRINSICS = "fx,fy,cx,cy[,MODEL,k1,k2,...]"  # as users type them
_FIELDS_OF_VIEW_DEG = (2.0, 170.0, 280.0)  # at least; at most without, and with a fisheye lens
_OFF_CENTRE = 0.2  # of the width or height: principal point from the middle
_OBLONG = 1.5  # fx over fy, or the other way round
_CUT_OUT = 1.2  # aspect ratio below which a picture is taken for a part of one
_MISSED_PX = 0.1  # at most, from a pixel to its ray and back
Rotation = tuple[tuple[float, ...], ...]  # 3 x 3


@dataclass(frozen=True)
class Camera:
    """A camera in pixels of an image ``width`` x ``height``, distorted as its lens distorts it."""

    fx: float
    fy: float
    cx: float
    cy: float
    width: int
    height: int
    assumed: bool = False  # True: nobody measured it
    lens: Lens = field(default_factory=BrownConrady)
    rotation: Rotation | None = None  # from the lens's axes to the optical frame; None: the same

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

    @staticmethod
    def parse(text: str) -> Camera:
        """Read ``"fx,fy,cx,cy"``, for raw images followed by ROS's distortion model and D.

        The image's size is left to ``for_image``. Raises ``ValueError`` that says what is wrong.
        """
        parts = text.split(",")
        try:
            fx, fy, cx, cy = map(float, parts[:4])
            coefficients = tuple(map(float, parts[5:]))
        except ValueError as error:
            raise ValueError(f"intrinsics are '{INTRINSICS}' in pixels, got {text!r}") from error
        lens = lens_of(parts[4].strip(), coefficients) if len(parts) > 4 else BrownConrady()
        return Camera(fx, fy, cx, cy, 0, 0, lens=lens)

    def for_image(self, width: int, height: int) -> Camera:
        """This camera, of images of that size. Raises ``ValueError`` where it is implausible."""
        camera = replace(self, width=width, height=height)
        camera.check_plausible()
        return camera

    def rays(self, points_px: np.ndarray) -> np.ndarray:
        """``(N, 3)`` unit vectors, in the optical frame, to what is seen at ``(N, 2)`` pixels."""
        return self._lens_rays(points_px) @ self._to_optical.T

    def project(self, points_m: np.ndarray) -> np.ndarray:
        """``(N, 3)`` metres to ``(N, 2)`` pixels; the points must lie before the camera."""
        focal = np.array((self.fx, self.fy))
        return self.lens.distort(points_m @ self._to_optical) * focal + (self.cx, self.cy)

    def look_at(self, point_px: np.ndarray) -> np.ndarray:
        """``(3, 3)``: the rotation to the optical frame of a camera that looks at a pixel ``(2,)``.

        It is the lens's own axes under the smallest turn from the optical axis to the pixel's ray,
        so that up and right in the image stay up and right. There is no turn where the optical axis
        is anywhere: in a picture without intrinsics that is too square to be a camera's whole one.
        """
        if self.assumed and max(self.width, self.height) < _CUT_OUT * min(self.width, self.height):
            return np.eye(3)
        (ray,) = self._lens_rays(point_px[None])
        x, y, z = ray
        cross = np.array(((0, 0, x), (0, 0, y), (-x, -y, 0)))  # by z x ray
        return self._to_optical @ (np.eye(3) + cross + cross @ cross / (1 + z))

    def cut(self, x: int, y: int, width: int, height: int) -> Camera:
        """The camera of that part of the image."""
        return replace(self, cx=self.cx - x, cy=self.cy - y, width=width, height=height)

    def binned(self, across: int, down: int) -> Camera:
        """The camera of the image after binning."""
        return replace(
            self,
            fx=self.fx / across,
            fy=self.fy / down,
            cx=(self.cx + 0.5) / across - 0.5,  # binning begins at the first pixel's corner
            cy=(self.cy + 0.5) / down - 0.5,
            width=self.width // across,
            height=self.height // down,
        )

    def check_plausible(self) -> None:
        """Raise ``ValueError``, naming value and remedy, where no camera sees a whole image so."""
        size = f"{self.width}x{self.height} pixels"
        least, flat, fisheye = _FIELDS_OF_VIEW_DEG
        most, across = flat, 2 * math.atan(self.width / self.fx / 2)
        if isinstance(self.lens, Equidistant):
            most, across = fisheye, self.width / self.fx
        angle = math.degrees(across)
        faults = []
        if not least <= angle <= most:
            faults.append(
                f"fx={self.fx:g} means a field of view of {angle:.3g} degrees across {size}, "
                f"outside {least:g} to {most:g}"
            )
        if not 1 / _OBLONG <= self.fx / self.fy <= _OBLONG:
            faults.append(
                f"fx={self.fx:g} and fy={self.fy:g} differ more than pixels do, which are about "
                "square"
            )
        for name, centre, extent in (("cx", self.cx, self.width), ("cy", self.cy, self.height)):
            if abs((centre + 0.5) / extent - 0.5) >= _OFF_CENTRE:
                inside = -0.5 <= centre <= extent - 0.5
                where = "far from the middle of" if inside else "outside"
                faults.append(
                    f"the principal point, {name}={centre:g}, lies {where} the picture of {size}"
                )
        if faults:
            remedy = f"give the intrinsics of an image of {size}"
            raise ValueError(f"implausible intrinsics: {faults[0]}: {remedy}")
        self._check_lens()

    def _check_lens(self) -> None:
        """In the middle half of the image each pixel must have one ray."""
        x, y = (np.linspace(0.25, 0.75, 5) * (n - 1) for n in (self.width, self.height))
        points = np.stack(np.meshgrid(x, y), axis=-1).reshape(-1, 2)
        rays = self._lens_rays(points)
        one_to_one = np.arccos(rays[:, 2]).max() < self.lens.limit_rad
        missed_px = np.abs(self.project(self.rays(points)) - points).max()
        if not (one_to_one and missed_px < _MISSED_PX):
            raise ValueError(
                f"implausible distortion: {self.lens.model} {list(self.lens.coefficients)} cannot "
                "be undone in the middle of the image; calibrate the camera again"
            )

    @property
    def _to_optical(self) -> np.ndarray:
        return np.eye(3) if self.rotation is None else np.array(self.rotation)

    def _lens_rays(self, points_px: np.ndarray) -> np.ndarray:
        return self.lens.undistort((points_px - (self.cx, self.cy)) / (self.fx, self.fy))
