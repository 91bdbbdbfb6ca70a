"""Camera intrinsics as users type them."""

from __future__ import annotations

from dataclasses import dataclass, field

from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.lens import BrownConrady, Lens, lens_of

FORM = "fx,fy,cx,cy[,MODEL,k1,k2,...]"


@dataclass(frozen=True)
class Intrinsics:
    """A camera in pixels, and its lens, for images of a size that is not known yet."""

    fx: float
    fy: float
    cx: float
    cy: float
    lens: Lens = field(default_factory=BrownConrady)

    def __post_init__(self) -> None:
        Camera(self.fx, self.fy, self.cx, self.cy, 1, 1)  # which says what is wrong

    @staticmethod
    def parse(text: str) -> Intrinsics:
        """``"fx,fy,cx,cy"``, for raw images followed by ROS's name of the distortion model and D.

        Raises ``ValueError`` that says what is wrong.
        """
        pinhole, distortion = text.split(",")[:4], text.split(",")[4:]
        try:
            fx, fy, cx, cy = map(float, pinhole)
            coefficients = tuple(map(float, distortion[1:]))
        except ValueError as error:
            raise ValueError(f"intrinsics are '{FORM}' in pixels, got {text!r}") from error
        if not distortion:
            return Intrinsics(fx, fy, cx, cy)
        return Intrinsics(fx, fy, cx, cy, lens_of(distortion[0].strip(), coefficients))

    def camera(self, width: int, height: int) -> Camera:
        """The camera for an image of that size. Raises ``ValueError`` where it is implausible."""
        camera = Camera(self.fx, self.fy, self.cx, self.cy, width, height, lens=self.lens)
        camera.check_plausible()
        return camera
