"""Kind of a file by its content, else by its suffix: picture, video or recording."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

from dhpe_ros.media.signatures import is_picture_signature, read_head

BAG_SUFFIXES = frozenset((".mcap", ".db3"))
BAG_METADATA = "metadata.yaml"


class Kind(Enum):
    """Content of a file."""

    PICTURE = "picture"
    VIDEO = "video"
    RECORDING = "recording"


# A damaged file of such a suffix is an error; any other file beside the pictures is left out.
# fmt: off
_KIND_OF_SUFFIX = dict.fromkeys((
    ".avif", ".bmp", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm",
    ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
), Kind.PICTURE) | dict.fromkeys((
    ".3gp", ".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".ogv", ".webm", ".wmv",
), Kind.VIDEO)
# fmt: on


def kind_of(path: Path) -> Kind | None:
    """The kind of a file or recording; None for anything else."""
    if is_bag(path):
        return Kind.RECORDING
    content = _kind_of_content(path) if path.is_file() else None
    return content or _KIND_OF_SUFFIX.get(path.suffix.lower())


def is_bag(path: Path) -> bool:
    """True for a rosbag2 recording, by its suffix or the metadata in the folder."""
    return (path / BAG_METADATA).is_file() or path.suffix.lower() in BAG_SUFFIXES


def is_sequence(path: Path) -> bool:
    """True for many pictures of one camera: a video or a recording."""
    return kind_of(path) in (Kind.VIDEO, Kind.RECORDING)


def _kind_of_content(path: Path) -> Kind | None:
    try:
        head = read_head(path)
    except OSError:  # whoever reads the file reports it
        return None
    if not head:
        return None
    if is_picture_signature(head):
        return Kind.PICTURE
    # Imported here, so that the node, which needs neither Pillow nor FFmpeg, starts without them.
    from dhpe_ros.media.pictures import is_picture

    if is_picture(path):
        return Kind.PICTURE
    try:
        from dhpe_ros.media.videos import is_video
    except ImportError:  # without PyAV the name alone tells
        return None
    return Kind.VIDEO if is_video(path) else None
