"""Scores of predictions: the numbers that are reported."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median

import numpy as np

from dhpe_lab.evaluation.labelled import LabelledHand
from dhpe_lab.evaluation.metrics import (
    ALIGNMENTS,
    PROCRUSTES,
    ROOT_AND_SCALE,
    SHIFT,
    THRESHOLDS_MM,
    MaskCounts,
    area_under,
    calibrate,
    count_pixels,
    errors_2d_pct,
    errors_3d_mm,
    hand_side_of_wrist,
    jitter,
    jitter_mm,
    pck_curve,
    pooled,
    similarity,
)
from dhpe_lab.evaluation.predict import Prediction
from dhpe_ros.rendering.overlay import hand_mask
from dhpe_ros.types import FINGERS, JOINT_NAMES, Hand

PCK_2D_PCT = 10.0
_MASK_FIGURES = ("iou", "precision", "recall", "f1")
_NEVER_MM = 1e9  # the error of a hand that was not found


@dataclass(frozen=True)
class Score:
    """Errors of one prediction against its label; None or NaN where there is no label."""

    found: bool
    side_correct: bool | None
    errors_pct: np.ndarray | None = None  # (21,) of the longer side of the joints' box
    by_alignment: Mapping[str, np.ndarray] = field(default_factory=dict)  # (21,) mm
    mask: MaskCounts | None = None
    visible: np.ndarray | None = None  # (21,) bool: which joints count in 3D; None: all
    errors_px: np.ndarray | None = None  # (21,)
    vertex_mm: Mapping[str, float] = field(default_factory=dict)  # mean, by alignment
    residual_pct: float | None = None  # mesh to 2D evidence, of the longer side of the mesh's box
    confidence: float | None = None  # what the method itself says
    in_3d: bool = False  # the label says where the joints are in 3D
    source: str = ""  # the set it belongs to

    @property
    def errors_mm(self) -> np.ndarray | None:
        """``(21,)`` as the headline aligns them: by root and scale, or by what tips allow."""
        return self.by_alignment.get(ROOT_AND_SCALE, self.by_alignment.get(SHIFT))


def score(prediction: Prediction, same_mesh: bool = True) -> Score:
    """Compare one prediction with its label. Raises ``ValueError`` for a mask not readable.

    ``same_mesh``: vertices are those of the open hand, one by one, which true meshes are of.
    """
    label, hand = prediction.label, prediction.hand
    in_3d, visible = label.joints_m is not None, label.visible
    if in_3d:
        known = np.isfinite(label.joints_m).all(axis=1)
        visible = known if visible is None else known & visible
    if hand is None:
        return Score(False, None, visible=visible, in_3d=in_3d, source=label.source)
    aligned = {}
    if in_3d:
        errors = {how: errors_3d_mm(hand.joints_m, label.joints_m, how) for how in ALIGNMENTS}
        aligned = {how: error for how, error in errors.items() if error is not None}
    labelled = label.known.any()
    return Score(
        found=prediction.found,
        side_correct=None if label.side is None else prediction.side is label.side,
        errors_pct=errors_2d_pct(hand.joints_px, label.joints_px) if labelled else None,
        by_alignment=aligned,
        mask=_mask(hand, label, prediction.picture_size),
        visible=visible,
        errors_px=np.linalg.norm(hand.joints_px - label.joints_px, axis=1) if labelled else None,
        vertex_mm=_vertex_mm(hand, label) if same_mesh else {},
        residual_pct=_residual_pct(hand),
        confidence=hand.score,
        in_3d=in_3d,
        source=label.source,
    )


def found_mask(hand: Hand, picture_size: tuple[int, int], shape: tuple[int, int]) -> np.ndarray:
    """``shape`` bool: the mesh's silhouette, in the pixels of a mask of the whole picture."""
    factors = np.divide(shape[::-1], picture_size[::-1])
    vertices = hand.vertices_px.copy()
    vertices[:, :2] = (vertices[:, :2] + 0.5) * factors - 0.5
    return hand_mask([replace(hand, vertices_px=vertices)], *shape) > 0


def _mask(hand: Hand, label: LabelledHand, picture_size: tuple[int, int]) -> MaskCounts | None:
    truth = label.mask()
    if truth is None or not len(hand.vertices_px):
        return None
    # A mask may have more pixels than its picture.
    joints_px = (label.joints_px + 0.5) * np.divide(truth.shape[::-1], picture_size[::-1]) - 0.5
    counted = None if label.exact else hand_side_of_wrist(joints_px, *truth.shape)
    return count_pixels(found_mask(hand, picture_size, truth.shape), truth, counted)


def _vertex_mm(hand: Hand, label: LabelledHand) -> dict[str, float]:
    """Vertices aligned as the joints are; by Procrustes, on themselves."""
    truth = label.mesh_m()
    if truth is None or len(hand.vertices_m) != len(truth):
        return {}
    found = {}
    for how in ALIGNMENTS:
        pair = (hand.vertices_m, truth) if how == PROCRUSTES else (hand.joints_m, label.joints_m)
        moved = similarity(*pair, how).apply(hand.vertices_m)
        found[how] = float(1000 * np.linalg.norm(moved - truth, axis=1).mean())
    return found


def _residual_pct(hand: Hand) -> float | None:
    if not len(hand.vertices_px):
        return None
    side = max(float(np.ptp(hand.joints_px, axis=0).max()), 1.0)
    return 100 * hand.refinement.residual_after_px / side


def summary(scores: Sequence[Score]) -> dict[str, float | int | str | None]:
    """The figures over all hands; errors and masks are means over the hands that were found.

    None where no hand has what it takes.
    """
    seen = [one for one in scores if one.errors_pct is not None]
    errors_pct = np.array([one.errors_pct for one in seen]).reshape(-1, len(JOINT_NAMES))
    masks = [one.mask for one in scores if one.mask is not None]
    told = [one.side_correct for one in scores if one.side_correct is not None]
    auc, auc_all = area(scores, THRESHOLDS_MM), area(scores, THRESHOLDS_MM, all_hands=True)
    per_hand = np.nanmean(errors_pct, axis=1) if seen else []
    return {
        "n": len(scores),
        "found_pct": _mean([100 * one.found for one in scores], 2),
        "side_pct": _mean([100 * correct for correct in told], 2),
        "err2d_pct": _mean(per_hand, 3),
        "err2d_median_pct": round(float(np.median(per_hand)), 3) if seen else None,
        "err2d_px": _mean([one.errors_px for one in seen], 3),
        "pck10": _mean(np.where(np.isfinite(errors_pct), errors_pct <= PCK_2D_PCT, np.nan), 4),
        "mask_iou": _mean([one.iou for one in masks], 4),
        "auc_20_50": None if auc is None else round(auc, 4),
        "auc_20_50_all": None if auc_all is None else round(auc_all, 4),
        "alignment": ALIGNMENTS[headline(scores)] if auc is not None else None,
    }


def details(scores: Sequence[Score], ranges_mm: Iterable[tuple[float, float]]) -> dict:
    """Figures beside the summary: by alignment, joint and finger; masks; calibration.

    ``ranges_mm`` are those of the areas under the 3D-PCK curves.
    """
    found = {}
    for how in ALIGNMENTS:
        rows = [one for one in scores if how in one.by_alignment]
        if rows:
            errors = _in_3d(rows, how)
            areas = {
                f"auc_{low:g}_{high:g}": _mean([area(rows, thresholds(low, high), how)], 4)
                for low, high in ranges_mm
            }
            vertices = [one.vertex_mm[how] for one in rows if how in one.vertex_mm]
            found[how] = {
                "mpjpe_mm": _mean(errors, 3),
                "median_mm": round(float(np.nanmedian(errors)), 3),
                "vertices_mm": _mean(vertices, 3),
                **areas,
            }
    masks = [one.mask for one in scores if one.mask is not None]
    table2 = {name: round(getattr(pooled(masks), name), 4) for name in _MASK_FIGURES}
    return {
        "alignments": found,
        "by_joint": _by_joint(scores),
        "masks": table2 if masks else None,
        "calibration": _calibrations(scores),
        "by_set": {
            source: summary([one for one in scores if one.source == source])
            for source in dict.fromkeys(one.source for one in scores)
            if source
        },
    }


def headline(scores: Sequence[Score]) -> str:
    """The alignment of the figures that come first: by root and scale, else by what tips allow."""
    return ROOT_AND_SCALE if any(ROOT_AND_SCALE in one.by_alignment for one in scores) else SHIFT


def thresholds(low_mm: float, high_mm: float) -> np.ndarray:
    """Thresholds from low to high, one a millimetre."""
    return np.linspace(low_mm, high_mm, max(2, round(high_mm - low_mm) + 1))


def area(
    scores: Sequence[Score],
    thresholds_mm: np.ndarray,
    alignment: str | None = None,
    all_hands: bool = False,
) -> float | None:
    """Area under ``curve``, as large as that of hand3d; None without labels in 3D."""
    found = curve(scores, thresholds_mm, alignment, all_hands)
    return None if found is None else area_under(found, thresholds_mm)


def curve(
    scores: Sequence[Score],
    thresholds_mm: np.ndarray,
    alignment: str | None = None,
    all_hands: bool = False,
) -> np.ndarray | None:
    """3D-PCK, over the hands that were found or over all: what was not found is never right."""
    alignment = alignment or headline(scores)
    rows = [one for one in scores if alignment in one.by_alignment or (all_hands and one.in_3d)]
    if not any(alignment in one.by_alignment for one in rows):
        return None
    nowhere = np.full(len(JOINT_NAMES), _NEVER_MM)
    errors = np.array([one.by_alignment.get(alignment, nowhere) for one in rows])
    return pck_curve(errors, thresholds_mm, _visible(rows))


def _visible(rows: Sequence[Score]) -> np.ndarray:
    every = np.ones(len(JOINT_NAMES), bool)
    return np.array([every if one.visible is None else one.visible for one in rows])


def _in_3d(rows: Sequence[Score], alignment: str) -> np.ndarray:
    """``(N, 21)`` mm, NaN where a joint is not in sight or not labelled."""
    errors = np.array([one.by_alignment[alignment] for one in rows])
    return np.where(_visible(rows), errors, np.nan)


def _by_joint(scores: Sequence[Score]) -> dict[str, dict[str, float | None]]:
    """Mean error of each joint and each finger: millimetres as the headline, percent in 2D."""
    how = headline(scores)
    in_mm = [one for one in scores if how in one.by_alignment]
    in_pct = [one.errors_pct for one in scores if one.errors_pct is not None]
    columns = {}
    if in_mm:
        columns["mm"] = _in_3d(in_mm, how)
    if in_pct:
        columns["pct"] = np.array(in_pct)
    groups = {name: [k] for k, name in enumerate(JOINT_NAMES)}
    for finger in FINGERS:
        groups[finger] = [k for k, name in enumerate(JOINT_NAMES) if name.startswith(finger)]
    return {
        unit: {name: _mean(errors[:, ks], 3) for name, ks in groups.items()}
        for unit, errors in columns.items()
    }


def _calibrations(scores: Sequence[Score]) -> dict[str, dict]:
    """Rank correlation of residual and confidence with the error, in 2D and where known in 3D."""
    signals: dict[str, Callable[[Score], float | None]] = {
        "residual": lambda one: one.residual_pct,
        "confidence": lambda one: one.confidence,
    }
    errors = {"pct": lambda one: one.errors_pct, "mm": lambda one: one.errors_mm}
    found = {}
    for signal, of in signals.items():
        for unit, error_of in errors.items():
            rows = [(of(one), error_of(one)) for one in scores]
            rows = [(s, np.nanmean(e)) for s, e in rows if s is not None and e is not None]
            done = calibrate(*np.array(rows).T) if rows else None
            if done is not None:
                bins = [[round(up_to, 3), round(mean, 3), n] for up_to, mean, n in done.bins]
                about = {"rank_correlation": round(done.rank_correlation, 3), "bins": bins}
                found[f"{signal} to error in {unit}"] = about
    return found


def steadiness(predictions: Sequence[Prediction]) -> dict[str, float | None]:
    """Jitter over the frames of a clip, against the labels' own movement.

    ``jitter_pct``: percent of the joints' box per frame^2, in the picture; ``jitter_mm`` about the
    root and ``jitter_absolute_mm`` in the camera, mm per frame^2.
    """
    last = max(one.label.frame for one in predictions)
    places, truth = (np.full((last + 1, 21, 5), np.nan) for _ in range(2))
    sides = []
    for one in predictions:
        truth[one.label.frame, :, :2] = one.label.joints_px
        if one.label.joints_m is not None:
            truth[one.label.frame, :, 2:] = one.label.joints_m
        if one.hand is not None:
            places[one.label.frame, :, :2] = one.hand.joints_px
            places[one.label.frame, :, 2:] = one.hand.joints_m
            sides.append(float(np.ptp(one.hand.joints_px, axis=0).max()))
    in_picture = 100 * jitter(places[..., :2], truth[..., :2]) / median(sides or [1.0])
    about_root, absolute = jitter_mm(places[..., 2:], truth[..., 2:])
    return {
        "jitter_pct": _mean([in_picture], 3),
        "jitter_mm": _mean([about_root], 3),
        "jitter_absolute_mm": _mean([absolute], 3),
    }


def timings(predictions: Sequence[Prediction]) -> dict[str, float]:
    """Median milliseconds a hand, by stage."""
    stages = dict.fromkeys(stage for one in predictions for stage in one.ms)
    return {
        stage: round(median(one.ms[stage] for one in predictions if stage in one.ms), 2)
        for stage in stages
    }


def _mean(values: Sequence | np.ndarray, digits: int) -> float | None:
    """Over all that is no NaN; None where nothing is."""
    known = np.asarray(values, float)
    known = known[np.isfinite(known)]
    return round(float(known.mean()), digits) if known.size else None
