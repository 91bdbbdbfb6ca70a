"""The kind of a file: as its bytes say, and as its name says only where they say nothing."""

from __future__ import annotations

from enum import Enum
from pathlib import Path

BAG_SUFFIXES = frozenset((".mcap", ".db3"))
BAG_METADATA = "metadata.yaml"


class Kind(Enum):
    """What a file holds."""

    PICTURE = "picture"
    VIDEO = "video"
    RECORDING = "recording"


# Names that promise a picture or a video: a damaged file of such a name is an error, and not just
# one of the files beside the pictures.
# fmt: off
_PROMISES = dict.fromkeys((
    ".avif", ".bmp", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm",
    ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
), Kind.PICTURE) | dict.fromkeys((
    ".3gp", ".avi", ".flv", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".ogv", ".webm", ".wmv",
), Kind.VIDEO)
# fmt: on

# The first bytes of pictures; also damaged ones, and those whose decoder is missing.
_BEGINNINGS = {
    b"\xff\xd8\xff": "a damaged JPEG",
    b"\x89PNG": "a damaged PNG",
    b"II*\x00": "a damaged TIFF",
    b"MM\x00*": "a damaged TIFF",
}
_HEIF_BRANDS = frozenset((b"heic", b"heix", b"hevc", b"hevx", b"mif1", b"msf1", b"avif", b"avis"))


def kind_of(path: Path) -> Kind | None:
    """The kind of the file or recording ``path``; None for anything else."""
    if is_bag(path):
        return Kind.RECORDING
    return (_kind_of_content(path) if path.is_file() else None) or _promise(path)


def is_bag(path: Path) -> bool:
    """Whether ``path`` is a rosbag2 recording, by its name and the files beside it."""
    return (path / BAG_METADATA).is_file() or path.suffix.lower() in BAG_SUFFIXES


def is_sequence(path: Path) -> bool:
    """Whether it has many pictures of one camera: a video or a recording."""
    return kind_of(path) in (Kind.VIDEO, Kind.RECORDING)


def looks_like(path: Path) -> str:
    """What the first bytes of a file that cannot be read say, for the message."""
    head = _head(path)
    if _is_heif(head):
        return (
            "HEIC or AVIF, damaged or without a decoder here: pip install pillow-heif, or convert "
            "it to JPEG"
        )
    for beginning, meaning in (_BEGINNINGS | {b"%PDF": "a PDF"}).items():
        if head.startswith(beginning):
            return meaning
    is_text = all(byte >= 32 or byte in b"\t\n\r" for byte in head)
    return "it holds text" if is_text else "damaged, or of an unknown format"


def _promise(path: Path) -> Kind | None:
    return _PROMISES.get(path.suffix.lower())


def _kind_of_content(path: Path) -> Kind | None:
    try:
        head = _head(path)
    except OSError:  # said by whoever reads it
        return None
    if not head:
        return None
    if _is_heif(head) or head.startswith(tuple(_BEGINNINGS)):
        return Kind.PICTURE
    # Loaded here, so that the node, which needs neither, does not wait for them.
    from dhpe_ros.media import pictures, videos

    if pictures.is_picture(path):
        return Kind.PICTURE
    return Kind.VIDEO if videos.is_video(path) else None


def _is_heif(head: bytes) -> bool:
    return head[4:8] == b"ftyp" and head[8:12] in _HEIF_BRANDS


def _head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(64)
