"""Report of the demo: counts, latencies, errors against ground truth, as JSON and as a table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, SupportsFloat

import numpy as np

from dhpe_ros.geometry.camera import Camera
from dhpe_ros.types import JOINT_COUNT, MIDDLE_MCP


@dataclass(frozen=True)
class Truth:
    """Ground truth of a rendered clip."""

    camera: Camera
    joints_px: np.ndarray  # (frames, 21, 2)
    joints_m: np.ndarray  # (frames, 21, 3), camera optical frame

    @staticmethod
    def beside(media: Path) -> Truth | None:
        """The truth in the JSON file of the same name; None without such a file.

        Raises ``ValueError`` that names the file where its content is damaged.
        """
        path = media.with_suffix(".json")
        try:
            content = json.loads(path.read_text("utf-8"))
        except (OSError, ValueError):
            return None
        if not isinstance(content, dict) or not {"intrinsics", "frames"} <= content.keys():
            return None
        try:
            joints_px = _stack(content["frames"], "joints_px", 2)
            joints_m = _stack(content["frames"], "joints_m", 3)
            return Truth(Camera(**content["intrinsics"]), joints_px, joints_m)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: is no ground truth of a clip: {error!r}") from error


@dataclass
class Findings:
    """Results of the demo, one entry per hand or frame."""

    sent: int = 0
    answered: int = 0
    hands: int = 0
    frames_with_hand: int = 0
    latencies_ms: list[float] = field(default_factory=list)
    residuals_px: list[tuple[float, float]] = field(default_factory=list)
    errors_px: list[float] = field(default_factory=list)
    errors_percent: list[float] = field(default_factory=list)
    errors_mm: list[float] = field(default_factory=list)

    def add_frame(self, latency_ms: float, hands: Sequence[Any]) -> None:
        """Add the hands of a ``HandArray``; the latency is from sending the image."""
        self.answered += 1
        self.hands += len(hands)
        self.frames_with_hand += bool(hands)
        self.latencies_ms.append(latency_ms)
        self.residuals_px += [(h.residual_before_px, h.residual_after_px) for h in hands]

    def compare(self, truth: Truth, index: int, hands: Sequence[Any]) -> None:
        """Add the errors of the hand nearest to the truth of frame ``index``."""
        if not hands or index >= len(truth.joints_px):
            return
        true_px, true_m = truth.joints_px[index], truth.joints_m[index]
        joints_px = [np.reshape(hand.joints_px, (JOINT_COUNT, 2)) for hand in hands]
        errors = [np.linalg.norm(joints - true_px, axis=1).mean() for joints in joints_px]
        nearest = int(np.argmin(errors))
        joints_m = np.reshape(hands[nearest].joints_m, (JOINT_COUNT, 3))
        offsets = (joints_m - joints_m[MIDDLE_MCP]) - (true_m - true_m[MIDDLE_MCP])
        self.errors_px.append(float(errors[nearest]))
        self.errors_percent.append(float(100 * errors[nearest] / np.ptp(true_px, axis=0).max()))
        self.errors_mm.append(float(1000 * np.linalg.norm(offsets, axis=1).mean()))

    def summary(self) -> dict[str, Any]:
        """The content of ``summary.json``; ``None`` for unknown values."""
        before, after = np.mean(self.residuals_px, axis=0) if self.residuals_px else (None, None)
        return {
            "frames_sent": self.sent,
            "frames_answered": self.answered,
            "frames_with_hand": self.frames_with_hand,
            "hands_received": self.hands,
            "latency_ms": {
                "p50": _percentile(self.latencies_ms, 50),
                "p95": _percentile(self.latencies_ms, 95),
            },
            "residual_px": {"before": _rounded(before), "after": _rounded(after)},
            "errors": {
                "mean_2d_px": _mean(self.errors_px),
                "mean_2d_percent_of_joints_box": _mean(self.errors_percent),
                "mean_3d_mm": _mean(self.errors_mm),
                "mean_3d_alignment": "root-relative (base of the middle finger), scale as received",
                "frames": len(self.errors_px),
            }
            if self.errors_px
            else None,
        }


def table(summary: dict[str, Any]) -> str:
    """The summary as text for the screen."""
    latency, residual, errors = (summary[key] for key in ("latency_ms", "residual_px", "errors"))
    rows = [
        ("input", summary["input"]),
        ("played", summary["played"]),
        ("frames sent", summary["frames_sent"]),
        (
            "frames answered",
            f"{summary['frames_answered']}, {summary['frames_with_hand']} with a hand",
        ),
        ("hands received", summary["hands_received"]),
        ("latency", f"p50 {_text(latency['p50'])} ms, p95 {_text(latency['p95'])} ms"),
        (
            "joints to 2D evidence",
            f"{_text(residual['before'])} px, refined {_text(residual['after'])} px",
        ),
    ]
    if errors:
        percent = _text(errors["mean_2d_percent_of_joints_box"])
        rows += [
            (
                "2D error of the joints",
                f"{_text(errors['mean_2d_px'])} px, {percent} % of their box",
            ),
            ("3D error of the joints", f"{_text(errors['mean_3d_mm'])} mm, root-relative"),
        ]
    else:
        rows.append(("errors", "no ground truth for this input"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"  {name:<{width}}  {value}" for name, value in rows)


def _stack(frames: Sequence[dict[str, Any]], key: str, size: int) -> np.ndarray:
    stacked = np.array([frame[key] for frame in frames], np.float64)
    if stacked.shape != (len(frames), JOINT_COUNT, size):
        raise ValueError(f"{key} must be {JOINT_COUNT} x {size} in every frame")
    return stacked


def _mean(values: Sequence[float]) -> float | None:
    return _rounded(np.mean(values)) if values else None


def _percentile(values: Sequence[float], percent: float) -> float | None:
    return _rounded(np.percentile(values, percent)) if values else None


def _rounded(value: SupportsFloat | None) -> float | None:
    return None if value is None else round(float(value), 2)


def _text(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
