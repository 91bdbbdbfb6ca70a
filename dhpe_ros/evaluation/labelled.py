"""Hands to measure against: published sets, the folders of ``docs/training.md``, files, recordings.

Pictures, videos and recordings that nobody labelled are sets too, of hands about which nothing is
known: they are searched for, and what needs no label is reported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dhpe_ros.camera import Camera
from dhpe_ros.datasets.dexter_object import is_dexter_object, read_dexter_object
from dhpe_ros.datasets.labelled_hand import CORNER_PX, LabelledHand
from dhpe_ros.datasets.rhd import is_rhd, read_rhd
from dhpe_ros.datasets.stb import is_stb, read_stb
from dhpe_ros.media import MediaError, is_bag, list_folder, open_media
from dhpe_ros.media.suffixes import IMAGE_SUFFIXES, VIDEO_SUFFIXES
from dhpe_ros.types import JOINT_COUNT, Side

ASSETS = Path(__file__).resolve().parents[1] / "assets"
_REMEDY = "docs/training.md describes the folder of labelled pictures"


@dataclass(frozen=True)
class LabelledSet:
    """Labelled hands, in single pictures or in the frames of one video."""

    name: str
    hands: Sequence[LabelledHand]

    @property
    def is_clip(self) -> bool:
        return bool(self.hands) and _is_sequence(self.hands[0].picture)

    @property
    def gives_boxes(self) -> bool:
        """Whether every hand says where it is; otherwise they are searched for."""
        return all(hand.box is not None or hand.known.any() for hand in self.hands)

    def pictures(self) -> Iterator[tuple[LabelledHand, np.ndarray]]:
        """Each hand with its picture ``(H, W, 3)`` uint8 RGB, and a recording's camera.

        Raises ``ValueError`` for what cannot be read.
        """
        if not self.is_clip:
            yield from ((hand, hand.image()) for hand in self.hands)
            return
        waiting = iter(self.hands)
        hand = next(waiting)
        for index, frame in enumerate(open_media(hand.picture).frames()):
            if index == hand.frame:
                yield _with_camera(hand, frame.camera), frame.image
                if (hand := next(waiting, None)) is None:
                    return
        if not hand.known.any():  # a video's own count of its frames may be off
            return
        raise ValueError(f"{hand.picture}: ends before frame {hand.frame}, which has a label")

    def part(self, count: int | None, seed: int) -> LabelledSet:
        """``count`` hands drawn by ``seed``, in their order; the first ones of a clip."""
        if count is None or count >= len(self.hands):
            return self
        chosen = np.random.default_rng(seed).permutation(len(self.hands))[:count]
        rows = range(count) if self.is_clip else sorted(chosen)
        return replace(self, hands=[self.hands[row] for row in rows])


def open_labelled(path: Path, name: str = "") -> LabelledSet:
    """The hands of a folder, or of one picture, video or recording, labelled beside it or not.

    Of a folder, whatever is not marked ``train``; of published sets, what others measure on. Where
    there are no labels, a hand in every picture about which nothing is known. Raises ``ValueError``
    or ``OSError`` that says what is missing, and where the format is described.
    """
    if is_rhd(path):
        return LabelledSet(name or "rhd", read_rhd(path, "test"))
    if is_stb(path):
        return LabelledSet(name or "stb", read_stb(path, "test"))
    if is_dexter_object(path):
        return LabelledSet(name or "dexter+object", read_dexter_object(path))
    if path.is_dir() and not is_bag(path):
        folders = [f for f in (path, path / "signs", path / "wild") if _labels_file(f).is_file()]
        hands = [hand for folder in folders for hand in read_folder(folder)]
        if not folders:
            hands = _pictures(path)
    elif path.exists():
        hands = list(_file(path))
    else:
        raise ValueError(f"{path}: there is no such folder or file; {_REMEDY}")
    if not hands:
        raise ValueError(
            f"{path}: no hand to evaluate on, the labels list none or all are marked train; "
            f"{_REMEDY}"
        )
    return LabelledSet(name or str(path), hands)


def open_demo() -> LabelledSet:
    """The clip that ships, whose every label is exact."""
    truth = json.loads((ASSETS / "demo_clip.json").read_text("utf-8"))
    lens = tuple(truth["intrinsics"][name] for name in ("fx", "fy", "cx", "cy"))
    side = Side[truth["side"].upper()]
    hands = [
        LabelledHand(
            picture=ASSETS / "demo_clip.mp4",
            joints_px=_array(row, "joints_px", 2),
            side=side,
            joints_m=_array(row, "joints_m", 3),
            camera_px=lens,
            exact=True,
            frame=index,
        )
        for index, row in enumerate(truth["frames"])
    ]
    return LabelledSet("demo clip", hands)


def _pictures(folder: Path) -> list[LabelledHand]:
    """The pictures of a folder without labels."""
    try:
        files = [path for path in list_folder(folder) if path.suffix.lower() in IMAGE_SUFFIXES]
    except MediaError:
        files = []
    if not files:
        raise ValueError(
            f"no pictures and no labels.json in {folder}, {folder}/signs or {folder}/wild; "
            f"{_REMEDY}"
        )
    return [_unknown(file) for file in files]


def _unknown(picture: Path, frame: int = 0) -> LabelledHand:
    return LabelledHand(picture, np.full((JOINT_COUNT, 2), np.nan), None, frame=frame)


def _with_camera(hand: LabelledHand, camera: Camera | None) -> LabelledHand:
    if camera is None or hand.camera_px is not None:
        return hand
    return replace(hand, camera_px=(camera.fx, camera.fy, camera.cx, camera.cy))


def read_folder(folder: Path, train: bool = False) -> Iterator[LabelledHand]:
    """The hands of one ``labels.json``: one hand per picture, whole pictures, or a mixed folder.

    Those that are marked ``train``, or those that are not.
    """
    labels = _load(folder)
    with _told(folder):
        if "hands" in labels:
            rows = [row for row in labels["hands"] if (row.get("split") == "train") is train]
            yield from (_hand(folder, row, bool(labels.get("exact"))) for row in rows)
        elif "frames" in labels:
            for frame in labels["frames"]:
                if (frame.get("split") == "train") is train:
                    yield from (_one(folder / frame["file"], hand) for hand in frame["hands"])
        elif not train:
            for name, hands in labels.items():
                if not _is_sequence(folder / name):
                    yield from (_one(folder / name, hand) for hand in hands)


@contextmanager
def _told(folder: Path) -> Iterator[None]:
    """What is wrong with a label becomes a ``ValueError`` that names the file."""
    try:
        yield
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{_labels_file(folder)}: {_described(error)}; {_REMEDY}") from error


def _hand(folder: Path, row: dict, exact: bool) -> LabelledHand:
    """A row of ``signs`` (a name) or ``wild`` (a file)."""
    if "name" in row:
        picture = folder / "images" / f"{row['name']}.jpg"
        mask_file = folder / "masks" / f"{row['name']}.png"
    else:
        picture = folder / row["file"]
        mask_file = (folder / "masks" / row["file"]).with_suffix(".png")
    mesh_file = (folder / "meshes" / picture.name).with_suffix(".npy")
    return replace(
        _one(picture, row, corner_px=0.0 if exact else CORNER_PX),
        mask_file=mask_file if mask_file.is_file() else None,
        joints_m=_array(row, "joints_m", 3) if exact else None,
        camera_px=_lens(row["camera_px"]) if "camera_px" in row else None,
        exact=exact,
        mesh_file=mesh_file if exact and mesh_file.is_file() else None,
    )


def _one(picture: Path, row: dict, frame: int = 0, corner_px: float = CORNER_PX) -> LabelledHand:
    joints_px = _array(row, "joints_px", 2) - corner_px
    side = row.get("side", "right")
    if side not in ("left", "right"):
        raise ValueError(f"side must be left or right, got {side!r}")
    return LabelledHand(picture, joints_px, Side[side.upper()], frame=frame)


def _lens(numbers: Sequence[float]) -> tuple[float, ...]:
    lens = np.asarray(numbers, np.float64)
    if lens.shape != (4,) or not np.isfinite(lens).all() or not (lens[:2] > 0).all():
        raise ValueError(f"camera_px must be fx, fy, cx, cy, the first two > 0, got {numbers}")
    return tuple(lens.tolist())


def _array(row: dict, key: str, columns: int) -> np.ndarray:
    array = np.asarray(row[key], np.float64)
    if array.shape != (JOINT_COUNT, columns) or not np.isfinite(array).all():
        raise ValueError(f"{key} must be {JOINT_COUNT} x {columns} numbers, got {array.shape}")
    return array


def _file(path: Path) -> Iterator[LabelledHand]:
    """One picture, or the frames of a sequence; of several hands in a frame the first counts."""
    labels = _load(path.parent) if _labels_file(path.parent).is_file() else {}
    if path.name not in labels:
        count = open_media(path).count if _is_sequence(path) else 1
        yield from (_unknown(path, index) for index in range(count or 0))
        return
    with _told(path.parent):
        if not _is_sequence(path):
            yield from (_one(path, hand) for hand in labels[path.name])
            return
        for index, hands in enumerate(labels[path.name]):
            if hands:
                yield _one(path, hands[0], index)


def _is_sequence(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_SUFFIXES or is_bag(path)


def _labels_file(folder: Path) -> Path:
    return folder / "labels.json"


def _load(folder: Path) -> dict:
    path = _labels_file(folder)
    try:
        labels = json.loads(path.read_text())
    except FileNotFoundError as error:
        raise ValueError(f"no labels at {path}; {_REMEDY}") from error
    except (OSError, ValueError) as error:
        raise ValueError(f"{path}: not readable as JSON ({error}); {_REMEDY}") from error
    if not isinstance(labels, dict):
        raise ValueError(f"{path}: must be a mapping, is a {type(labels).__name__}; {_REMEDY}")
    return labels


def _described(error: Exception) -> str:
    return f"lacks {error}" if isinstance(error, KeyError) else str(error)
