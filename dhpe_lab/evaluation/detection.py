"""Whole pictures searched as the pipeline does by itself: which hands are found, where, what side.

A found hand is matched with a labelled one if their joints lie apart by less than half the longer
side of the label's box in the mean, the nearest pairs first, each once. Found hands whose centre
lies where a hand may be that is not labelled count neither way.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dhpe_lab.datasets.label_files import LabelledFrame
from dhpe_ros.media.pictures import read_image
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.types import Box, Hand

NEAR = 0.5  # mean joint distance of a match, at most, in the label's box
FAR_PCT = 15.0  # of the box's longer side: mean 2D error from which it is a fault
SMALL = 0.15  # of the longer side of the picture: longer side of a small hand's box


@dataclass(frozen=True)
class Found:
    """A labelled hand, and what was found of it."""

    small: bool
    error_pct: float | None  # mean 2D error in the longer side of the box; None: not found
    side_correct: bool | None

    @property
    def fault(self) -> str:
        """The kind of what is wrong with it; empty where nothing is."""
        if self.error_pct is None:
            return "missed, small" if self.small else "missed"
        if not self.side_correct:
            return "wrong side"
        return f"joints {FAR_PCT:g} % off" if self.error_pct > FAR_PCT else ""


@dataclass(frozen=True)
class SearchedPicture:
    """One picture's outcome."""

    frame: LabelledFrame
    found: Sequence[Hand]
    hands: list[Found]  # one for each label
    wrong: int  # found where no hand is
    ignored: int  # found where one may be

    @property
    def faults(self) -> list[str]:
        """Their kinds, each as often as it occurs."""
        of_hands = [hand.fault for hand in self.hands if hand.fault]
        return of_hands + ["found beside hands"] * self.wrong

    @property
    def shows_hands(self) -> bool:
        return self.wrong > 0 or any(hand.error_pct is not None for hand in self.hands)


def search_pictures(
    pipeline: HandPipeline, frames: Iterable[LabelledFrame]
) -> Iterator[SearchedPicture]:
    """Search every picture. Raises ``ValueError`` for one that cannot be read."""
    for frame in frames:
        image = read_image(frame.picture)
        yield matched(frame, pipeline.estimate(image), max(image.shape[:2]))


def matched(frame: LabelledFrame, found: Sequence[Hand], longest_px: int) -> SearchedPicture:
    """Compare what was ``found`` with the labels of a picture ``longest_px`` pixels long."""
    lengths = [_length(label.joints_px) for label in frame.hands]
    pairs = sorted(
        (np.linalg.norm(hand.joints_px - label.joints_px, axis=1).mean() / length, i, j)
        for i, (label, length) in enumerate(zip(frame.hands, lengths, strict=True))
        for j, hand in enumerate(found)
    )
    match_of: dict[int, tuple[int, float]] = {}
    taken: set[int] = set()
    for distance, i, j in pairs:
        if distance < NEAR and i not in match_of and j not in taken:
            match_of[i] = j, 100 * float(distance)
            taken.add(j)
    hands = []
    for i, (label, length) in enumerate(zip(frame.hands, lengths, strict=True)):
        j, error = match_of.get(i, (None, None))
        correct = None if j is None else found[j].side is label.side
        hands.append(Found(length < SMALL * longest_px, error, correct))
    others = [hand for j, hand in enumerate(found) if j not in taken]
    ignored = sum(_within(Box.around(hand.joints_px), frame.unsure) for hand in others)
    return SearchedPicture(frame, found, hands, len(others) - ignored, ignored)


def detection_figures(pictures: Sequence[SearchedPicture]) -> dict[str, float | int | None]:
    """Shares 0..1, sides and errors in percent; None where there is nothing to take them of."""
    hands = [hand for picture in pictures for hand in picture.hands]
    small = [hand for hand in hands if hand.small]
    found = [hand for hand in hands if hand.error_pct is not None]
    errors = [hand.error_pct for hand in found]
    wrong = sum(picture.wrong for picture in pictures)
    return {
        "pictures": len(pictures),
        "hands": len(hands),
        "recall": _share(len(found), len(hands)),
        "small_hands": len(small),
        "recall_small": _share(sum(h.error_pct is not None for h in small), len(small)),
        "precision": _share(len(found), len(found) + wrong),
        "wrong": wrong,
        "ignored": sum(picture.ignored for picture in pictures),
        "side_pct": _share(sum(bool(hand.side_correct) for hand in found), len(found), 100),
        "err2d_pct": round(float(np.mean(errors)), 3) if errors else None,
        "err2d_median_pct": round(float(np.median(errors)), 3) if errors else None,
        "with_hand_pct": _share(sum(p.shows_hands for p in pictures), len(pictures), 100),
    }


def fault_counts(pictures: Iterable[SearchedPicture]) -> dict[str, int]:
    """Number of each kind of fault, the commonest first."""
    return dict(Counter(fault for one in pictures for fault in one.faults).most_common())


def _length(joints_px: np.ndarray) -> float:
    return float(np.ptp(joints_px, axis=0).max())


def _within(box: Box, areas: Sequence[Box]) -> bool:
    x, y = box.center
    return any(0 <= x - a.x <= a.width and 0 <= y - a.y <= a.height for a in areas)


def _share(part: int, whole: int, of: int = 1) -> float | None:
    """Of 1 to four digits, or of 100 to two."""
    return round(of * part / whole, 4 if of == 1 else 2) if whole else None
