"""Kind of a file by its content, else by its suffix: picture, video or recording."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable
from enum import Enum
from pathlib import Path

from dhpe_ros.media.frames import MediaError, is_picture_signature
from dhpe_ros.media.pictures import is_picture


class Kind(Enum):
    """Content of a file."""

    PICTURE = "picture"
    VIDEO = "video"
    RECORDING = "recording"


# A damaged file of such a suffix is an error; any other file beside the pictures is left out.
_SUFFIXES = {
    Kind.PICTURE: ".avif .bmp .heic .heif .jfif .jp2 .jpe .jpeg .jpg .pbm .pgm .png .pnm .ppm .tif "
    ".tiff .webp",
    Kind.VIDEO: ".3gp .avi .flv .gif .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .webm .wmv",
}
_KIND_OF_SUFFIX = {suffix: kind for kind, text in _SUFFIXES.items() for suffix in text.split()}
_NAMED = 5  # files that the warning lists

_log = logging.getLogger(__name__)


def kind_of(path: Path) -> Kind | None:
    """The kind of a file or recording; None for anything else."""
    if is_bag(path):
        return Kind.RECORDING
    try:
        if path.is_file() and path.stat().st_size:
            if is_picture_signature(path) or is_picture(path):
                return Kind.PICTURE
            from dhpe_ros.media.videos import is_video

            if is_video(path):
                return Kind.VIDEO
    except (OSError, ImportError):  # whoever reads the file reports it; without PyAV the name tells
        pass
    return _KIND_OF_SUFFIX.get(path.suffix.lower())


def is_bag(path: Path) -> bool:
    """True for a rosbag2 recording, by its suffix or the metadata in the folder."""
    return (path / "metadata.yaml").is_file() or path.suffix.lower() in (".mcap", ".db3")


def is_sequence(path: Path) -> bool:
    """True for many pictures of one camera: a video or a recording."""
    return kind_of(path) in (Kind.VIDEO, Kind.RECORDING)


def list_folder(folder: Path, ignored: Callable[[Path], bool] = lambda path: False) -> list[Path]:
    """The pictures, videos and recordings of a folder, itself only; ``2.png`` before ``10.png``.

    A warning lists other files and folders, except hidden and ``ignored`` ones. Raises
    ``MediaError`` when there is nothing to read.
    """
    try:
        entries = [path for path in folder.iterdir() if not path.name.startswith(".")]
    except OSError as error:
        raise MediaError(folder, error) from error
    entries = sorted((path for path in entries if not ignored(path)), key=_natural)
    found = [path for path in entries if path.is_file() and kind_of(path) is not None]
    taken = set(found)
    left_out = [path.name + "/" * path.is_dir() for path in entries if path not in taken]
    if not found:
        raise MediaError(folder, "the folder holds no images or videos (sub-folders are not read)")
    if left_out:
        names = ", ".join(left_out[:_NAMED]) + (" ..." if len(left_out) > _NAMED else "")
        _log.warning("%s: left out, neither image nor video: %d (%s)", folder, len(left_out), names)
    return found


def _natural(path: Path) -> list[tuple[int, int | str]]:
    parts = re.split(r"(\d+)", path.name.lower())
    return [(0, int(part)) if part.isdecimal() else (1, part) for part in parts]
