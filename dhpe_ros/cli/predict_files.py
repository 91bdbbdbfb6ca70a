"""Writers of the files of ``dhpe predict`` for one input."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dhpe_ros.cli.output_names import CLIP_SUFFIX, OVERLAY_SUFFIX
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.hand.mano_parameters import mano_parameters
from dhpe_ros.hand.model import HandModel
from dhpe_ros.media.camera_messages import info_fields
from dhpe_ros.media.frames import Frame, Media, needs, shrunk
from dhpe_ros.media.hand_fields import joint_orientations
from dhpe_ros.media.mesh_io import write_mesh
from dhpe_ros.rendering.overlay import draw_overlay
from dhpe_ros.types import ANGLE_NAMES, JOINT_NAMES, Hand

OVERLAY_QUALITY = 92

_MESH_COMMENT = "{side} hand of {name}\nmetres; {axes}"
_MESH_AXES = {
    "obj": "camera optical frame: x right, y down, z forward",
    "ply": "camera optical frame: x right, y down, z forward",
    "glb": "camera frame of glTF: x right, y up, z backward",
}
_JPEG_SIDE = 65_500  # maximum, in pixels


class ResultFiles:
    """Writes JSON, overlays and meshes of one input; use it in ``with``.

    A sequence has a JSON file a frame, a clip, and a mesh of each track, of its best frame or of
    every frame. A picture has one JSON file, a JPEG, and a mesh of each hand. ``mesh`` is the
    meshes' suffix, or ``none``.
    """

    def __init__(
        self,
        media: Media,
        folder: Path,
        stem: str,
        hand_model: HandModel,
        mesh: str = "obj",
        every_mesh: bool = False,
        overlay: bool = True,
    ) -> None:
        self._image, self._is_sequence = media.name, media.is_sequence
        self._path = folder / stem
        self._hand_model = hand_model
        self._mesh, self._every_mesh = mesh, every_mesh or not media.is_sequence
        self._overlay = overlay
        self._best: dict[int, tuple[Hand, str]] = {}  # of each track
        self._clip = None
        if self._is_sequence and overlay:
            with needs("av", media.name):
                from dhpe_ros.media.clips import ClipWriter
            self._clip = ClipWriter(f"{self._path}{CLIP_SUFFIX}", media.rate_hz)

    def __enter__(self) -> ResultFiles:
        return self

    def __exit__(self, *error: object) -> None:
        """Write the best meshes: a camera ends by Ctrl-C, a damaged video by an error."""
        try:
            if self._clip is not None:
                self._clip.__exit__(*error)
        finally:
            for k, (_, (hand, name)) in enumerate(sorted(self._best.items())):
                self._write_mesh(f"{self._path}_{k}", hand, name)

    def write(self, frame: Frame, camera: Camera, hands: Sequence[Hand]) -> None:
        """Write the results of a frame. Raises ``OSError``."""
        path = f"{self._path}_{frame.index:06d}" if self._is_sequence else str(self._path)
        found = [hand_as_mapping(hand, self._hand_model) for hand in hands]
        content: dict[str, Any] = {"image": self._image}
        if self._is_sequence:
            content |= {"frame": frame.index, "stamp_s": round(frame.stamp_s, 6)}
            found = [{"track_id": h.track_id, **f} for h, f in zip(hands, found, strict=True)]
        content |= {"camera": camera_as_mapping(camera), "hands": found}
        write_json(Path(f"{path}.json"), content)
        if self._clip is not None:
            self._clip.write(draw_overlay(frame.image, hands), frame.stamp_s)
        elif self._overlay:
            write_overlay(Path(f"{path}{OVERLAY_SUFFIX}"), frame.image, hands)
        best = self._best
        for k, hand in enumerate(hands if self._mesh != "none" else ()):
            if self._every_mesh:
                self._write_mesh(f"{path}_{k}", hand, frame.name)
            elif hand.track_id not in best or hand.score > best[hand.track_id][0].score:
                best[hand.track_id] = (hand, frame.name)

    def _write_mesh(self, path: str, hand: Hand, name: str) -> None:
        write_hand_mesh(Path(f"{path}.{self._mesh}"), hand, name)


def camera_as_mapping(camera: Camera) -> dict[str, Any]:
    """A camera as in the JSON: the fields of ``sensor_msgs/CameraInfo``."""
    plain = {key: np.asarray(value).tolist() for key, value in info_fields(camera).items()}
    return {"known": not camera.assumed, **plain}


def hand_as_mapping(hand: Hand, hand_model: HandModel) -> dict[str, Any]:
    """One hand as in the JSON: pixels, metres in the camera's optical frame."""
    residuals = hand.refinement.residual_before_px, hand.refinement.residual_after_px
    mano = mano_parameters(hand, hand_model)._asdict()
    return {
        "side": hand.side.name.lower(),
        "score": _rounded(hand.score, 4),
        "box_px": _rounded(hand.box.as_array(), 2),
        "joints_px": _rounded(hand.joints_px, 3),
        "joints_m": _rounded(hand.joints_m, 6),
        "joint_names": list(JOINT_NAMES),
        "joint_stds_m": _rounded(hand.joint_stds_m, 6),
        "joint_confidences": _rounded(hand.joint_confidences, 4),
        "joint_orientations": _rounded(joint_orientations(hand), 6),
        "joint_angles": dict(zip(ANGLE_NAMES, _rounded(hand.joint_angles, 5), strict=True)),
        "occluded": hand.occluded.tolist(),
        "parameters": _rounded(hand.parameters, 6),
        "mano": {key: _rounded(value, 6) for key, value in mano.items()},
        "contact_distances": _rounded(hand.contact_distances, 6),
        "intrinsics_known": bool(hand.intrinsics_known),
        "scale": hand.scale.name.lower(),
        "scale_std": hand.scale.std,
        "residual_px": _rounded(residuals, 3),
    }


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write readable JSON, with one line per list of numbers or names; all of it or nothing."""
    text = json.dumps(content, indent=2, allow_nan=False)
    flat = re.compile(r"\[\n[^][{}]*\]")
    partial = path.with_name(f".{path.name}.part")
    partial.write_text(flat.sub(lambda match: " ".join(match[0].split()), text) + "\n", "utf-8")
    os.replace(partial, path)


def write_overlay(path: Path, image: np.ndarray, hands: Sequence[Hand]) -> None:
    """Write the hands drawn over ``(H, W, 3)`` uint8 RGB as JPEG, shrunk to its maximum size.

    Raises ``OSError``.
    """
    overlay = shrunk(draw_overlay(image, hands), _JPEG_SIDE / max(image.shape))
    quality = [cv2.IMWRITE_JPEG_QUALITY, OVERLAY_QUALITY]
    encoded = cv2.imencode(".jpg", cv2.cvtColor(overlay, cv2.COLOR_RGB2BGR), quality)[1]
    path.write_bytes(encoded.tobytes())


def write_hand_mesh(path: Path, hand: Hand, name: str) -> None:
    """Write the hand's surface as the path's suffix says. Raises ``OSError``."""
    side, axes = hand.side.name.lower(), _MESH_AXES[path.suffix[1:]]
    comment = _MESH_COMMENT.format(side=side, name=name, axes=axes)
    write_mesh(path, hand.vertices_m, hand.triangles, hand.normals, comment)


def _rounded(values: Any, digits: int) -> Any:
    """Plain Python numbers; ``None`` for those that are not finite, which JSON lacks."""
    rounded = np.asarray(np.round(np.asarray(values, np.float64), digits))  # scalars too
    plain = np.array(rounded, object)
    plain[~np.isfinite(rounded)] = None
    return plain.tolist()
