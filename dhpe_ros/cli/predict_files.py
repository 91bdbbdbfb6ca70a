"""Files that ``dhpe predict`` writes: names that never collide, JSON, overlays, meshes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dhpe_ros.media.frames import shrunk
from dhpe_ros.media.mesh_io import write_obj
from dhpe_ros.rendering.overlay import draw_overlay
from dhpe_ros.types import Hand

OVERLAY_SUFFIX = "_overlay.jpg"
CLIP_SUFFIX = "_overlay.mp4"
BAG_SUFFIX = "_bag"
OVERLAY_QUALITY = 92

_OBJ_COMMENT = "{side} hand of {name}\nmetres, camera optical frame: x right, y down, z forward"
_BEGINNINGS = {".json": rb'{\n  "image": ', ".obj": rb"# \w+ hand of "}  # of our own files
_LONGEST_ADDITION = 24  # bytes of an output's name beyond its stem
_JPEG_SIDE = 65_500  # maximum, in pixels


class OutputNames:
    """Gives every input a stem of its own; no output replaces an input.

    The folder must exist: its file system limits the length of names.
    """

    def __init__(self, folder: Path, inputs: Iterable[Path]) -> None:
        self._folder = folder.resolve()
        self._inputs = {path.resolve() for path in inputs}
        self._images: set[str] = set()
        self._sequences: set[str] = set()
        self._image_sequences: set[str | None] = set()  # whose frames would be named as images

    def claim(self, path: Path, *, is_sequence: bool) -> str:
        """The input's stem, or ``<stem>_2``, ``<stem>_3`` ... where that is taken."""
        wanted = path.stem or path.name
        most = os.pathconf(self._folder, "PC_NAME_MAX") - _LONGEST_ADDITION
        while len(os.fsencode(wanted)) > most:
            wanted = wanted[:-1]
        names = (wanted if number == 1 else f"{wanted}_{number}" for number in count(1))
        stem = next(name for name in names if not self._is_taken(name, is_sequence))
        if is_sequence:
            self._sequences.add(stem.casefold())
        else:
            self._images.add(stem.casefold())
            self._image_sequences.add(_sequence_of(stem.casefold()))
        return stem

    def _is_taken(self, stem: str, is_sequence: bool) -> bool:
        key = stem.casefold()
        suffixes = (OVERLAY_SUFFIX, CLIP_SUFFIX, ".json", BAG_SUFFIX)
        return (
            key in self._images | self._sequences
            or any(self._folder / f"{stem}{suffix}" in self._inputs for suffix in suffixes)
            or (is_sequence and key in self._image_sequences)
            or (not is_sequence and _sequence_of(key) in self._sequences)
        )


def _sequence_of(stem: str) -> str | None:
    """The stem of the video whose frame has this stem: ``clip`` for ``clip_000012``."""
    match = re.fullmatch(r"(.+)_\d{6,}", stem)
    return match[1] if match else None


def is_own_output(path: Path) -> bool:
    """True for a file that ``dhpe predict`` has written."""
    if path.suffix in _BEGINNINGS:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return re.match(_BEGINNINGS[path.suffix], file.read(40)) is not None
    for suffix in (OVERLAY_SUFFIX, CLIP_SUFFIX, BAG_SUFFIX):
        if path.name.endswith(suffix):
            stem = path.name.removesuffix(suffix)
            results = (path.with_name(f"{stem}{rest}") for rest in (".json", f"_{0:06d}.json"))
            return any(map(is_own_output, results))
    return False


def remove_results(folder: Path, stem: str, *, is_sequence: bool) -> None:
    """Remove an earlier run's results for this stem; it may have found more hands or frames."""

    def remove(name: str) -> bool:
        own = (folder / name).is_file() and is_own_output(folder / name)
        if own:
            (folder / name).unlink()
        return own

    def remove_meshes(stem: str) -> None:
        all(remove(f"{stem}_{k}.obj") for k in count())  # up to the first that is not there

    remove_meshes(stem)
    remove(f"{stem}{CLIP_SUFFIX if is_sequence else OVERLAY_SUFFIX}")
    if not is_sequence:
        remove(f"{stem}.json")
        return
    for index in count():
        if not remove(f"{stem}_{index:06d}.json"):
            return
        remove_meshes(f"{stem}_{index:06d}")


def hand_as_mapping(hand: Hand) -> dict[str, Any]:
    """One hand as in the JSON: pixels, metres in the camera's optical frame."""
    residuals = hand.refinement.residual_before_px, hand.refinement.residual_after_px
    return {
        "side": hand.side.name.lower(),
        "score": _rounded(hand.score, 4),
        "box_px": _rounded(hand.box.as_array(), 2),
        "joints_px": _rounded(hand.joints_px, 3),
        "joints_m": _rounded(hand.joints_m, 6),
        "parameters": _rounded(hand.parameters, 6),
        "metric": bool(hand.metric),
        "scale": hand.scale.name.lower(),
        "residual_px": _rounded(residuals, 3),
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write readable JSON, with one line per list of numbers."""
    text = json.dumps(content, indent=2, allow_nan=False)
    numbers = re.compile(r"\[[\s\d.,eE+-]+\]")
    path.write_text(numbers.sub(lambda match: " ".join(match[0].split()), text) + "\n", "utf-8")


def write_overlay(path: Path, image: np.ndarray, hands: list[Hand]) -> None:
    """Write the hands drawn over ``(H, W, 3)`` uint8 RGB as JPEG, shrunk to its maximum size.

    Raises ``OSError``.
    """
    overlay = shrunk(draw_overlay(image, hands), _JPEG_SIDE / max(image.shape))
    quality = [cv2.IMWRITE_JPEG_QUALITY, OVERLAY_QUALITY]
    encoded = cv2.imencode(".jpg", cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR), quality)[1]
    path.write_bytes(encoded.tobytes())


def write_mesh(path: Path, hand: Hand, name: str) -> None:
    """Write the hand's surface as OBJ. Raises ``OSError``."""
    comment = _OBJ_COMMENT.format(side=hand.side.name.lower(), name=name)
    write_obj(path, hand.vertices_m, hand.triangles, hand.normals, comment)


def _rounded(values: Any, digits: int) -> Any:
    """Plain Python numbers; ``None`` for those that are not finite, which JSON lacks."""
    rounded = np.asarray(np.round(np.asarray(values, np.float64), digits))  # scalars too
    plain = np.array(rounded, object)
    plain[~np.isfinite(rounded)] = None
    return plain.tolist()
