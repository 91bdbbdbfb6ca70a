"""Writer of rosbag2 recordings of the node's messages, by ``rosbags``; needs no ROS."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_types_from_msg, get_typestore

from dhpe_ros.files.resources import shared_file
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media.camera_messages import info_fields
from dhpe_ros.media.frames import Frame
from dhpe_ros.media.hand_fields import hand_fields, mesh_fields, points_fields, wrist_pose
from dhpe_ros.rendering.overlay import hand_mask
from dhpe_ros.types import Hand

STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
TOPICS = {
    "hands": "dhpe_ros/msg/HandArray",
    "meshes": "dhpe_ros/msg/HandMesh",
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
        for name in ("Hand", "HandArray", "HandMesh"):
            text = shared_file(f"msg/{name}.msg").read_text()
            self._types.register(get_types_from_msg(text, f"dhpe_ros/msg/{name}"))
        self._connections: dict[str, Any] = {}

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
        for name, kind in TOPICS.items():
            self._connections[name] = self._writer.add_connection(
                f"{_NAMESPACE}{name}", kind, typestore=self._types
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Complete the recording, also after an error or Ctrl-C."""
        self._writer.close()
        shutil.rmtree(self._folder, ignore_errors=True)
        (self._unfinished / self._folder.name).rename(self._folder)
        self._unfinished.rmdir()

    def write(self, frame: Frame, camera: Camera | None, hands: Sequence[Hand]) -> None:
        """Write the messages of one frame with its stamp; without a camera, K is zero.

        The recording of an input without a clock, as a video, begins at time zero.
        """
        time_ns = frame.time_ns if frame.time_ns is not None else round(frame.stamp_s * 1e9)
        header = self._header(time_ns, frame.frame_id)
        height, width = frame.image.shape[:2]
        self._write("hands", time_ns, header=header, hands=[self._hand(hand) for hand in hands])
        for hand in hands:
            self._write("meshes", time_ns, header=header, **mesh_fields(hand))
        mask = hand_mask(hands, height, width)
        self._write(
            "mask", time_ns, header=header, height=height, width=width, encoding="mono8",
            is_bigendian=0, step=width, data=mask.ravel(),
        )  # fmt: skip
        self._write("camera_info", time_ns, **self._camera_info(header, camera, width, height))
        self._write("points", time_ns, **self._points(header, hands))

    def _write(self, name: str, time_ns: int, **fields: Any) -> None:
        kind = TOPICS[name]
        data = self._types.serialize_cdr(self._make(kind, **fields), kind)
        self._writer.write(self._connections[name], time_ns, data)

    def _make(self, kind: str, **fields: Any) -> Any:
        return self._types.types[kind](**fields)

    def _header(self, time_ns: int, frame_id: str) -> Any:
        seconds, nanoseconds = divmod(time_ns, 10**9)
        stamp = self._make("builtin_interfaces/msg/Time", sec=seconds, nanosec=nanoseconds)
        return self._make("std_msgs/msg/Header", stamp=stamp, frame_id=frame_id)

    def _hand(self, hand: Hand) -> Any:
        position, orientation = wrist_pose(hand)
        pose = self._make(
            "geometry_msgs/msg/Pose",
            position=self._make("geometry_msgs/msg/Point", **position),
            orientation=self._make("geometry_msgs/msg/Quaternion", **orientation),
        )
        return self._make("dhpe_ros/msg/Hand", wrist_pose=pose, **hand_fields(hand))

    def _camera_info(
        self, header: Any, camera: Camera | None, width: int, height: int
    ) -> dict[str, Any]:
        if camera is not None:
            fields = info_fields(camera)
        else:
            fields = {"width": width, "height": height, "distortion_model": "", "d": np.zeros(0)}
            fields |= {"k": np.zeros(9), "r": np.zeros(9), "p": np.zeros(12)}
        whole = self._make(
            "sensor_msgs/msg/RegionOfInterest",
            x_offset=0, y_offset=0, height=0, width=0, do_rectify=False,
        )  # fmt: skip
        return {
            "header": header,
            **fields,
            "binning_x": 0,
            "binning_y": 0,
            "roi": whole,
        }

    def _points(self, header: Any, hands: Sequence[Hand]) -> dict[str, Any]:
        fields = points_fields(hands)
        kind = "sensor_msgs/msg/PointField"
        fields["fields"] = [self._make(kind, **field) for field in fields["fields"]]
        return {"header": header, **fields}
