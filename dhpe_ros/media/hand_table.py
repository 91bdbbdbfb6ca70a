"""Writer of hands as a CSV table."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from dhpe_ros.types import JOINT_NAMES, PARAMETER_COUNT

COLUMNS = (
    *("image", "frame", "stamp_s", "track_id", "side", "score", "intrinsics_known", "scale"),
    *(f"{joint}_{axis}_px" for joint in JOINT_NAMES for axis in "xy"),
    *(f"{joint}_{axis}_m" for joint in JOINT_NAMES for axis in "xyz"),
    *(f"parameter_{k}" for k in range(PARAMETER_COUNT)),
)


def write_table(path: Path, results: Iterable[Mapping[str, Any]]) -> None:
    """Write one row for each hand of ``results``, the contents of JSON files of ``dhpe predict``.

    What they have no number for is empty. Raises ``OSError``.
    """
    with path.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for result in results:
            frame = result["image"], result.get("frame", 0), result.get("stamp_s", 0.0)
            for hand in result["hands"]:
                about = hand.get("track_id", 0), hand["side"], hand["score"]
                numbers = (hand["joints_px"], hand["joints_m"], hand["parameters"])
                values = np.concatenate([np.ravel(np.array(part, object)) for part in numbers])
                rows.writerow((*frame, *about, hand["intrinsics_known"], hand["scale"], *values))
