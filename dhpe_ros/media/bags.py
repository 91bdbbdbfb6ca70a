"""Reader of rosbag2 recordings, by the package ``rosbags``; needs no ROS."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from dhpe_ros.config import NodeConfig
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media.camera_messages import (
    camera_from_info,
    describe_reading,
    has_distortion,
    is_rectified,
)
from dhpe_ros.media.frames import MAX_MEGAPIXELS, Frame, MediaError, needs
from dhpe_ros.media.image_messages import (
    compressed_to_rgb,
    depth_to_metres,
    image_to_rgb,
    stamp_ns,
)
from dhpe_ros.media.white_level import WhiteLevel

_DECODERS = {
    "sensor_msgs/msg/Image": image_to_rgb,
    "sensor_msgs/msg/CompressedImage": compressed_to_rgb,
}
_CAMERA_INFO = "sensor_msgs/msg/CameraInfo"
# Parts of the names of image topics that are not the colour camera's.
_NOT_COLOUR = ("depth", "disparity", "mask", "overlay", "theora", "confidence")
_DEPTH_TOLERANCE_S = NodeConfig.depth_tolerance  # the default
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
        depth_topic: str = "",
    ) -> None:
        self.path = path
        self.name = str(path)
        self._depth_topic = depth_topic
        self._depth_faults: set[str] = set()  # that were told
        self._images_option = images
        self._max_megapixels = max_megapixels
        with _open(path) as reader:
            counts = {
                name: info.msgcount
                for name, info in reader.topics.items()
                if info.msgtype in _DECODERS and info.msgcount
            }
            if not counts:
                none = "the recording has no images (sensor_msgs/Image or CompressedImage)"
                raise MediaError(path, none)
            self.topic = topic or self._most_likely(counts)
            for wanted in filter(None, (self.topic, depth_topic)):
                if wanted not in counts:
                    there = ", ".join(sorted(counts))
                    none = f"the recording has no images on {wanted}; it has {there}"
                    raise MediaError(path, none)
            self.count: int | None = counts[self.topic]
            # The rate of the first images: other topics may last longer, and a camera may pause.
            first = islice(self._messages(reader, self.topic), _RATE_IMAGES)
            steps_ns = np.diff([received_ns for received_ns, _ in first])
            step_ns = float(np.median(steps_ns)) if steps_ns.size else 0.0
            self.rate_hz = 1e9 / step_ns if step_ns > 0 else None

    def frames(self) -> Iterator[Frame]:
        white, start_ns = WhiteLevel(), None
        cameras: dict[tuple[int, ...], Camera | None] = {}  # of each size of images
        with _open(self.path) as reader, _open(self.path) as beside:
            infos = self._camera_infos(reader)
            images = self._messages(reader, self.topic)
            depths = _Nearest(self._messages(beside, self._depth_topic))
            for index, (received_ns, message) in enumerate(images):
                start_ns = received_ns if start_ns is None else start_ns
                try:
                    decode = _DECODERS[message.__msgtype__]
                    image = decode(message, self._max_megapixels, white)
                except ValueError as error:
                    raise MediaError(self.path, f"{self.topic}: {error}") from error
                size = image.shape[:2]
                if size not in cameras:
                    cameras[size] = self._camera(infos, *size)
                time_ns = stamp_ns(message.header.stamp) or received_ns
                yield Frame(
                    image,
                    f"{self.name} frame {index}",
                    index,
                    stamp_s=(received_ns - start_ns) / 1e9,
                    camera=cameras[size],
                    time_ns=time_ns,
                    frame_id=message.header.frame_id,
                    depth_m=self._depth(depths.at(time_ns), *size),
                )

    def _depth(self, message: Any, height: int, width: int) -> np.ndarray | None:
        """Metres of a depth image, or None where there is none of use."""
        if not self._depth_topic:
            return None
        try:
            if message is None:
                raise ValueError(f"none is within {_DEPTH_TOLERANCE_S:g} s of the image")
            depth_m = depth_to_metres(message)
            if depth_m.shape != (height, width):
                raise ValueError(
                    f"{message.width}x{message.height} pixels, the image has {width}x{height}: "
                    "record the camera's aligned depth topic"
                )
        except ValueError as error:
            if str(error) not in self._depth_faults:
                self._depth_faults.add(str(error))
                _log.warning("%s: depth of %s is not used: %s", self.name, self._depth_topic, error)
            return None
        return depth_m

    def _messages(self, reader: Any, topic: str) -> Iterator[tuple[int, Any]]:
        """Times of recording, nanoseconds, and messages of a topic."""
        connections = [c for c in reader.connections if c.topic == topic]
        if not connections:  # which would mean all
            return
        try:
            for connection, received_ns, data in reader.messages(connections):
                yield received_ns, reader.deserialize(data, connection.msgtype)
        except (ValueError, RuntimeError, OSError) as error:
            raise MediaError(self.path, f"the recording is damaged: {error}") from error

    def _most_likely(self, counts: dict[str, int]) -> str:
        colour = {t: n for t, n in counts.items() if not any(word in t for word in _NOT_COLOUR)}
        topic = max(colour or counts, key=lambda name: (counts[name], -len(name)))
        if others := ", ".join(sorted(set(counts) - {topic})):
            text = "%s: taking the images of %s; also there: %s"
            _log.warning(text, self.name, topic, others)
        return topic

    def _camera_infos(self, reader: Any) -> list[Any]:
        """The first camera_info of each topic beside the image topic, the nearest topic first."""
        topics = [str(folder / "camera_info") for folder in PurePosixPath(self.topic).parents]
        there = [t for t in topics if t in reader.topics]
        return [
            info
            for topic in there
            if reader.topics[topic].msgtype == _CAMERA_INFO
            for _, info in islice(self._messages(reader, topic), 1)
        ]

    def _camera(self, infos: list[Any], height: int, width: int) -> Camera | None:
        """The camera of the first camera_info that fits images of that size, or None."""
        reasons = []
        for info in infos:
            rectified = is_rectified(info, self.topic, self._images_option)
            try:
                camera = camera_from_info(info, width, height, rectified=rectified)
            except ValueError as error:
                reasons.append(error)
                continue
            if has_distortion(info):
                reading = describe_reading(info, self.topic, rectified)
                _log.warning("%s: %s", self.name, reading)
            return camera
        for reason in reasons:
            _log.warning("%s: %s; it is not used", self.name, reason)
        return None


class _Nearest:
    """The messages of a topic that are nearest to times that rise."""

    def __init__(self, messages: Iterator[tuple[int, Any]]) -> None:
        """``messages`` with their times of recording, in order."""
        self._timed = ((stamp_ns(m.header.stamp) or received, m) for received, m in messages)
        self._about = [next(self._timed, None)] * 2  # before, or nearest so far; after

    def at(self, time_ns: int) -> Any:
        """The message of that time, within the tolerance; None if there is none."""
        before, after = self._about
        while after is not None and after[0] <= time_ns:
            before, after = after, next(self._timed, None)
        self._about = [before, after]
        away = {abs(m[0] - time_ns): m[1] for m in (before, after) if m is not None}
        nearest = min(away, default=None)
        return None if nearest is None or nearest > _DEPTH_TOLERANCE_S * 1e9 else away[nearest]


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
