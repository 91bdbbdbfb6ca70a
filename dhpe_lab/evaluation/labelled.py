"""Hands to measure against: published sets, folders of docs/reference/data.md, recordings.

Pictures, videos and recordings that nobody labelled are sets too, of hands about which nothing is
known: they are searched for, and what needs no label is reported.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from dhpe_lab.datasets.dexter_object import is_dexter_object, read_dexter_object
from dhpe_lab.datasets.label_files import (
    REMEDY,
    joint_array,
    label,
    labels_file,
    read_hands,
    read_labels,
    wrong_label,
)
from dhpe_lab.datasets.labelled_hand import LabelledHand
from dhpe_lab.datasets.rhd import is_rhd, read_rhd
from dhpe_lab.datasets.stb import is_stb, read_stb
from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media import Kind, MediaError, is_bag, is_sequence, kind_of, list_folder, open_media
from dhpe_ros.types import JOINT_COUNT, Side


@dataclass(frozen=True)
class LabelledSet:
    """Labelled hands, in single pictures or in the frames of one video."""

    name: str
    hands: Sequence[LabelledHand]

    @property
    def is_clip(self) -> bool:
        return bool(self.hands) and is_sequence(self.hands[0].picture)

    @property
    def gives_boxes(self) -> bool:
        """True if every hand has a box; otherwise hands are searched for."""
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
        folders = [f for f in (path, path / "signs", path / "wild") if labels_file(f).is_file()]
        hands = [hand for folder in folders for hand in read_hands(folder, train=False)]
        if not folders:
            hands = _pictures(path)
    elif path.exists():
        hands = list(_file(path))
    else:
        raise ValueError(f"{path}: there is no such folder or file; {REMEDY}")
    if not hands:
        raise ValueError(
            f"{path}: no hand to evaluate on, the labels list none or all are marked train; "
            f"{REMEDY}"
        )
    return LabelledSet(name or str(path), hands)


def open_demo() -> LabelledSet:
    """The clip that ships, whose every label is exact."""
    truth = json.loads(DEMO_CLIP.with_suffix(".json").read_text("utf-8"))
    lens = tuple(truth["intrinsics"][name] for name in ("fx", "fy", "cx", "cy"))
    side = Side[truth["side"].upper()]
    hands = [
        LabelledHand(
            picture=DEMO_CLIP,
            joints_px=joint_array(row, "joints_px", 2),
            side=side,
            joints_m=joint_array(row, "joints_m", 3),
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
        files = [path for path in list_folder(folder) if kind_of(path) is Kind.PICTURE]
    except MediaError:
        files = []
    if not files:
        raise ValueError(
            f"no pictures and no labels.json in {folder}, {folder}/signs or {folder}/wild; {REMEDY}"
        )
    return [unknown_hand(file) for file in files]


def unknown_hand(picture: Path, frame: int = 0) -> LabelledHand:
    """A hand that nobody labelled."""
    return LabelledHand(picture, np.full((JOINT_COUNT, 2), np.nan), None, frame=frame)


def _with_camera(hand: LabelledHand, camera: Camera | None) -> LabelledHand:
    if camera is None or hand.camera_px is not None or camera.lens.distorts:  # labels: pinholes
        return hand
    return replace(hand, camera_px=(camera.fx, camera.fy, camera.cx, camera.cy))


def _file(path: Path) -> Iterator[LabelledHand]:
    """One picture, or the frames of a sequence; of several hands in a frame the first counts."""
    labels = read_labels(path.parent) if labels_file(path.parent).is_file() else {}
    if path.name not in labels:
        count = open_media(path).count if is_sequence(path) else 1
        yield from (unknown_hand(path, index) for index in range(count or 0))
        return
    with wrong_label(path.parent):
        if not is_sequence(path):
            yield from (label(path, hand) for hand in labels[path.name])
            return
        for index, hands in enumerate(labels[path.name]):
            if hands:
                yield label(path, hands[0], frame=index)
