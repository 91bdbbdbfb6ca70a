"""Writer and reader of rosbag2 recordings of the node's messages, by ``rosbags``; needs no ROS."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from rosbags.highlevel import AnyReader
from rosbags.interfaces import Nodetype
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from dhpe_ros.files.resources import shared_file
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media.camera_messages import info_fields
from dhpe_ros.media.frames import Frame
from dhpe_ros.media.hand_fields import hand_fields, mesh_fields, points_fields
from dhpe_ros.rendering.overlay import hand_mask
from dhpe_ros.types import JOINT_COUNT, JOINT_NAMES, Hand, Scale

STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
TOPICS = {
    "hands": "dhpe_ros/msg/HandArray",
    "meshes": "dhpe_ros/msg/HandMeshArray",
    "mask": "sensor_msgs/msg/Image",
    "camera_info": "sensor_msgs/msg/CameraInfo",
    "points": "sensor_msgs/msg/PointCloud2",
}
_NAMESPACE = "/hand/"  # the node's own


class HandBag:
    """A recording of the messages that the node would publish; use it in ``with``.

    It appears under its name when it is complete, and replaces an earlier one.
    """

    def __init__(self, folder: Path, storage: str = "mcap") -> None:
        self._folder = folder
        self._unfinished = folder.with_name(f".{folder.name}.unfinished")
        self._storage = STORAGES[storage]
        self._types = get_typestore(Stores.LATEST)
        for name in ("Hand", "HandArray", "HandMesh", "HandMeshArray"):
            text = shared_file(f"msg/{name}.msg").read_text()
            self._types.register(get_types_from_msg(text, f"dhpe_ros/msg/{name}"))

    def __enter__(self) -> HandBag:
        if self._folder.exists() and not (self._folder / "metadata.yaml").is_file():
            raise FileExistsError(
                f"{self._folder} exists and is no recording; move it away, or choose another folder"
            )
        shutil.rmtree(self._unfinished, ignore_errors=True)
        self._unfinished.mkdir()
        path = self._unfinished / self._folder.name
        self._writer = Writer(path, version=9, storage_plugin=self._storage)
        self._writer.open()
        self._connections = {
            name: self._writer.add_connection(_NAMESPACE + name, kind, typestore=self._types)
            for name, kind in TOPICS.items()
        }
        return self

    def __exit__(self, *_: object) -> None:
        """Complete the recording, also after an error or Ctrl-C."""
        self._writer.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        (self._unfinished / self._folder.name).rename(self._folder)
        self._unfinished.rmdir()

    def write(self, frame: Frame, camera: Camera, hands: Sequence[Hand]) -> None:
        """Write the messages of one frame with its stamp; K of an assumed camera is zero.

        The recording of an input without a clock, as a video, begins at time zero.
        """
        time_ns = frame.time_ns if frame.time_ns is not None else round(frame.stamp_s * 1e9)
        height, width = frame.image.shape[:2]
        mask = hand_mask(hands, height, width)
        size = {"height": height, "width": width}
        messages = [
            ("hands", {"hands": [hand_fields(hand) for hand in hands]}),
            ("meshes", {"meshes": [mesh_fields(hand) for hand in hands]}),
            ("mask", {**size, "encoding": "mono8", "step": width, "data": mask.ravel()}),
            ("camera_info", size if camera.assumed else info_fields(camera)),
            ("points", points_fields(hands)),
        ]
        seconds, nanoseconds = divmod(time_ns, 10**9)
        stamp = {"sec": seconds, "nanosec": nanoseconds}
        header = {"stamp": stamp, "frame_id": frame.frame_id}
        for name, fields in messages:
            message = self._message(TOPICS[name], {"header": header, **fields})
            data = self._types.serialize_cdr(message, TOPICS[name])
            self._writer.write(self._connections[name], time_ns, data)

    def _message(self, kind: str, fields: dict[str, Any]) -> Any:
        """A message of nested ``fields``; a field that is not given is zero or empty."""
        values = {
            name: self._value(node, fields.get(name))
            for name, node in self._types.fielddefs[kind][1]
        }
        return self._types.types[kind](**values)

    def _value(self, node: Any, value: Any) -> Any:
        nodetype, about = node
        if nodetype is Nodetype.NAME:
            return self._message(about, value or {})
        if nodetype is Nodetype.BASE:
            return ("" if about[0] == "string" else 0) if value is None else value
        part, length = about  # of an array, or of a sequence with length 0
        if part[0] is Nodetype.NAME:
            return [self._message(part[1], one) for one in value or ()]
        return np.zeros(length, part[1][0]) if value is None else value


def read_hands(folder: Path, topic: str = "/hand/hands") -> Iterator[tuple[int, list[Any]]]:
    """Stamp in nanoseconds and hands of every message of a recording, with today's fields.

    ``topic`` is one of HandArray, or of the meshes. Of older recordings, ``metric`` is read as
    ``intrinsics_known``, other fields that they lack are not known (NaN, not occluded), and a mesh
    has a message of its own. Raises ``ValueError`` for a recording without the topic.
    """
    with AnyReader([folder]) as reader:
        connections = [c for c in reader.connections if c.topic == topic]
        if not connections:
            there = ", ".join(sorted({c.topic for c in reader.connections}))
            raise ValueError(f"{folder} has no topic {topic}; it has {there or 'none'}")
        for connection, _, data in reader.messages(connections):
            message: Any = reader.deserialize(data, connection.msgtype)
            stamp = message.header.stamp
            if connection.msgtype == TOPICS["hands"]:
                found = [_as_today(hand) for hand in message.hands]
            else:
                found = getattr(message, "meshes", [message])
            yield stamp.sec * 10**9 + stamp.nanosec, found


def _as_today(hand: Any) -> Any:
    """A hand message, of whatever age, with today's fields."""
    fields = vars(hand)
    if "metric" not in fields:
        return hand
    unknown = np.full(JOINT_COUNT, np.nan, np.float32)
    quaternion = SimpleNamespace(x=np.nan, y=np.nan, z=np.nan, w=np.nan)
    return SimpleNamespace(
        **{name: value for name, value in fields.items() if name != "metric"},
        joint_names=list(JOINT_NAMES),
        joint_stds_m=unknown,
        joint_orientations=[quaternion] * JOINT_COUNT,
        occluded=np.zeros(JOINT_COUNT, bool),
        contact_distances=unknown[:5],
        intrinsics_known=hand.metric,
        scale_std=Scale(hand.scale).std,
    )
