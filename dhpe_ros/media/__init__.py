"""Readers of image files, folders, videos, cameras, rosbag2 recordings; writers of the results.

``open_media(path)`` gives a ``Media``: a name, a count and frame rate where they are known, and
``frames()``. Every frame is an upright ``(H, W, 3)`` uint8 RGB image. An input that cannot be read
raises a ``MediaError`` that names the file and the reason.
"""

from __future__ import annotations

import stat
from pathlib import Path

from dhpe_ros.media.bags import BagImages
from dhpe_ros.media.cameras import CameraDevice
from dhpe_ros.media.frames import (
    MAX_MEGAPIXELS,
    Frame,
    Media,
    MediaError,
    looks_like,
    needs,
)
from dhpe_ros.media.kinds import Kind, is_bag, is_sequence, kind_of, list_folder
from dhpe_ros.media.pictures import Pictures

__all__ = [
    "Frame",
    "Kind",
    "Media",
    "MediaError",
    "is_bag",
    "is_sequence",
    "kind_of",
    "list_folder",
    "open_media",
]


def open_media(
    path: str | Path,
    topic: str = "",
    images: str = "auto",
    max_megapixels: float = MAX_MEGAPIXELS,
    depth: str = "",
) -> Media:
    """The reader for ``path``. Raises ``MediaError`` where there is nothing to read.

    ``topic`` is the image topic of a recording; empty for the colour topic with the most images.
    ``depth`` is that of its depth images, registered to the images; empty for none.
    ``images`` of a recording are ``raw`` or ``rectified``; ``auto`` goes by the topic's name.
    Pictures of more than ``max_megapixels`` are refused before they are decoded.
    """
    path = Path(path)
    try:
        status = path.stat()
        if stat.S_ISREG(status.st_mode):
            path.open("rb").close()
    except OSError as error:
        raise MediaError(path, error) from error
    if is_bag(path):
        return BagImages(path, topic, images, max_megapixels, depth)
    if stat.S_ISDIR(status.st_mode):
        paths = [found for found in list_folder(path) if kind_of(found) is Kind.PICTURE]
        if not paths:
            raise MediaError(path, "the folder holds no images")
        return Pictures(path, paths, True, max_megapixels)
    if stat.S_ISCHR(status.st_mode):
        return CameraDevice(path)
    if not stat.S_ISREG(status.st_mode):
        raise MediaError(path, "is neither a file, a folder nor a camera")
    if status.st_size == 0:
        raise MediaError(path, "is empty")
    kind = kind_of(path)
    if kind is Kind.PICTURE:
        return Pictures(path, [path], False, max_megapixels)
    if kind is Kind.VIDEO:
        with needs("av", path):  # imported here, so that the node starts without FFmpeg
            from dhpe_ros.media.videos import VideoFile
        return VideoFile(path, max_megapixels)
    raise MediaError(
        path, f"is neither a picture nor a video that can be decoded ({looks_like(path)})"
    )
