"""Files that the demo writes: overlays, a clip, one mask, one mesh, the summary."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from dhpe_ros.media.clips import ClipWriter
from dhpe_ros.media.mesh_io import write_obj
from dhpe_ros.ros.demo.player import Answer
from dhpe_ros.types import Side

PICTURES = 6  # overlays as PNG, spread over the input


class DemoFiles:
    """Writes each answer as it arrives, so long inputs need no memory; use it in ``with``.

    ``expected`` is the number of frames. Files of an earlier demo in the folder are removed. Raises
    ``OSError`` where it cannot write.
    """

    NAMES = ("overlay_*.png", "overlay.mp4", "mask.png", "hand.obj", "summary.json")

    def __init__(self, folder: Path, rate_hz: float | None, expected: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        for pattern in self.NAMES:
            for old in folder.glob(pattern):
                old.unlink()
        self.folder = folder
        self._pictures = set(np.linspace(0, expected - 1, PICTURES).astype(int).tolist())
        self._clip = ClipWriter(folder / "overlay.mp4", rate_hz)
        self._best_score = -1.0
        self._best: Answer | None = None

    def __enter__(self) -> DemoFiles:
        self._clip.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._clip.__exit__()

    def add(self, answer: Answer) -> None:
        """Add the overlay to the clip; write some overlays as pictures."""
        self._clip.write(answer.overlay)
        if answer.index in self._pictures:
            self._write_picture(f"overlay_{answer.index:04d}.png", answer.overlay[..., ::-1])
        score = max((hand.score for hand in answer.hands), default=-1.0)
        if score > self._best_score:
            self._best_score, self._best = score, answer

    def finish(self, summary: dict[str, Any]) -> None:
        """Write mask and mesh of the frame with the best hand, and the summary."""
        if self._best is not None:
            height, width = self._best.mask.height, self._best.mask.width
            mask = np.frombuffer(self._best.mask.data, np.uint8).reshape(height, width)
            self._write_picture("mask.png", mask)
            self._write_mesh(self._best)
        text = json.dumps(summary, indent=2) + "\n"
        (self.folder / "summary.json").write_text(text, "utf-8")

    def _write_mesh(self, answer: Answer) -> None:
        scores = {hand.track_id: hand.score for hand in answer.hands}
        mesh = max(answer.meshes, key=lambda one: scores.get(one.track_id, -1.0))
        write_obj(
            self.folder / "hand.obj",
            np.reshape(mesh.vertices, (-1, 3)),
            np.reshape(mesh.triangles, (-1, 3)).astype(np.int64),
            np.reshape(mesh.normals, (-1, 3)),
            f"{Side(mesh.side).name.lower()} hand of frame {answer.index}, metres, "
            "camera optical frame: x right, y down, z forward",
        )

    def _write_picture(self, name: str, image: np.ndarray) -> None:
        encoded = cv2.imencode(".png", np.ascontiguousarray(image))[1]
        (self.folder / name).write_bytes(encoded.tobytes())
