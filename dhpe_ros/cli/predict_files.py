"""Files that ``dhpe predict`` writes for an input: names that never collide, and their writers."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dhpe_ros.geometry.camera import Camera
from dhpe_ros.hand.mano_parameters import mano_parameters
from dhpe_ros.hand.model import HandModel
from dhpe_ros.media.camera_messages import info_fields
from dhpe_ros.media.frames import Frame, Media, needs, shrunk
from dhpe_ros.media.hand_fields import joint_orientations
from dhpe_ros.media.mesh_io import FORMATS, write_mesh
from dhpe_ros.rendering.overlay import draw_overlay
from dhpe_ros.types import ANGLE_NAMES, JOINT_NAMES, Hand

OVERLAY_SUFFIX = "_overlay.jpg"
CLIP_SUFFIX = "_overlay.mp4"
BAG_SUFFIX = "_bag"
OVERLAY_QUALITY = 92

_MESH_COMMENT = "{side} hand of {name}\nmetres; {axes}"
_MESH_AXES = {
    "obj": "camera optical frame: x right, y down, z forward",
    "ply": "camera optical frame: x right, y down, z forward",
    "glb": "camera frame of glTF: x right, y up, z backward",
}
_MARKS = {".json": rb'^{\n  "image": '} | {  # in the first bytes of our own files
    f".{kind}": rb"\b(left|right) hand of " for kind in FORMATS
}
_MARKED = 2048  # bytes
_LONGEST_ADDITION = 24  # bytes of an output's name beyond its stem
_JPEG_SIDE = 65_500  # maximum, in pixels


class OutputNames:
    """Gives every input a stem of its own; no output replaces an input.

    The folder must exist: its file system limits the length of names.
    """

    def __init__(self, folder: Path, inputs: Iterable[Path]) -> None:
        self._folder = folder.resolve()
        self._inputs = {path.resolve() for path in inputs}
        self._images: set[str] = set()
        self._sequences: set[str] = set()
        self._image_sequences: set[str | None] = set()  # whose frames would be named as images

    def claim(self, path: Path, *, is_sequence: bool) -> str:
        """The input's stem, or ``<stem>_2``, ``<stem>_3`` ... where that is taken."""
        wanted = path.stem or path.name
        most = os.pathconf(self._folder, "PC_NAME_MAX") - _LONGEST_ADDITION
        while len(os.fsencode(wanted)) > most:
            wanted = wanted[:-1]
        names = (wanted if number == 1 else f"{wanted}_{number}" for number in count(1))
        stem = next(name for name in names if not self._is_taken(name, is_sequence))
        if is_sequence:
            self._sequences.add(stem.casefold())
        else:
            self._images.add(stem.casefold())
            self._image_sequences.add(_sequence_of(stem.casefold()))
        return stem

    def _is_taken(self, stem: str, is_sequence: bool) -> bool:
        key = stem.casefold()
        suffixes = (OVERLAY_SUFFIX, CLIP_SUFFIX, ".json", BAG_SUFFIX)
        return (
            key in self._images | self._sequences
            or any(self._folder / f"{stem}{suffix}" in self._inputs for suffix in suffixes)
            or (is_sequence and key in self._image_sequences)
            or (not is_sequence and _sequence_of(key) in self._sequences)
        )


def _sequence_of(stem: str) -> str | None:
    """The stem of the video whose frame has this stem: ``clip`` for ``clip_000012``."""
    match = re.fullmatch(r"(.+)_\d{6,}", stem)
    return match[1] if match else None


def is_own_output(path: Path) -> bool:
    """True for a file that ``dhpe predict`` has written."""
    if path.suffix in _MARKS:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return re.search(_MARKS[path.suffix], file.read(_MARKED)) is not None
    for suffix in (OVERLAY_SUFFIX, CLIP_SUFFIX, BAG_SUFFIX):
        if path.name.endswith(suffix):
            stem = path.name.removesuffix(suffix)
            results = (path.with_name(f"{stem}{rest}") for rest in (".json", f"_{0:06d}.json"))
            return any(map(is_own_output, results))
    return False


def remove_results(folder: Path, stem: str, *, is_sequence: bool) -> None:
    """Remove an earlier run's results for this stem; it may have found more hands or frames."""

    def remove(name: str) -> bool:
        own = (folder / name).is_file() and is_own_output(folder / name)
        if own:
            (folder / name).unlink()
        return own

    def remove_meshes(stem: str) -> None:
        for kind in FORMATS:
            all(remove(f"{stem}_{k}.{kind}") for k in count())  # up to the first that is not there

    remove_meshes(stem)
    remove(f"{stem}{CLIP_SUFFIX if is_sequence else OVERLAY_SUFFIX}")
    if not is_sequence:
        remove(f"{stem}.json")
        return
    for index in count():
        if not remove(f"{stem}_{index:06d}.json"):
            return
        remove_meshes(f"{stem}_{index:06d}")


class ResultFiles:
    """Writes JSON, overlays and meshes of one input; use it in ``with``.

    A sequence has a JSON file a frame, a clip, and a mesh of each track, of its best frame or of
    every frame. A picture has one JSON file, a JPEG, and a mesh of each hand.
    """

    def __init__(
        self,
        media: Media,
        folder: Path,
        stem: str,
        hand_model: HandModel,
        mesh: str = "obj",
        every_mesh: bool = False,
    ) -> None:
        self._image, self._is_sequence = media.name, media.is_sequence
        self._path = folder / stem
        self._hand_model = hand_model
        self._mesh, self._every_mesh = mesh, every_mesh or not media.is_sequence
        self._best: dict[int, tuple[Hand, str]] = {}  # of each track
        if self._is_sequence:
            with needs("av", media.name):
                from dhpe_ros.media.clips import ClipWriter
            self._clip = ClipWriter(f"{self._path}{CLIP_SUFFIX}", media.rate_hz)

    def __enter__(self) -> ResultFiles:
        return self

    def __exit__(self, *error: object) -> None:
        """Write the best meshes: a camera ends by Ctrl-C, a damaged video by an error."""
        try:
            if self._is_sequence:
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
        if self._is_sequence:
            self._clip.write(draw_overlay(frame.image, hands), frame.stamp_s)
        else:
            write_overlay(Path(f"{path}{OVERLAY_SUFFIX}"), frame.image, hands)
        best = self._best
        for k, hand in enumerate(hands):
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
    """Write readable JSON, with one line per list of numbers or names."""
    text = json.dumps(content, indent=2, allow_nan=False)
    flat = re.compile(r"\[\n[^][{}]*\]")
    path.write_text(flat.sub(lambda match: " ".join(match[0].split()), text) + "\n", "utf-8")


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
