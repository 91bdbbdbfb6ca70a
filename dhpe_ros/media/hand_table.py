"""Writer of hands as a CSV table."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media.frames import Frame
from dhpe_ros.types import JOINT_NAMES, PARAMETER_COUNT, Hand

COLUMNS = (
    *("image", "frame", "stamp_s", "track_id", "side", "score", "intrinsics_known", "scale"),
    *(f"{joint}_{axis}_px" for joint in JOINT_NAMES for axis in "xy"),
    *(f"{joint}_{axis}_m" for joint in JOINT_NAMES for axis in "xyz"),
    *(f"parameter_{k}" for k in range(PARAMETER_COUNT)),
)


class HandTable:
    """A CSV file with one row for each hand of each picture; use it in ``with``."""

    def __init__(self, path: Path) -> None:
        """Raises ``OSError``."""
        # A line is complete once it is written: a camera ends by Ctrl-C.
        self._file = path.open("w", 1, "utf-8", errors="backslashreplace", newline="")
        self._rows = csv.writer(self._file)
        self._rows.writerow(COLUMNS)

    def __enter__(self) -> HandTable:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def write(self, image: str, frame: Frame, _camera: Camera, hands: Sequence[Hand]) -> None:
        """Append the hands of a frame of the input ``image``. Raises ``OSError``."""
        for hand in hands:
            numbers = (hand.joints_px.ravel(), hand.joints_m.ravel(), hand.parameters)
            row = (
                *(image, frame.index, round(frame.stamp_s, 6), hand.track_id),
                *(hand.side.name.lower(), round(hand.score, 4)),
                *(hand.intrinsics_known, hand.scale.name.lower()),
            )
            values = np.concatenate(numbers).astype(np.float64).round(6)
            self._rows.writerow((*row, *values.tolist()))
