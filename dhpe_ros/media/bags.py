"""Reader of rosbag2 recordings, by the package ``rosbags``; needs no ROS."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media.camera_messages import (
    camera_from_info,
    describe_reading,
    has_distortion,
    is_rectified,
)
from dhpe_ros.media.frames import MAX_MEGAPIXELS, Frame, MediaError, needs
from dhpe_ros.media.image_messages import compressed_to_rgb, image_to_rgb, stamp_ns
from dhpe_ros.media.white_level import WhiteLevel

_DECODERS = {
    "sensor_msgs/msg/Image": image_to_rgb,
    "sensor_msgs/msg/CompressedImage": compressed_to_rgb,
}
_CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
# Parts of the names of image topics that are not the colour camera's.
_NOT_COLOUR = ("depth", "disparity", "mask", "overlay", "theora", "confidence")
_RATE_IMAGES = 30  # images that the rate is measured on

_log = logging.getLogger(__name__)


class BagImages:
    """One image topic of a bag folder, ``.mcap`` or ``.db3``, with its camera_info if recorded.

    An empty ``topic`` takes the colour topic with the most messages. ``images`` is that of
    ``is_rectified``. Raises ``MediaError`` when the bag cannot be read or has no such topic.
    """

    is_sequence = True

    def __init__(
        self,
        path: Path,
        topic: str = "",
        images: str = "auto",
        max_megapixels: float = MAX_MEGAPIXELS,
    ) -> None:
        self.path = path
        self._images_option = images
        self._max_megapixels = max_megapixels
        self._logged: set[str] = set()
        self.name = str(path)
        with _open(path) as reader:
            counts = {
                name: info.msgcount
                for name, info in reader.topics.items()
                if info.msgtype in _DECODERS and info.msgcount
            }
            self.topic = topic or _most_likely(path, counts)
            if self.topic not in counts:
                raise MediaError(path, _no_topic(topic, counts))
            self.count: int | None = counts[self.topic]
            self.rate_hz = self._rate_hz(reader)

    def frames(self) -> Iterator[Frame]:
        with _open(self.path) as reader:
            infos = self._camera_infos(reader)
            start_ns, white = None, WhiteLevel()
            for index, (connection, received_ns, data) in enumerate(self._images(reader)):
                start_ns = received_ns if start_ns is None else start_ns
                message = reader.deserialize(data, connection.msgtype)
                image = self._decode(message, connection.msgtype, white)
                yield Frame(
                    image,
                    f"{self.name} frame {index}",
                    index,
                    stamp_s=(received_ns - start_ns) / 1e9,
                    camera=self._camera(infos, image),
                    time_ns=stamp_ns(message.header.stamp) or received_ns,
                    frame_id=message.header.frame_id,
                )

    def _images(self, reader: Any) -> Iterator[tuple[Any, int, bytes]]:
        connections = [c for c in reader.connections if c.topic == self.topic]
        return _messages(reader, connections, self.path)

    def _rate_hz(self, reader: Any) -> float | None:
        """Rate of the first images: other topics may last longer, and a camera may pause."""
        times_ns = [received_ns for _, received_ns, _ in islice(self._images(reader), _RATE_IMAGES)]
        step_ns = float(np.median(np.diff(times_ns))) if len(times_ns) > 1 else 0.0
        return 1e9 / step_ns if step_ns > 0 else None

    def _decode(self, message: Any, message_type: str, white: WhiteLevel) -> np.ndarray:
        try:
            return _DECODERS[message_type](message, self._max_megapixels, white)
        except ValueError as error:
            raise MediaError(self.path, f"{self.topic}: {error}") from error

    def _camera(self, infos: list[Any], image: np.ndarray) -> Camera | None:
        """The camera of the first camera_info that fits the ``(H, W, 3)`` image, or None."""
        height, width = image.shape[:2]
        reasons = []
        for info in infos:
            rectified = is_rectified(info, self.topic, self._images_option)
            try:
                camera = camera_from_info(info, width, height, rectified=rectified)
            except ValueError as error:
                reasons.append(f"{error}; it is not used")
                continue
            if has_distortion(info):
                self._warn(describe_reading(info, self.topic, rectified))
            return camera
        for reason in reasons:
            self._warn(reason)
        return None

    def _warn(self, text: str) -> None:
        """Log once: the next frames have the same camera_info."""
        if text not in self._logged:
            self._logged.add(text)
            _log.warning("%s: %s", self.name, text)

    def _camera_infos(self, reader: Any) -> list[Any]:
        """The first camera_info of each topic beside the image topic, the nearest topic first."""
        infos = []
        for folder in PurePosixPath(self.topic).parents:
            connections = [
                c
                for c in reader.connections
                if c.msgtype == _CAMERA_INFO and c.topic == str(folder / "camera_info")
            ]
            if connections:
                messages = _messages(reader, connections, self.path)
                for connection, _, data in islice(messages, 1):
                    infos.append(reader.deserialize(data, connection.msgtype))
        return infos


def _open(path: Path) -> AbstractContextManager[Any]:
    with needs("rosbags", path):
        from rosbags.highlevel import AnyReader
        from rosbags.typesys import Stores, get_typestore
    try:
        # Recordings from before Iron do not carry the definitions of their messages.
        reader = AnyReader([path], default_typestore=get_typestore(Stores.LATEST))
        reader.open()
    except Exception as error:  # rosbags lets the errors of its storages through
        raise MediaError(path, f"is not a recording that can be read: {error}") from error
    return closing(reader)


def _messages(reader: Any, connections: list[Any], path: Path) -> Iterator[tuple[Any, int, bytes]]:
    try:
        yield from reader.messages(connections)
    except (ValueError, RuntimeError, OSError) as error:
        raise MediaError(path, f"the recording is damaged: {error}") from error


def _most_likely(path: Path, counts: dict[str, int]) -> str:
    if not counts:
        raise MediaError(path, _no_topic("", counts))
    colour = {t: n for t, n in counts.items() if not any(word in t for word in _NOT_COLOUR)}
    candidates = colour or counts
    topic = max(candidates, key=lambda name: (candidates[name], -len(name)))
    if len(counts) > 1:
        others = ", ".join(sorted(set(counts) - {topic}))
        _log.warning("%s: taking the images of %s; also there: %s", path, topic, others)
    return topic


def _no_topic(topic: str, counts: dict[str, int]) -> str:
    if not counts:
        return "the recording has no images (sensor_msgs/Image or CompressedImage)"
    return f"the recording has no images on {topic}; it has {', '.join(sorted(counts))}"
