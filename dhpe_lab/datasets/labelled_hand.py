"""Labels of a hand in a picture that is not read yet, to train on or to measure against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from dhpe_lab.datasets.samples import Sample, StoredSample
from dhpe_ros.media.pictures import read_image
from dhpe_ros.types import MIDDLE_MCP, Box, Side

_NAMED = 5  # missing files that an error names


@dataclass(frozen=True)
class LabelledHand:
    """Labels of one hand in one picture; the picture itself is read when it is needed."""

    picture: Path
    joints_px: np.ndarray  # (21, 2), origin at the centre of the first pixel; NaN: not known
    side: Side | None  # as it looks in the picture; None where nobody knows
    mask_file: Path | None = None  # the hand, maybe in more pixels than the picture
    joints_m: np.ndarray | None = None  # (21, 3) camera axes; None or NaN: not known exactly
    camera_px: tuple[float, float, float, float] | None = None  # fx, fy, cx, cy
    exact: bool = False  # False: another tracker's joints, and the mask may show the forearm
    frame: int = 0  # of a video
    mask_values: tuple[int, int] = (128, 255)  # lowest and highest value of the mask's hand
    visible: np.ndarray | None = None  # (21,) bool: joints in sight; None where nobody knows
    mesh_file: Path | None = None  # .npy (778, 3): the open hand's vertices, camera axes, metres
    hinted_m: np.ndarray | None = None  # (21, 3) as joints_m, or another tracker's guess
    source: str = ""  # the set it belongs to, within its folder
    box: Box | None = None  # where to look, where the joints alone do not tell

    def image(self) -> np.ndarray:
        """``(H, W, 3)`` uint8 RGB. Raises ``ValueError`` for a file that is not a picture."""
        return read_image(self.picture)

    def mask(self) -> np.ndarray | None:
        """``(H, W)`` bool. Raises ``ValueError`` for a file that is not a picture."""
        if self.mask_file is None:
            return None
        return cv2.inRange(read_grey(self.mask_file), *self.mask_values) > 0

    @property
    def known(self) -> np.ndarray:
        """``(21,)`` bool: the joints whose place in the picture is known."""
        return np.isfinite(self.joints_px).all(axis=1)

    def mesh_m(self) -> np.ndarray | None:
        """``(778, 3)`` camera axes. Raises ``ValueError`` for a file that is no array."""
        if self.mesh_file is None:
            return None
        try:  # mapped first: a file that claims more than it has is not given the memory
            return np.array(np.load(self.mesh_file, mmap_mode="r"))
        except (ValueError, EOFError) as error:
            raise ValueError(f"{self.mesh_file}: not a readable .npy file ({error})") from error


def read_grey(file: Path) -> np.ndarray:
    """``(H, W)`` uint8. Raises ``ValueError`` for a file that is not a picture."""
    return cv2.cvtColor(read_image(file), cv2.COLOR_RGB2GRAY)


def stored_sample(hand: LabelledHand, source: str) -> StoredSample:
    """An exactly labelled hand to train on; its picture is read for every use."""
    return StoredSample(source, partial(_sample, hand, source))


def _sample(hand: LabelledHand, source: str) -> Sample:
    image, mask = hand.image(), hand.mask()
    try:
        return Sample(
            image=image,
            joints_px=hand.joints_px.astype(np.float32),
            right=hand.side is Side.RIGHT,
            source=source,
            mask=None if mask is None else mask.astype(np.uint8) * 255,
            relative_depth_px=relative_depth_px(hand).astype(np.float32),
            name=str(hand.picture),
        )
    except ValueError as error:
        raise ValueError(f"{hand.picture}: {error}") from error


def relative_depth_px(hand: LabelledHand) -> np.ndarray:
    """``(21,)``: depth from the middle MCP on, in pixels at the MCP's distance.

    Along the ray through the MCP, not along the camera's axis: a crop is taken to show the hand as
    seen along its own ray (docs/reference/conventions.md).
    """
    root = hand.joints_m[MIDDLE_MCP]
    distance = np.linalg.norm(root)
    focal = (hand.camera_px[0] + hand.camera_px[1]) / 2
    return (hand.joints_m @ (root / distance) - distance) * (focal / root[2])


def evenly(items: Sequence, at_most: int | None) -> Sequence:
    """``at_most`` of the items, at even distances; all where it is None."""
    if at_most is None or at_most >= len(items):
        return items
    return [items[k * len(items) // at_most] for k in range(at_most)]


def require_pictures(files: Sequence[Path], remedy: str) -> None:
    """Raise ``FileNotFoundError`` if some are missing, before hours of training come across them.

    The error names the first few, and says how many there are.
    """
    there: dict[Path, set[str]] = {}
    for file in files:
        if file.parent not in there:
            found = file.parent.iterdir() if file.parent.is_dir() else ()
            there[file.parent] = {path.name for path in found}
    missing = [file for file in files if file.name not in there[file.parent]]
    if missing:
        more = f" and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
        names = ", ".join(str(file) for file in missing[:_NAMED])
        raise FileNotFoundError(f"there is no {names}{more}, but the labels list it; {remedy}")
