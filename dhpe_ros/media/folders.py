"""Reader of folders of pictures."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from dhpe_ros.media.frames import Frame, MediaError, reason
from dhpe_ros.media.kinds import Kind, kind_of
from dhpe_ros.media.picture_header import MAX_MEGAPIXELS
from dhpe_ros.media.white_level import WhiteLevel

_NAMED = 5  # files that the warning lists

_log = logging.getLogger(__name__)


def list_folder(folder: Path, ignored: Callable[[Path], bool] | None = None) -> list[Path]:
    """The pictures, videos and recordings of a folder, itself only; ``2.png`` before ``10.png``.

    A warning lists other files and folders, except hidden and ``ignored`` ones. Raises
    ``MediaError`` when there is nothing to read.
    """
    try:
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise MediaError(folder, reason(error)) from error
    if ignored is not None:
        entries = [path for path in entries if not ignored(path)]
    entries.sort(key=_natural)
    found = [path for path in entries if path.is_file() and kind_of(path) is not None]
    taken = set(found)
    left_out = [path.name + "/" * path.is_dir() for path in entries if path not in taken]
    if not found:
        raise MediaError(folder, "the folder holds no images or videos (sub-folders are not read)")
    if left_out:
        names = ", ".join(left_out[:_NAMED]) + (" ..." if len(left_out) > _NAMED else "")
        _log.warning("%s: left out, neither image nor video: %d (%s)", folder, len(left_out), names)
    return found


class ImageFolder:
    """The pictures of a folder, one after the other; videos in it are left out."""

    rate_hz: float | None = None
    is_sequence = True

    def __init__(self, path: Path, max_megapixels: float = MAX_MEGAPIXELS) -> None:
        self.name = str(path)
        self._max_megapixels = max_megapixels
        self._paths = [p for p in list_folder(path) if kind_of(p) is Kind.PICTURE]
        if not self._paths:
            raise MediaError(path, "the folder holds no images")
        self.count: int | None = len(self._paths)

    def frames(self) -> Iterator[Frame]:
        from dhpe_ros.media.pictures import read_image

        white = WhiteLevel()
        for index, path in enumerate(self._paths):
            yield Frame(read_image(path, self._max_megapixels, white), str(path), index)


def _natural(path: Path) -> list[tuple[int, int | str]]:
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]
