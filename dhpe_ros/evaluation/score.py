"""From predictions to the numbers that are reported."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dhpe_ros.drawing import hand_mask
from dhpe_ros.evaluation.labelled import LabelledHand
from dhpe_ros.evaluation.metrics import (
    ALIGNMENT,
    THRESHOLDS_MM,
    area_under,
    errors_2d_pct,
    errors_3d_mm,
    hand_side_of_wrist,
    mask_iou,
    pck_curve,
)
from dhpe_ros.evaluation.predict import Prediction
from dhpe_ros.types import Hand

PCK_2D_PCT = 10.0


@dataclass(frozen=True)
class Score:
    """How far one prediction is from its label; None where nothing can be said."""

    found: bool
    side_correct: bool | None
    errors_pct: np.ndarray | None = None  # (21,) of the longer side of the joints' box
    errors_mm: np.ndarray | None = None  # (21,)
    iou: float | None = None
    visible: np.ndarray | None = None  # (21,) bool: which of errors_mm count; None: all


def score(prediction: Prediction) -> Score:
    """Compare one prediction with its label. Raises ``ValueError`` for a mask not readable."""
    label, hand = prediction.label, prediction.hand
    if hand is None:
        return Score(False, None)
    return Score(
        found=prediction.found,
        side_correct=prediction.side is label.side,
        errors_pct=errors_2d_pct(hand.joints_px, label.joints_px),
        errors_mm=None if label.joints_m is None else errors_3d_mm(hand.joints_m, label.joints_m),
        iou=_iou(hand, label, prediction.picture_size),
        visible=label.visible,
    )


def _iou(hand: Hand, label: LabelledHand, picture_size: tuple[int, int]) -> float | None:
    truth = label.mask()
    if truth is None:
        return None
    # A mask may have more pixels than its picture.
    factors = np.divide(truth.shape[::-1], picture_size[::-1])
    vertices, joints_px = hand.vertices_px.copy(), (label.joints_px + 0.5) * factors - 0.5
    vertices[:, :2] = (vertices[:, :2] + 0.5) * factors - 0.5
    mask = hand_mask([replace(hand, vertices_px=vertices)], *truth.shape) > 0
    counted = None if label.exact else hand_side_of_wrist(joints_px, *truth.shape)
    return mask_iou(mask, truth, counted)


def summary(scores: Sequence[Score]) -> dict[str, float | int | str | None]:
    """The figures over all hands; errors and masks are means over the hands that were found.

    None where no hand has what it takes.
    """
    seen = [one for one in scores if one.errors_pct is not None]
    errors_pct = np.array([one.errors_pct for one in seen])
    in_3d = [one for one in seen if one.errors_mm is not None]
    ious = [one.iou for one in seen if one.iou is not None]
    auc = None
    if in_3d:
        errors_mm = np.array([one.errors_mm for one in in_3d])
        everything = np.ones(errors_mm.shape[1], bool)
        visible = [everything if one.visible is None else one.visible for one in in_3d]
        curve = pck_curve(errors_mm, THRESHOLDS_MM, np.array(visible))
        auc = area_under(curve, THRESHOLDS_MM)
    per_hand = errors_pct.mean(1) if seen else []
    return {
        "n": len(scores),
        "found_pct": _mean([100 * one.found for one in scores], 2),
        "side_pct": _mean([100 * one.side_correct for one in seen], 2),
        "err2d_pct": _mean(per_hand, 3),
        "err2d_median_pct": round(float(np.median(per_hand)), 3) if seen else None,
        "pck10": _mean(errors_pct <= PCK_2D_PCT, 4),
        "mask_iou": _mean(ious, 4),
        "auc_20_50": None if auc is None else round(auc, 4),
        "alignment": None if auc is None else ALIGNMENT,
    }


def _mean(values: Sequence[float] | np.ndarray, digits: int) -> float | None:
    return round(float(np.mean(values)), digits) if len(values) else None
