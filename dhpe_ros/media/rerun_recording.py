"""Writer of recordings for the viewer rerun, by its SDK."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import rerun as rr
from rerun import blueprint

from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media.frames import Frame
from dhpe_ros.rendering.overlay import FINGER_COLORS, MESH_COLOR
from dhpe_ros.types import BONES, Hand

_JPEG_QUALITY = 85
_JOINT_COLORS = np.array(((255, 255, 255), *np.repeat(FINGER_COLORS, 4, axis=0)), np.uint8)
_BONE_COLORS = _JOINT_COLORS[[end for _, end in BONES]]
_JOINT_PX, _BONE_PX = rr.Radius.ui_points(3.5), rr.Radius.ui_points(1.5)
_JOINT_M, _BONE_M = 0.003, 0.0015
_SCREEN_M = 1.0  # from the camera to the picture in space: behind most hands
_MESH_RGBA = (*MESH_COLOR, 140)  # the bones inside show through


class RerunRecording:
    """An ``.rrd`` file of pictures, and of hands in them and in space; use it in ``with``.

    ``depth`` is true where depth images come: the layout then shows them too.

    Timelines: ``picture`` counts them over all inputs; ``stamp`` is the time since an input's
    first frame. Space is the camera's optical frame, in metres.
    """

    def __init__(self, path: Path, depth: bool = False) -> None:
        """Raises ``OSError``."""
        path.open("wb").close()  # rerun would tell only its log
        self._count = 0
        self._stream = rr.RecordingStream("dhpe")
        self._stream.set_log_time_enabled(False)
        flat = [
            blueprint.Spatial2DView(
                origin="camera", contents=["$origin/**", f"- $origin/{hidden}"], name=name
            )
            for name, hidden in (("Picture", "depth"), ("Depth", "image"))[: 1 + depth]
        ]
        space = blueprint.Spatial3DView(origin="/", name="Space")
        views = blueprint.Horizontal(blueprint.Vertical(*flat), space)
        self._stream.save(path, blueprint.Blueprint(views, collapse_panels=True))
        self._stream.log("/", rr.ViewCoordinates.RDF, static=True)

    def __enter__(self) -> RerunRecording:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.disconnect()

    def write(self, image: str, frame: Frame, camera: Camera, hands: Sequence[Hand]) -> None:
        """Append a frame of the input ``image``."""
        log = self._stream.log
        self._stream.set_time("picture", sequence=self._count)
        self._stream.set_time("stamp", duration=frame.stamp_s)
        self._count += 1
        matrix = np.array(((camera.fx, 0, camera.cx), (0, camera.fy, camera.cy), (0, 0, 1)))
        size = camera.width, camera.height
        lens = rr.Pinhole(image_from_camera=matrix, resolution=size, image_plane_distance=_SCREEN_M)
        log("camera", lens, rr.Transform3D(mat3x3=np.array(camera.rotation or np.eye(3))))
        picture = rr.Image(frame.image).compress(jpeg_quality=_JPEG_QUALITY)
        log("camera/image", picture, rr.AnyValues(input=image, frame=frame.index))
        if frame.depth_m is not None:
            depth_mm = np.nan_to_num(frame.depth_m * 1e3).clip(0, 65_535).astype(np.uint16)
            log("camera/depth", rr.DepthImage(depth_mm, meter=1e3))
        for entity in ("camera/hands", "hands"):  # those of the picture before
            log(entity, rr.Clear(recursive=True))
        for k, hand in enumerate(hands):
            number = hand.track_id or k  # no tracks in single pictures
            for space, joints, joint_size, bone_size, points, strips in (
                ("camera/hands", hand.joints_px, _JOINT_PX, _BONE_PX, rr.Points2D, rr.LineStrips2D),
                ("hands", hand.joints_m, _JOINT_M, _BONE_M, rr.Points3D, rr.LineStrips3D),
            ):
                entity = f"{space}/{number}"
                log(f"{entity}/joints", points(joints, colors=_JOINT_COLORS, radii=joint_size))
                bones = joints[np.array(BONES)]
                log(f"{entity}/bones", strips(bones, colors=_BONE_COLORS, radii=bone_size))
            mesh = rr.Mesh3D(
                vertex_positions=hand.vertices_m,
                vertex_normals=hand.normals,
                triangle_indices=hand.triangles,
                albedo_factor=_MESH_RGBA,
            )
            about = rr.AnyValues(side=hand.side.name.lower(), score=hand.score)
            log(f"hands/{number}/mesh", mesh, about)
