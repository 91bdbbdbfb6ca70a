"""Training samples: one labelled picture of one hand, whatever it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Sample:
    """A picture with what is known of the hand in it. The hand is as it looks in the picture."""

    image: np.ndarray  # (H, W, 3) uint8 RGB
    joints_px: np.ndarray  # (21, 2), origin at the centre of the first pixel
    right: bool  # it looks like a right hand
    source: str  # the set it belongs to
    mask: np.ndarray | None = None  # (H, W) uint8, 0..255: the hand
    opacity: np.ndarray | None = None  # (H, W) uint8: what to keep over another background
    relative_depth_px: np.ndarray | None = None  # (21,) depth less the middle MCP's, in pixels
    depth_trust: float = 1.0  # of it: 1 exact, less: a hint
    rotation: np.ndarray | None = None  # (3, 3) global rotation of the right-hand model
    pose: np.ndarray | None = None  # (15, 3) axis-angle
    shape: np.ndarray | None = None  # (10,)
    name: str = ""  # of a photograph: its file in the folder
    whole: bool = False  # a whole picture, that shows more than the hand's surroundings

    def __post_init__(self) -> None:
        if self.joints_px.shape != (21, 2):
            raise ValueError(f"joints_px must be (21, 2), got {self.joints_px.shape}")
        if self.mask is not None and self.mask.shape != self.image.shape[:2]:
            raise ValueError(
                f"the mask must be as large as the image {self.image.shape[:2]}, "
                f"got {self.mask.shape}"
            )

    @property
    def synthetic(self) -> bool:
        return self.rotation is not None

    @property
    def exact(self) -> bool:
        """Joints and depth are those of one hand before a camera, and not another tracker's."""
        return self.synthetic or (self.relative_depth_px is not None and self.depth_trust == 1.0)

    def opened(self) -> Sample:
        """Itself: the picture is at hand already."""
        return self


@dataclass(frozen=True)
class StoredSample:
    """A sample that stays on disk until it is used: large sets do not fit into memory."""

    source: str  # the set it belongs to
    opened: Callable[[], Sample]  # reads it; may raise ``ValueError``
