"""Names of the files that ``dhpe predict`` writes for an input, which never collide."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from itertools import count, takewhile
from pathlib import Path

MESH_FORMATS = ("obj", "ply", "glb")
OVERLAY_SUFFIX = "_overlay.jpg"
CLIP_SUFFIX = "_overlay.mp4"
BAG_SUFFIX = "_bag"
RECORD = ".dhpe_predict"  # of finished inputs

_MARKS = {".json": rb'^{\n  "image": '} | {  # in the first bytes of our own files
    f".{kind}": rb"\b(left|right) hand of " for kind in MESH_FORMATS
}
_MARKED = 2048  # bytes
_LONGEST_ADDITION = 24  # bytes of an output's name beyond its stem


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
            key in self._images
            or key in self._sequences
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
    if path.suffix in _MARKS:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return re.search(_MARKS[path.suffix], file.read(_MARKED)) is not None
    if path.stem == RECORD:
        return True
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
        for kind in MESH_FORMATS:
            all(remove(f"{stem}_{k}.{kind}") for k in count())  # up to the first that is not there

    remove_meshes(stem)
    remove(f"{stem}{CLIP_SUFFIX if is_sequence else OVERLAY_SUFFIX}")
    if not is_sequence:
        remove(f"{stem}.json")
        return
    for index in count():
        if not remove(f"{stem}_{index:06d}.json"):
            return
        remove_meshes(f"{stem}_{index:06d}")


def result_paths(folder: Path, stem: str, *, is_sequence: bool) -> Iterator[Path]:
    """The JSON files of this stem, in order."""
    names = (f"{stem}_{k:06d}.json" for k in count()) if is_sequence else (f"{stem}.json",)
    return takewhile(Path.is_file, (folder / name for name in names))
