"""Results of the demo: errors against ground truth, the summary, pictures, clip and mesh."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media.clips import ClipWriter
from dhpe_ros.media.image_messages import image_to_rgb
from dhpe_ros.media.mesh_io import write_mesh
from dhpe_ros.types import JOINT_COUNT, MIDDLE_MCP, Side

PICTURES = 6  # overlays as PNG, spread over the input
FILES = ("overlay_*.png", "overlay.mp4", "mask.png", "hand.obj", "summary.json")


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
            px, m = (
                np.reshape([frame[key] for frame in content["frames"]], (-1, JOINT_COUNT, size))
                for key, size in (("joints_px", 2), ("joints_m", 3))
            )
            return Truth(Camera(**content["intrinsics"]), px, m)
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(f"{path}: is no ground truth of a clip: {error!r}") from error


@dataclass
class Answer:
    """The node's messages for one frame, by topic; complete when every topic has arrived."""

    index: int
    sent_s: float  # time.perf_counter
    latency_ms: float = 0.0  # until the hands arrived
    messages: defaultdict[str, list[Any]] = field(default_factory=lambda: defaultdict(list))

    @property
    def hands(self) -> list[Any]:
        """The hands of the ``HandArray``."""
        return [hand for message in self.messages["hands"] for hand in message.hands]

    @property
    def complete(self) -> bool:
        return all(self.messages[name] for name in ("hands", "meshes", "mask", "overlay"))


@dataclass
class Findings:
    """Numbers of the demo, one entry per frame or hand."""

    sent: int = 0
    hand_counts: list[int] = field(default_factory=list)
    latencies_ms: list[float] = field(default_factory=list)
    residuals_px: list[tuple[float, float]] = field(default_factory=list)
    errors: list[tuple[float, float, float]] = field(default_factory=list)  # pixels, %, mm

    def add_frame(self, latency_ms: float, hands: Sequence[Any]) -> None:
        """Add the hands of a ``HandArray``; the latency is from sending the image."""
        self.latencies_ms.append(latency_ms)
        self.hand_counts.append(len(hands))
        self.residuals_px += [(h.residual_before_px, h.residual_after_px) for h in hands]

    def compare(self, truth: Truth, index: int, hands: Sequence[Any]) -> None:
        """Add the errors of the hand nearest to the truth of frame ``index``."""
        if not hands or index >= len(truth.joints_px):
            return
        true_px, true_m = truth.joints_px[index], truth.joints_m[index]
        joints_px = np.reshape([hand.joints_px for hand in hands], (-1, JOINT_COUNT, 2))
        errors_px = np.linalg.norm(joints_px - true_px, axis=2).mean(1)
        nearest = int(errors_px.argmin())
        joints_m = np.reshape(hands[nearest].joints_m, (JOINT_COUNT, 3))
        offsets = (joints_m - joints_m[MIDDLE_MCP]) - (true_m - true_m[MIDDLE_MCP])
        error_px, error_mm = errors_px[nearest], 1000 * np.linalg.norm(offsets, axis=1).mean()
        self.errors.append((error_px, 100 * error_px / np.ptp(true_px, axis=0).max(), error_mm))

    def summary(self) -> dict[str, Any]:
        """The content of ``summary.json``; ``None`` for unknown values."""
        names = ("mean_2d_px", "mean_2d_percent_of_joints_box", "mean_3d_mm")
        errors = {
            **_named(names, np.mean, self.errors, 0),
            "mean_3d_alignment": "root-relative (base of the middle finger), scale as received",
            "frames": len(self.errors),
        }
        return {
            "frames_sent": self.sent,
            "frames_answered": len(self.latencies_ms),
            "frames_with_hand": int(np.count_nonzero(self.hand_counts)),
            "hands_received": sum(self.hand_counts),
            "latency_ms": _named(("p50", "p95"), np.percentile, self.latencies_ms, (50, 95)),
            "residual_px": _named(("before", "after"), np.mean, self.residuals_px, 0),
            "errors": errors if self.errors else None,  # without ground truth
        }


def _named(
    names: tuple[str, ...], statistic: Callable[..., Any], values: Sequence[Any], how: Any
) -> dict[str, float | None]:
    """A statistic's values by name; None without ``values``."""
    numbers = statistic(values, how).round(2).tolist() if values else [None] * len(names)
    return dict(zip(names, numbers, strict=True))


class DemoFiles(ClipWriter):
    """Writes each answer as it arrives, so long inputs need no memory; use it in ``with``.

    ``expected`` is the number of frames. Files of an earlier demo in the folder are removed. Raises
    ``OSError`` where it cannot write.
    """

    def __init__(self, folder: Path, rate_hz: float | None, expected: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for old in (path for pattern in FILES for path in folder.glob(pattern)):
            old.unlink()
        super().__init__(folder / "overlay.mp4", rate_hz)
        self._folder = folder
        self._pictures = set(np.linspace(0, expected - 1, PICTURES).astype(int).tolist())
        self._best_score = -1.0

    def add(self, answer: Answer) -> None:
        """Add the overlay to the clip; write mask and mesh of the best hand so far."""
        overlay, mask = (image_to_rgb(answer.messages[name][0]) for name in ("overlay", "mask"))
        self.write(overlay)
        if answer.index in self._pictures:
            self._write_picture(f"overlay_{answer.index:04d}.png", overlay[..., ::-1])
        best = max(answer.hands, key=lambda hand: hand.score, default=None)
        if best is None or best.score <= self._best_score:
            return
        self._best_score = best.score
        self._write_picture("mask.png", mask[..., 0])
        (mesh,) = (m for m in answer.messages["meshes"][0].meshes if m.track_id == best.track_id)
        write_mesh(
            self._folder / "hand.obj",
            np.reshape(mesh.vertices, (-1, 3)),
            np.reshape(mesh.triangles, (-1, 3)).astype(np.int64),
            np.reshape(mesh.normals, (-1, 3)),
            f"{Side(mesh.side).name.lower()} hand of frame {answer.index}, metres, "
            "camera optical frame: x right, y down, z forward",
        )

    def write_summary(self, summary: dict[str, Any]) -> None:
        text = json.dumps(summary, indent=2) + "\n"
        (self._folder / "summary.json").write_text(text, "utf-8")

    def _write_picture(self, name: str, image: np.ndarray) -> None:
        encoded = cv2.imencode(".png", np.ascontiguousarray(image))[1]
        (self._folder / name).write_bytes(encoded.tobytes())
