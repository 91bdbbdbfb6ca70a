"""STB, the Stereo Tracking Benchmark of hands (Zhang et al., ICIP 2017; SHD), as it is published.

FOLDER holds ``images/{B1..B6}{Counting|Random}/{BB_left|BB_right|SK_color}_{0..1499}.png`` and
``labels/SEQUENCE_{BB|SK}.mat``, MATLAB 5, whose ``handPara`` (3, 21, 1500) are millimetres. All
hands are left ones; there are no masks. BB is a stereo camera, its labels are in the left one's
frame; SK is a depth camera, in whose frame its labels are, with a colour camera beside it.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from scipy.io import loadmat

from dhpe_lab.datasets.labelled_hand import LabelledHand, evenly, require_pictures
from dhpe_ros.types import Side

# The palm's centre, then little, ring, middle, index finger and thumb, base to tip.
ORDER = (0, *range(17, 21), *range(13, 17), *range(9, 13), *range(5, 9), *range(1, 5))
_RING_MCP = 13  # in this project's order
_SCENES = {"train": (2, 3, 4, 5, 6), "test": (1,)}
_SEQUENCES = {
    split: [f"B{scene}{kind}" for scene in scenes for kind in ("Counting", "Random")]
    for split, scenes in _SCENES.items()
}
_REMEDY = "unpack images/ and labels/ of STB whole and give the folder that holds them"


@dataclass(frozen=True)
class _View:
    """One of the pictures of a moment; numbers are those of the set's readme.

    Which origin of pixels they have it does not say; they are taken for OpenCV's, as calibrations
    give them: the centre of the first pixel, as here.
    """

    name: str
    camera_px: tuple[float, float, float, float]  # fx, fy, cx, cy
    rotation: np.ndarray  # of points in the labels' frame
    translation_mm: np.ndarray

    def joints_m(self, positions_mm: np.ndarray) -> np.ndarray:
        """``(N, 21, 3)`` in this view's camera."""
        return (positions_mm @ self.rotation.T + self.translation_mm) / 1000

    def pixels(self, joints_m: np.ndarray) -> np.ndarray:
        """``(N, 21, 2)``."""
        fx, fy, cx, cy = self.camera_px
        return joints_m[..., :2] / joints_m[..., 2:] * (fx, fy) + (cx, cy)


def _color_camera() -> tuple[np.ndarray, np.ndarray]:
    """Transform from SK's depth camera to its colour camera; the readme has the inverse."""
    rotation = cv2.Rodrigues(np.array((0.00531, -0.01196, 0.00301)))[0].T
    return rotation, -rotation @ (-24.0381, -0.4563, -1.2326)


_STEREO_PX = (822.79041, 822.79041, 318.47345, 250.31296)
_COLOR_PX = (607.92271, 607.88192, 314.78337, 236.42484)
VIEWS = {
    "BB": (
        _View("BB_left", _STEREO_PX, np.eye(3), np.zeros(3)),
        _View("BB_right", _STEREO_PX, np.eye(3), np.array((-120.054, 0, 0))),
    ),
    "SK": (_View("SK_color", _COLOR_PX, *_color_camera()),),
}


def is_stb(folder: Path) -> bool:
    """True if a folder holds labels of STB."""
    return any(_cameras(folder, split) for split in _SEQUENCES)


def read_stb(folder: Path, split: str, at_most: int | None = None) -> list[LabelledHand]:
    """The hands of ``split`` ("train": B2 to B6, "test": B1), or some of them.

    To train on, those of both cameras where both are labelled. To test on, the 6,000 of the stereo
    camera's pictures, or the 3,000 of the other's colour pictures where that is all there is.

    Raises ``FileNotFoundError`` for what is missing, ``ValueError`` for what is not STB.
    """
    cameras = _cameras(folder, split)
    if not cameras:
        raise FileNotFoundError(
            f"there is no {_labels_file(folder, _SEQUENCES[split][0], 'BB')}; {_REMEDY}"
        )
    if split == "test":
        cameras = cameras[:1]
    hands = [
        hand
        for camera in cameras
        for sequence in _SEQUENCES[split]
        for hand in _hands(folder, sequence, camera)
    ]
    hands = list(evenly(hands, at_most))
    require_pictures([hand.picture for hand in hands], _REMEDY)
    return hands


def _labels_file(folder: Path, sequence: str, camera: str) -> Path:
    return folder / "labels" / f"{sequence}_{camera}.mat"


def _cameras(folder: Path, split: str) -> list[str]:
    """Cameras that have labels."""
    return [
        camera
        for camera in VIEWS
        if any(_labels_file(folder, name, camera).is_file() for name in _SEQUENCES[split])
    ]


def _hands(folder: Path, sequence: str, camera: str) -> list[LabelledHand]:
    positions_mm = wrist_for_palm(_read_positions(_labels_file(folder, sequence, camera)))
    hands = []
    for view in VIEWS[camera]:
        joints_m = view.joints_m(positions_mm)
        joints_px = view.pixels(joints_m).astype(np.float32)
        hands += [
            LabelledHand(
                picture=folder / "images" / sequence / f"{view.name}_{index}.png",
                joints_px=joints_px[index],
                side=Side.LEFT,
                joints_m=joints_m[index].astype(np.float32),
                camera_px=view.camera_px,
                exact=True,
            )
            for index in range(len(joints_m))
        ]
    return hands


def wrist_for_palm(positions: np.ndarray) -> np.ndarray:
    """``(N, 21, 3)`` in the set's order, to this project's, whose first joint is the wrist.

    The wrist is as far behind the palm's centre as that is behind the ring finger's MCP: an
    estimate, but the one that others measure by.
    """
    joints = positions[:, ORDER]
    joints[:, 0] = joints[:, _RING_MCP] + 2 * (joints[:, 0] - joints[:, _RING_MCP])
    return joints


def _read_positions(file: Path) -> np.ndarray:
    """``(N, 21, 3)`` millimetres in the set's order."""
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}; {_REMEDY}")
    array = np.asarray(_read_mat(file).get("handPara"))
    if array.ndim != 3 or array.shape[:2] != (3, 21) or array.dtype.kind not in "fiu":
        raise ValueError(
            f"{file}: handPara must be 3 x 21 x N numbers, got {array.dtype} {array.shape}; "
            f"{_REMEDY}"
        )
    positions = array.transpose(2, 1, 0).astype(np.float64)
    if not np.isfinite(positions).all() or positions[..., 2].min(initial=1.0) <= 0:
        raise ValueError(f"{file}: handPara must lie in front of the camera; {_REMEDY}")
    return positions


def _read_mat(file: Path) -> dict:
    try:
        return loadmat(str(file), variable_names=["handPara"])
    except Exception as error:  # whatever a broken file makes of the reader
        raise ValueError(
            f"{file}: not a readable MATLAB 5 file ({type(error).__name__}: {error}); {_REMEDY}"
        ) from error
