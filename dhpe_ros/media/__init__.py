"""Pictures from wherever users keep them: image files, folders, videos, cameras, rosbag2.

``open_media(path)`` gives a ``Media``: a name, a count and frame rate where they are known, and
``frames()``. Every frame is an upright ``(H, W, 3)`` uint8 RGB image. Whatever cannot be read is a
``MediaError`` whose text names the file and the reason.
"""

from __future__ import annotations

import stat
from pathlib import Path

from dhpe_ros.media.bags import BagImages
from dhpe_ros.media.frames import Frame, Media, MediaError, reason
from dhpe_ros.media.pictures import ImageFile, ImageFolder, list_folder
from dhpe_ros.media.suffixes import BAG_METADATA, BAG_SUFFIXES, VIDEO_SUFFIXES
from dhpe_ros.media.videos import VideoFile

__all__ = ["Frame", "Media", "MediaError", "is_bag", "is_sequence", "list_folder", "open_media"]


def open_media(path: str | Path, topic: str = "", images: str = "auto") -> Media:
    """The reader that suits ``path``. Raises ``MediaError`` where there is nothing to read.

    ``topic`` picks the image topic of a recording; empty lets the recording decide. ``images``
    says whether these are ``raw`` or ``rectified``; ``auto`` goes by the topic's name.
    """
    path = Path(path)
    try:
        mode = path.stat().st_mode
    except OSError as error:
        raise MediaError(path, reason(error)) from error
    if stat.S_ISDIR(mode):
        return BagImages(path, topic, images) if is_bag(path) else ImageFolder(path)
    if stat.S_ISCHR(mode):
        return VideoFile(path, is_camera=True)
    if not stat.S_ISREG(mode):
        raise MediaError(path, "is neither a file, a folder nor a camera")
    if is_bag(path):
        return BagImages(path, topic, images)
    return VideoFile(path) if path.suffix.lower() in VIDEO_SUFFIXES else ImageFile(path)


def is_bag(path: Path) -> bool:
    """Whether ``path`` is a rosbag2 recording, by its name and the files beside it."""
    return (path / BAG_METADATA).is_file() or path.suffix.lower() in BAG_SUFFIXES


def is_sequence(path: Path) -> bool:
    """Whether it has many pictures of one camera: a video, by its name, or a recording."""
    return path.suffix.lower() in VIDEO_SUFFIXES or is_bag(path)
