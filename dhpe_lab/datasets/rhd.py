"""RHD, the Rendered Handpose Dataset (Zimmermann & Brox, ICCV 2017), as it is published.

FOLDER holds ``training`` and ``evaluation``, each with ``color/00000.png``, ``mask/00000.png`` and
``anno_{training|evaluation}.pickle``: number -> ``uv_vis`` (42, 3), ``xyz`` (42, 3) in metres and
``K`` (3, 3). Rows 0 to 20 are the left hand, the others the right one; fingers run tip to base.
Masks: 0 background, 1 the person, 2 to 17 the left hand, 18 to 33 the right one.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import cv2
import numpy as np

from dhpe_lab.datasets.labelled_hand import LabelledHand, evenly, read_grey, require_pictures
from dhpe_ros.files.array_pickle import as_array, read_array_pickle
from dhpe_ros.types import Side

ORDER = (0, 4, 3, 2, 1, 8, 7, 6, 5, 12, 11, 10, 9, 16, 15, 14, 13, 20, 19, 18, 17)  # either way
MASK_VALUES = {Side.LEFT: (2, 17), Side.RIGHT: (18, 33)}  # the forearm is the person's
_PARTS = {"train": "training", "test": "evaluation"}
# RHD measures pixels from the picture's corner, as Blender does: the principal point of its
# pictures, 320 pixels wide, is 160.0, their middle, and `uv` is the projection by that `K`, to four
# digits. From the centre of the first pixel, as here, both are half a pixel less.
_CORNER_PX = 0.5
_SHAPES = {"uv_vis": (42, 3), "xyz": (42, 3), "K": (3, 3)}
_REMEDY = "unpack RHD_published_v2 whole and give that folder"


def is_rhd(folder: Path) -> bool:
    """True if a folder holds labels of RHD."""
    return any(_labels_file(folder, split).is_file() for split in _PARTS)


def read_rhd(folder: Path, split: str, at_most: int | None = None) -> list[LabelledHand]:
    """The hand of each picture of ``split`` ("train": 41,258, "test": 2,728), or of some of them.

    Of two hands, the one with more pixels, as in the set's own protocol: every mask is looked at,
    half a minute for the 41,258 on two busy cores. A picture that shows no hand is left out.

    Raises ``FileNotFoundError`` for what is missing and ``ValueError`` for what is not RHD.
    """
    part = folder / _PARTS[split]
    labels = _read_labels(_labels_file(folder, split))
    numbers = evenly(sorted(labels), at_most)
    for kind in ("color", "mask"):
        require_pictures([_picture(part, kind, number) for number in numbers], _REMEDY)
    with ThreadPoolExecutor() as pool:
        hands = pool.map(lambda number: _hand(part, number, labels[number]), numbers)
        return [hand for hand in hands if hand is not None]


def _labels_file(folder: Path, split: str) -> Path:
    part = _PARTS[split]
    return folder / part / f"anno_{part}.pickle"


def _picture(part: Path, kind: str, number: int) -> Path:
    return part / kind / f"{number:05d}.png"


def _read_labels(file: Path) -> dict[int, dict[str, np.ndarray]]:
    if not file.is_file():
        raise FileNotFoundError(f"there is no {file}; {_REMEDY}")
    labels = read_array_pickle(file, expected="the labels of RHD")
    if not isinstance(labels, dict) or not labels:
        raise ValueError(f"{file}: must map numbers of pictures to labels; {_REMEDY}")
    for number, label in labels.items():
        if not isinstance(number, int) or not isinstance(label, dict):
            raise ValueError(f"{file}: must map numbers of pictures to labels; {_REMEDY}")
    return {
        number: {key: _numbers(file, number, label.get(key), key) for key in _SHAPES}
        for number, label in labels.items()
    }


def _numbers(file: Path, number: int, value: object, key: str) -> np.ndarray:
    rows, columns = _SHAPES[key]
    must = f"{file}: {key} of picture {number} must be {rows} x {columns} numbers"
    try:
        array = as_array(value)
    except ValueError as error:
        raise ValueError(f"{must}, {error}; {_REMEDY}") from error
    if array.shape != (rows, columns) or array.dtype.kind not in "fiu":
        raise ValueError(f"{must}, got {array.dtype} {array.shape}; {_REMEDY}")
    return array


def _hand(part: Path, number: int, label: dict[str, np.ndarray]) -> LabelledHand | None:
    mask_file = _picture(part, "mask", number)
    mask = read_grey(mask_file)
    pixels = {s: cv2.countNonZero(cv2.inRange(mask, *v)) for s, v in MASK_VALUES.items()}
    if not any(pixels.values()):
        return None
    side = Side.LEFT if pixels[Side.LEFT] > pixels[Side.RIGHT] else Side.RIGHT
    rows = np.array(ORDER) + (0 if side is Side.LEFT else 21)
    uv_vis, joints_m = label["uv_vis"][rows], label["xyz"][rows]
    K = label["K"]
    if not np.isfinite(joints_m).all() or joints_m[:, 2].min() <= 0:
        raise ValueError(f"{part}: xyz of picture {number} must lie in front of the camera")
    return LabelledHand(
        picture=_picture(part, "color", number),
        joints_px=uv_vis[:, :2].astype(np.float32) - np.float32(_CORNER_PX),
        side=side,
        mask_file=mask_file,
        joints_m=joints_m.astype(np.float32),
        camera_px=(
            float(K[0, 0]), float(K[1, 1]), float(K[0, 2]) - _CORNER_PX, float(K[1, 2]) - _CORNER_PX
        ),
        exact=True,
        mask_values=MASK_VALUES[side],
        visible=uv_vis[:, 2] == 1,
    )  # fmt: skip
