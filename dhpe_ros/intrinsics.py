"""Camera intrinsics as users type them."""

from __future__ import annotations

from typing import NamedTuple

from dhpe_ros.camera import Camera


class Intrinsics(NamedTuple):
    """A pinhole camera in pixels, for images of any size."""

    fx: float
    fy: float
    cx: float
    cy: float

    @staticmethod
    def parse(text: str) -> Intrinsics:
        """``"fx,fy,cx,cy"``. Raises ``ValueError`` that says what is wrong."""
        try:
            intrinsics = Intrinsics(*(float(part) for part in text.split(",")))
        except (ValueError, TypeError) as error:
            raise ValueError(f"intrinsics are 'fx,fy,cx,cy' in pixels, got {text!r}") from error
        intrinsics.camera(1, 1)
        return intrinsics

    def camera(self, width: int, height: int) -> Camera:
        """The camera for an image of that size."""
        return Camera(*self, width=width, height=height)
