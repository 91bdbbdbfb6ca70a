"""``labels.json`` of docs/reference/data.md: what is known of the hands of a folder.

One hand in each picture (``hands``), whole pictures with all their hands (``frames``), or a mapping
from the names of pictures and videos to their hands. All labels are checked as they are read.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dhpe_lab.datasets.labelled_hand import LabelledHand
from dhpe_ros.media import is_sequence
from dhpe_ros.types import JOINT_COUNT, Box, Side

_LOG = logging.getLogger(__name__)
REMEDY = "docs/reference/data.md describes the folder of labelled pictures"
# MediaPipe's labels count from a picture's corner, our points from the first pixel's centre.
_CORNER_PX = 0.5


@dataclass(frozen=True)
class LabelledFrame:
    """A whole picture, and every hand in it."""

    picture: Path
    folder: Path  # of the labels
    source: str  # the set it belongs to
    hands: list[LabelledHand]
    unsure: list[Box]  # where a hand may be that is not labelled


def labels_file(folder: Path) -> Path:
    return folder / "labels.json"


def read_hands(folder: Path, train: bool) -> Iterator[LabelledHand]:
    """The hands of ``hands`` or ``frames`` that are marked ``train``, or those that are not.

    Raises ``FileNotFoundError`` without labels and ``ValueError`` for one that is wrong.
    """
    labels = read_labels(folder)
    if "frames" in labels:
        yield from (hand for frame in read_frames(folder, train) for hand in frame.hands)
        return
    with wrong_label(folder):
        if "hands" in labels:
            exact = bool(labels.get("exact"))
            yield from (_of_row(folder, row, exact) for row in _marked(labels["hands"], train))
        elif not train:
            yield from _by_name(folder, labels)


def read_frames(folder: Path, train: bool) -> Iterator[LabelledFrame]:
    """The whole pictures that are marked ``train``, or those that are not. Errors likewise."""
    labels = read_labels(folder)
    with wrong_label(folder):
        for frame in _marked(labels["frames"], train):
            picture, source = folder / frame["file"], str(frame.get("set", folder.name))
            hands = [label(picture, hand, source=source) for hand in frame["hands"]]
            must = "a box in ignore must be x, y, width, height"
            unsure = [Box(*_four(box, slice(2, 4), must)) for box in frame.get("ignore", ())]
            yield LabelledFrame(picture, folder, source, hands, unsure)


def read_labels(folder: Path) -> dict:
    """Read the file. Raises ``FileNotFoundError``, or ``ValueError`` that names it."""
    path = labels_file(folder)
    try:
        labels = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise FileNotFoundError(f"no labels at {path}; {REMEDY}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error}); {REMEDY}") from error
    if not isinstance(labels, dict):
        raise ValueError(f"{path}: must be a mapping, is a {type(labels).__name__}; {REMEDY}")
    return labels


@contextmanager
def wrong_label(folder: Path) -> Iterator[None]:
    """Turn an error in a label into a ``ValueError`` that names the file."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        told = f"lacks {error}" if isinstance(error, KeyError) else str(error)
        raise ValueError(f"{labels_file(folder)}: {told}; {REMEDY}") from error


def label(
    picture: Path, row: dict, *, frame: int = 0, exact: bool = False, source: str = ""
) -> LabelledHand:
    """One hand of a picture, or of a video's ``frame``. Raises ``KeyError`` or ``ValueError``."""
    side = row.get("side", "right")
    if side not in ("left", "right"):
        raise ValueError(f"side must be left or right, got {side!r}")
    return LabelledHand(
        picture,
        joint_array(row, "joints_px", 2) - (0.0 if exact else _CORNER_PX),
        Side[side.upper()],
        exact=exact,
        frame=frame,
        source=source,
    )


def joint_array(row: dict, key: str, columns: int) -> np.ndarray:
    """``(21, columns)`` finite numbers. Raises ``KeyError`` or ``ValueError``."""
    array = np.asarray(row[key], np.float64)
    if array.shape != (JOINT_COUNT, columns) or not np.isfinite(array).all():
        raise ValueError(f"{key} must be {JOINT_COUNT} x {columns} numbers, got {array.shape}")
    return array


def _four(numbers: Sequence[float], positive: slice, must: str) -> tuple[float, ...]:
    """Finite numbers, those of ``positive`` above 0; ``ValueError`` says what they ``must`` be."""
    four = np.asarray(numbers, np.float64)
    if four.shape != (4,) or not np.isfinite(four).all() or not (four[positive] > 0).all():
        raise ValueError(f"{must}, got {numbers}")
    return tuple(four.tolist())


def _marked(rows: Sequence[dict], train: bool) -> list[dict]:
    return [row for row in rows if (row.get("split") == "train") is train]


def _by_name(folder: Path, labels: dict) -> Iterator[LabelledHand]:
    clips = [name for name in labels if is_sequence(folder / name)]
    if clips:
        _LOG.warning("%s: pictures only; name these by themselves: %s", folder, ", ".join(clips))
    for name, hands in labels.items():
        if name not in clips:
            yield from (label(folder / name, hand) for hand in hands)


def _of_row(folder: Path, row: dict, exact: bool) -> LabelledHand:
    """A row of ``signs`` (a name) or ``wild`` (a file)."""
    if "name" in row:
        picture = folder / "images" / f"{row['name']}.jpg"
        mask_file = folder / "masks" / f"{row['name']}.png"
    else:
        picture = folder / row["file"]
        mask_file = (folder / "masks" / row["file"]).with_suffix(".png")
    mesh_file = (folder / "meshes" / picture.name).with_suffix(".npy")
    joints_m = joint_array(row, "joints_m", 3) if exact or "joints_m" in row else None
    must = "camera_px must be fx, fy, cx, cy, the first two > 0"
    return replace(
        label(picture, row, exact=exact, source=str(row.get("set", folder.name))),
        mask_file=mask_file if mask_file.is_file() else None,
        joints_m=joints_m if exact else None,
        hinted_m=joints_m,
        camera_px=_four(row["camera_px"], slice(2), must) if "camera_px" in row else None,
        mesh_file=mesh_file if exact and mesh_file.is_file() else None,
    )
