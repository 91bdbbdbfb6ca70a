"""Draws the open hand from all sides, for its pages: ``python docs/turntables.py``."""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import torch

from dhpe_lab.rendering import Lights, Skin, random_skin, render_hand
from dhpe_lab.rendering.lighting import unit
from dhpe_lab.rendering.shading import area_normals
from dhpe_lab.synthesis.demo_clip import upright
from dhpe_lab.synthesis.hand_poses import FINGERS, pose_from_angles, sample_poses
from dhpe_lab.synthesis.settling import settled
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.pose_prior import PoseSpace
from dhpe_ros.networks.weights import hand_model_path

IMAGES = Path(__file__).resolve().parent / "images"
VIEWS = 8
PAPER = 0.97
SPAN_M = 0.125  # half a picture's side

# Degrees. Fingers: MCP flexion, PIP flexion, abduction to the thumb's side; DIP follows PIP. Thumb:
# its three angles at the root, then MCP and IP flexion. See dhpe_lab.synthesis.hand_poses.
POSES = {
    "rest": {},
    "fist": {
        "index": (74, 96, 0), "middle": (78, 96, 0), "ring": (80, 95, 0), "little": (80, 92, 0),
        "thumb": (22, 30, 20, 34, 46),
    },
    "point": {
        "index": (2, 4, 2), "middle": (76, 94, 0), "ring": (78, 94, 0), "little": (78, 92, 0),
        "thumb": (24, 26, 16, 30, 40),
    },
    "pinch": {
        "index": (52, 52, 0), "middle": (34, 34, 0), "ring": (26, 28, 0), "little": (20, 24, 0),
        "thumb": (12, 11, 15, 12, 22),
    },
    "spread": {
        "index": (-4, 2, 16), "middle": (-2, 2, 2), "ring": (-2, 2, -10), "little": (-4, 4, -22),
        "thumb": (-14, 6, 0, 0, 0),
    },
    "thumb up": {
        "index": (74, 96, 0), "middle": (78, 96, 0), "ring": (80, 95, 0), "little": (80, 92, 0),
        "thumb": (-16, -6, 0, -6, -8),
    },
}  # fmt: skip

# Standard deviations of the first shape components.
SHAPES = {"mean": (), "child": (-2.4, 0.6), "large": (2.2,), "thin": (0.4, -2.0, 0.6, -1.0)}


def angles_of(pose: dict[str, tuple[float, ...]]) -> np.ndarray:
    """``(15, 3)`` radians of an entry of :data:`POSES`."""
    angles = np.zeros((15, 3))
    for finger, values in pose.items():
        first = FINGERS[finger]
        if finger == "thumb":
            angles[first], angles[first + 1, 0], angles[first + 2, 0] = values[:3], *values[3:]
        else:
            mcp, pip, abduction = values
            angles[first, :2] = mcp, abduction
            angles[first + 1, 0], angles[first + 2, 0] = pip, pip * 2 / 3
    return np.radians(angles)


class Turntable:
    """The hand on it."""

    def __init__(self, model: HandModel, size: int) -> None:
        self.model, self.size = model, size
        self.axes = np.asarray(model.extras["pose_axes"], float)
        self.pose_space = PoseSpace(model)
        self.skin = _skin(model)
        self.lights = Lights(
            directions=unit(np.array(((-0.5, -0.7, -0.8), (0.8, -0.2, -0.5)))),
            colors=np.array(((0.75, 0.72, 0.68), (0.16, 0.18, 0.2))),
            up=np.array((0.0, -1.0, 0.0)),
            sky=np.array((0.36, 0.36, 0.38)),
            ground=np.array((0.22, 0.2, 0.18)),
        )

    def pose(self, name: str) -> torch.Tensor:
        """``(1, 15, 3)``, fingers that meet pushed apart."""
        if name == "mean":
            return self.model.pose_from_theta(torch.zeros(1, 45))
        pose = torch.from_numpy(pose_from_angles(angles_of(POSES[name])[None], self.axes))
        return settled(self.pose_space, pose.float())[0]

    def row(self, pose: str, shape: tuple[float, ...] = (), skeleton: bool = False) -> np.ndarray:
        """The hand from ``VIEWS`` sides, from the palm on, turned about the fingers' axis."""
        betas = torch.zeros(1, 10)
        betas[0, : len(shape)] = torch.tensor(shape)
        with torch.no_grad():
            vertices = self.model(self.pose(pose), betas)
            joints = self.model.skeleton(vertices)[0].double().numpy()
        turns = np.arange(VIEWS) * 2 * np.pi / VIEWS
        views = [self.view(vertices[0].double().numpy(), joints, t, skeleton) for t in turns]
        return np.hstack(views)

    def samples(self, rows: int) -> np.ndarray:
        """Random hands of the training distribution, ``VIEWS`` a row, each from its own side."""
        rng = np.random.default_rng(2)
        poses = torch.from_numpy(sample_poses(rng, rows * VIEWS, self.axes)).float()
        poses, _ = settled(self.pose_space, poses)
        seeded = torch.Generator().manual_seed(2)
        with torch.no_grad():
            vertices = self.model(poses, torch.randn(len(poses), 10, generator=seeded))
            joints = self.model.skeleton(vertices).double().numpy()
        turns = rng.uniform(-1.2, 1.2, len(poses)) + np.pi * (rng.random(len(poses)) < 0.4)
        pairs = zip(vertices.double().numpy(), joints, turns, strict=True)
        views = [self.view(*pair) for pair in pairs]
        return np.vstack([np.hstack(views[k * VIEWS : (k + 1) * VIEWS]) for k in range(rows)])

    def view(
        self, vertices: np.ndarray, joints: np.ndarray, turn: float, skeleton: bool = False
    ) -> np.ndarray:
        """``(S, S, 3)`` uint8 RGB."""
        c, s = np.cos(turn), np.sin(turn)
        rotation = np.array(((c, 0, s), (0, 1, 0), (-s, 0, c))) @ upright()
        middle = np.array((-0.005, -0.01, 0.01))
        seen, points = ((v - middle) @ rotation.T / SPAN_M for v in (vertices, joints))
        triangles = self.model.triangles.numpy()
        picture = render_hand(
            seen, triangles, self.size, self.skin, self.lights, supersampling=3,
            texture_points=vertices,
        )  # fmt: skip
        share = picture.mask[..., None] * (0.45 if skeleton else 1.0)
        image = ((picture.rgb * share + PAPER * (1 - share)) * 255 + 0.5).astype(np.uint8)
        return _with_skeleton(image, points) if skeleton else image


def _with_skeleton(image: np.ndarray, points: np.ndarray) -> np.ndarray:
    image = np.ascontiguousarray(image)
    scale = 16 * image.shape[0] / 2
    pixels = np.round((points[:, :2] + 1) * scale - 8).astype(int)
    for joint in range(1, 21):
        parent = 0 if joint % 4 == 1 else joint - 1
        cv2.line(image, pixels[parent], pixels[joint], (40, 90, 170), 1, cv2.LINE_AA, 4)
    for point in pixels:
        cv2.circle(image, point, 16 * image.shape[0] // 90, (190, 40, 30), -1, cv2.LINE_AA, 4)
    return image


def _skin(model: HandModel) -> Skin:
    rest = model.v_template.double().numpy()
    normals, _ = area_normals(rest, model.triangles.numpy())
    palm = np.clip(-normals[:, 1], 0, 1)
    skin = random_skin(np.random.default_rng(3), len(rest), tone=0.3, palm=palm)
    return replace(skin, grain=0.02)  # a picture that compresses well, too


def _write(path: Path, rows: dict[str, np.ndarray]) -> None:
    """A contact sheet, each row with its name."""
    for name, row in rows.items():
        cv2.putText(row, name, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (60, 60, 60), 1, cv2.LINE_AA)
    sheet = cv2.cvtColor(np.vstack(list(rows.values())), cv2.COLOR_RGB2BGR)
    cv2.imwrite(str(path), sheet, [cv2.IMWRITE_PNG_COMPRESSION, 9])


def main() -> None:
    parser = argparse.ArgumentParser(description="Draw the open hand from all sides.")
    parser.add_argument("--output", type=Path, default=IMAGES, help="folder (default: docs/images)")
    parser.add_argument("--size", type=int, default=150, help="pixels of one picture")
    parser.add_argument("--hand-model", default="", help="the open hand if not given")
    options = parser.parse_args()
    table = Turntable(HandModel(options.hand_model or hand_model_path()), options.size)
    poses = ("rest", "mean", "fist", "point", "pinch", "spread", "thumb up")
    _write(options.output / "open_hand_poses.png", {name: table.row(name) for name in poses})
    shapes = {name: table.row("mean", shape) for name, shape in SHAPES.items()}
    _write(options.output / "open_hand_shapes.png", shapes)
    skeletons = {name: table.row(name, skeleton=True) for name in ("rest", "fist", "pinch")}
    _write(options.output / "open_hand_skeleton.png", skeletons)
    _write(options.output / "open_hand_samples.png", {"": table.samples(5)})


if __name__ == "__main__":
    main()
