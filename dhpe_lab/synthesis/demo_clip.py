"""Renders the clip that the demo plays, with the truth beside it: ``assets/demo_clip.{mp4,json}``.

A right hand before a blurred room opens, closes, points, turns, moves across and comes nearer.
``python -m dhpe_lab.synthesis.demo_clip``
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from tqdm import tqdm

from dhpe_lab.rendering import Lights, random_skin, render_hand
from dhpe_lab.rendering.lighting import unit
from dhpe_lab.synthesis.backgrounds import room
from dhpe_lab.synthesis.forearm import random_forearm
from dhpe_lab.synthesis.hand_poses import FINGERS, make_plausible, pose_from_angles
from dhpe_lab.synthesis.hand_surface import surface_of
from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.hand.model import HandModel
from dhpe_ros.media.clips import ClipWriter
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.system.programs import run_program
from dhpe_ros.types import MIDDLE_MCP

RATE_HZ = 15.0
CAMERA = Camera(fx=600.0, fy=600.0, cx=319.5, cy=239.5, width=640, height=480)
SEED = 5
LAG_S = 0.05  # from finger to finger, index first: no hand closes all at once

# Degrees; per finger MCP flexion, PIP flexion, abduction to the thumb's side; for the thumb its
# three angles at the root, then MCP and IP flexion. See hand_poses.
_POSES = {
    "relaxed": {
        "index": (12, 20, 3), "middle": (16, 26, 0), "ring": (20, 30, -2), "little": (22, 28, -5),
        "thumb": (2, 6, 2, 8, 12),
    },
    "spread": {
        "index": (-4, 3, 13), "middle": (-2, 3, 1), "ring": (-2, 4, -9), "little": (-4, 5, -18),
        "thumb": (-12, 4, 0, 0, 0),
    },
    "fist": {
        "index": (72, 88, 0), "middle": (76, 92, 0), "ring": (78, 92, 0), "little": (78, 90, 0),
        "thumb": (14, 20, 12, 30, 38),
    },
    "point": {
        "index": (4, 6, 2), "middle": (70, 90, 0), "ring": (74, 92, 0), "little": (76, 90, 0),
        "thumb": (16, 18, 12, 28, 34),
    },
}  # fmt: skip


@dataclass(frozen=True)
class Key:
    """Keyframe of the hand; in between it moves smoothly."""

    time_s: float
    pose: str
    position_m: tuple[float, float, float]  # of the middle knuckle's pivot, optical frame
    turn_deg: tuple[float, float, float]  # about the camera's x, y and z, from upright, palm ahead


KEYS = (
    Key(0.0, "relaxed", (-0.107, 0.043, 0.597), (8, 18, -8)),
    Key(0.9, "spread", (-0.053, 0.016, 0.576), (0, 6, -4)),
    Key(1.7, "fist", (-0.032, 0.021, 0.576), (-4, 2, 0)),
    Key(2.6, "spread", (0.011, 0.011, 0.565), (2, -4, 4)),
    Key(3.5, "point", (0.043, 0.021, 0.555), (4, -16, 2)),
    Key(4.3, "point", (0.080, 0.000, 0.533), (10, -26, 12)),
    Key(5.2, "relaxed", (0.043, 0.021, 0.501), (6, 40, 2)),
    Key(6.0, "spread", (-0.011, 0.027, 0.427), (0, 12, -10)),
    Key(6.7, "spread", (0.000, 0.027, 0.405), (0, 0, 10)),
    Key(7.4, "relaxed", (-0.021, 0.037, 0.448), (6, 8, -4)),
)


@dataclass(frozen=True)
class Moment:
    """The hand at one time."""

    angles: np.ndarray  # (15, 3) radians, see hand_poses
    rotation: np.ndarray  # (3, 3), model frame to the camera's
    position_m: np.ndarray  # (3,)


def moments(keys: Sequence[Key] = KEYS, rate_hz: float = RATE_HZ) -> Iterator[Moment]:
    """The movement through ``keys``, one moment per frame."""
    for index in range(round(keys[-1].time_s * rate_hz)):
        time_s = index / rate_hz
        times = [key.time_s for key in keys]
        place = eased(times, time_s, [key.position_m for key in keys])
        turn = np.radians(eased(times, time_s, [key.turn_deg for key in keys]))
        sway = np.sin(time_s * np.array((2.3, 3.1, 1.7)) + (0, 1, 2))
        yield Moment(
            angles=_angles(keys, time_s),
            rotation=_turned(turn + np.radians(1.5) * sway),
            position_m=place + 0.002 * sway[::-1],
        )


def _angles(keys: Sequence[Key], time_s: float) -> np.ndarray:
    angles = np.zeros((15, 3))
    for lag, finger in enumerate(("thumb", "index", "middle", "ring", "little")):
        values = [_POSES[key.pose][finger] for key in keys]
        now = eased([key.time_s for key in keys], time_s - LAG_S * lag, values)
        first = FINGERS[finger]
        if finger == "thumb":
            angles[first], angles[first + 1, 0], angles[first + 2, 0] = now[:3], now[3], now[4]
        else:
            angles[first, :2], angles[first + 1, 0] = (now[0], now[2]), now[1]
    return make_plausible(np.radians(angles)[None])[0]


def eased(times: Sequence[float], time: float, values: Sequence) -> np.ndarray:
    """``values`` of the key ``times``, at ``time``: slow near each key, as people move."""
    position = np.interp(time, times, np.arange(len(times)))
    index = min(int(position), len(times) - 2)
    part = position - index
    smooth = part**3 * (10 + part * (6 * part - 15))  # minimum jerk
    return (1 - smooth) * np.asarray(values[index], float) + smooth * np.asarray(
        values[index + 1], float
    )


def _turned(turn: np.ndarray) -> np.ndarray:
    """Upright with the palm to the camera (model: fingers -x, palm -y, thumb +z), then turned."""
    about_x, about_y, about_z = (
        cv2.Rodrigues(axis * angle)[0] for axis, angle in zip(np.eye(3), turn, strict=True)
    )
    return about_z @ about_y @ about_x @ upright()


def upright() -> np.ndarray:
    """``(3, 3)``: the model's frame to the camera's, fingers up and the palm to the camera."""
    return np.array(((0.0, 0, 1), (1, 0, 0), (0, 1, 0)))


@dataclass(frozen=True)
class Layer:
    """Camera image of a hand and its forearm, without a background."""

    rgb: np.ndarray  # (480, 640, 3) in 0..1
    alpha: np.ndarray  # (480, 640) in 0..1, the part of the pixel that they cover
    depth_m: np.ndarray  # (480, 640), inf where there is nothing
    joints_m: np.ndarray  # (21, 3), camera optical frame

    def mirrored(self) -> Layer:
        """The other hand."""
        joints_m = self.joints_m * (-1, 1, 1)
        return Layer(self.rgb[:, ::-1], self.alpha[:, ::-1], self.depth_m[:, ::-1], joints_m)


def photograph(
    layers: Sequence[Layer], background: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """``(480, 640, 3)`` uint8 RGB: the layers, the last one in front, with a camera's noise."""
    image = background
    for layer in layers:
        alpha = layer.alpha[..., None]
        image = layer.rgb * alpha + image * (1 - alpha)
    noisy = image + rng.normal(0, 0.006, image.shape)
    return (np.clip(noisy, 0, 1) * 255 + 0.5).astype(np.uint8)


class Stage:
    """Everything that stays the same from frame to frame."""

    def __init__(
        self, seed: int = SEED, shape: np.ndarray | None = None, tone: float = 0.34
    ) -> None:
        """``seed`` is of room, forearm and skin, ``tone`` the skin's, ``shape`` ``(10,)``."""
        self.model = HandModel(hand_model_path())
        self._seed, self._shape = seed, np.zeros(10) if shape is None else shape
        self.background = room(CAMERA.height, CAMERA.width, np.random.default_rng(seed))
        self.lights = Lights(
            directions=unit(np.array(((-0.6, -0.7, -0.7), (0.8, -0.1, -0.6)))),
            colors=np.array(((0.62, 0.57, 0.50), (0.13, 0.15, 0.18))),
            up=np.array((0.0, -1.0, 0.0)),
            sky=np.array((0.34, 0.34, 0.36)),
            ground=np.array((0.24, 0.20, 0.17)),
        )
        surface = surface_of(self.model)
        rng = np.random.default_rng(seed)
        self._skin = random_skin(rng, len(surface.palm), tone=tone, **surface.regions())

    def draw(self, moment: Moment, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """``(480, 640, 3)`` uint8 RGB and the ``(21, 3)`` joints in the camera, metres."""
        layer = self.layer(moment)
        return photograph([layer], self.background, rng), layer.joints_m

    def layer(self, moment: Moment) -> Layer:
        """The hand alone."""
        pose = pose_from_angles(moment.angles, np.asarray(self.model.extras["pose_axes"], float))
        with torch.no_grad():
            shape = torch.from_numpy(self._shape[None]).float()
            posed = self.model(torch.from_numpy(pose[None]).float(), shape)
            joints = self.model.skeleton(posed)[0].double().numpy()
            knuckle = self.model.pivots(posed)[0, MIDDLE_MCP].double().numpy()
        hand_m = posed[0].double().numpy()
        points_m, triangles = self._with_forearm(hand_m)

        def placed(points: np.ndarray) -> np.ndarray:
            return (points - knuckle) @ moment.rotation.T + moment.position_m

        points_cam_m = placed(points_m)
        crop, unit_m = _square_view(points_cam_m)
        picture = render_hand(
            crop, triangles, CAMERA.width, self._skin, self.lights, texture_points=points_m
        )
        rows = slice((CAMERA.width - CAMERA.height) // 2, (CAMERA.width + CAMERA.height) // 2)
        depth_m = points_cam_m[:, 2].mean() + picture.depth[rows] * unit_m
        return Layer(picture.rgb[rows], picture.mask[rows], depth_m, placed(joints))

    def _with_forearm(self, hand_m: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        # The same seed, the same forearm.
        forearm = random_forearm(
            hand_m, self.model.extras["wrist_loop"], np.random.default_rng(self._seed)
        )
        triangles = np.concatenate((self.model.triangles.numpy(), forearm.triangles))
        return np.concatenate((hand_m, forearm.vertices_m)), triangles


def _square_view(points_m: np.ndarray) -> tuple[np.ndarray, float]:
    """Crop coordinates over the square as wide as the image and centred on it; perspective.

    And the metres of a unit of their depth, which is about the mean.
    """
    half = CAMERA.width / 2
    center = np.array(((CAMERA.width - 1) / 2, (CAMERA.height - 1) / 2))
    depth_m = points_m[:, 2]
    unit_m = depth_m.mean() * half / CAMERA.fx
    depth = (depth_m - depth_m.mean()) / unit_m
    return np.column_stack(((CAMERA.project(points_m) - center) / half, depth)), unit_m


def write_demo_clip(folder: Path) -> None:
    """Render ``demo_clip.mp4`` and ``demo_clip.json`` into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    stage, rng, truth = Stage(), np.random.default_rng(SEED), []
    with ClipWriter(folder / "demo_clip.mp4", RATE_HZ) as clip:
        for moment in tqdm(list(moments()), unit="frame"):
            image, joints_m = stage.draw(moment, rng)
            clip.write(image)
            joints_px = CAMERA.project(joints_m)
            truth.append(
                {"joints_px": joints_px.round(2).tolist(), "joints_m": joints_m.round(5).tolist()}
            )
    intrinsics = {
        name: getattr(CAMERA, name) for name in ("fx", "fy", "cx", "cy", "width", "height")
    }
    content = {"side": "right", "rate_hz": RATE_HZ, "intrinsics": intrinsics, "frames": truth}
    (folder / "demo_clip.json").write_text(
        json.dumps(content, separators=(",", ":")) + "\n", "utf-8"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description="Render the clip that the demo plays.")
    folder = "folder (default: %(default)s)"
    parser.add_argument("--output", type=Path, default=DEMO_CLIP.parent, help=folder)
    write_demo_clip(parser.parse_args().output)


if __name__ == "__main__":
    run_program(main)
