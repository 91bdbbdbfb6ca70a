"""Makes the pictures of README and docs from the clip that ships: ``python docs/pictures.py``."""

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from PIL import Image

from dhpe_lab.rendering import Lights, Rendering, photo_skin, render_hand
from dhpe_lab.synthesis.synthesis import random_hands, render_sample
from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.crop import crop_image
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.media import open_media
from dhpe_ros.media.clips import DEFAULT_RATE_HZ
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.rendering import visible_faces
from dhpe_ros.rendering.overlay import draw_overlay
from dhpe_ros.tracking.tracker import HandTracker
from dhpe_ros.types import Hand, Side

ROOT = Path(__file__).resolve().parents[1]
FRAME = 40
SIZE = 300  # pixels, height of a picture
TILE = 200

# Of the view from the side, in the camera's frame.
_MIDDLE, _SPAN_M = np.array((0.0, 0.01, 0.46)), 0.22
_VIEW = cv2.Rodrigues(np.radians((-18.0, 0, 0)))[0] @ cv2.Rodrigues(np.radians((0, 55.0, 0)))[0]
_LIGHT = np.array((-0.35, -0.55, -0.75))
_SKIN = np.array((242, 166, 115))
_FLOOR = [
    np.array(ends)
    for k in range(-4, 5)
    for ends in (
        ((k / 10, 0.16, 0.06), (k / 10, 0.16, 0.86)),
        ((-0.4, 0.16, 0.46 + k / 10), (0.4, 0.16, 0.46 + k / 10)),
    )
]
_DAYLIGHT = Lights(
    directions=np.array(((-0.5, -0.6, -0.62), (0.7, -0.1, -0.7))),
    colors=np.array(((0.75, 0.74, 0.72), (0.2, 0.2, 0.21))),
    up=np.array((0.0, -1.0, 0.0)),
    sky=np.full(3, 0.5),
    ground=np.full(3, 0.35),
)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    tracker = HandTracker(HandPipeline())
    frames = list(open_media(DEMO_CLIP).frames())
    camera = Camera.from_field_of_view(*frames[0].image.shape[1::-1], 60)
    hands = [tracker.process(frame.image, camera, time_s=frame.stamp_s) for frame in frames]
    clip = [demo(f.image, h) for f, h in zip(frames[::2], hands[::2], strict=True)]
    every_ms = round(2000 / DEFAULT_RATE_HZ)
    target = ROOT / "docs/images/demo.webp"
    clip[0].save(
        target,
        save_all=True,
        append_images=clip[1:],
        duration=every_ms,
        loop=0,
        quality=60,
        method=6,
    )
    image, hand = frames[FRAME].image, hands[FRAME][0]
    projection = tracker.pipeline.projection
    _write("photo_texture", photo_texture(projection, image, hand))
    _write("synthetic_hands", synthetic_hands(projection.hand_model))


def demo(image: np.ndarray, hands: list[Hand]) -> Image.Image:
    """The camera's view with the mesh on it, and beside it the published mesh from its side."""
    seen = _fit(draw_overlay(image, hands))
    side = np.full((2 * SIZE, 2 * seen.shape[1], 3), 48, np.uint8)  # fitted later: smooth edges
    for line in _FLOOR:
        (x, y), (u, v) = ((_in_view(line, side)[:, :2] + 1) / 2 * side.shape[1::-1]).astype(int)
        cv2.line(side, (int(x), int(y)), (int(u), int(v)), (95, 95, 95), 2, cv2.LINE_AA)
    for hand in hands:
        faces = visible_faces(
            _in_view(hand.vertices_m, side)[None], hand.triangles, side.shape[:2]
        )[0]
        facing = hand.normals[hand.triangles].mean(1) @ _VIEW.T @ _LIGHT
        colors = _SKIN * (0.35 + 0.65 * np.clip(facing, 0, 1)[:, None])
        side[faces >= 0] = colors[faces[faces >= 0]]
    return Image.fromarray(np.hstack((seen, _fit(side))))


def _in_view(points_m: np.ndarray, picture: np.ndarray) -> np.ndarray:
    """From the camera's frame to the renderer's coordinates in the picture from the side."""
    height, width = picture.shape[:2]
    return ((points_m - _MIDDLE) @ _VIEW.T / _SPAN_M * (height / width, 1, 1)).astype(np.float32)


def _write(name: str, row: list[np.ndarray]) -> None:
    target = ROOT / f"docs/images/{name}.png"
    target.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(target), cv2.cvtColor(np.hstack(row), cv2.COLOR_RGB2BGR))


def synthetic_hands(model: HandModel, columns: int = 10, rows: int = 3) -> list[np.ndarray]:
    """Training pictures as they are rendered, before augmentation, over greys."""
    rng = np.random.default_rng(12)
    pictures = []
    for hand in random_hands(model, columns * rows, rng):
        sample = render_sample(hand, model, rng)
        share = sample.opacity[..., None] / 255
        pictures.append(sample.image * share + rng.uniform(60, 240) * (1 - share))
    stacks = [np.vstack(pictures[k::columns]) for k in range(columns)]
    return [stack.astype(np.uint8) for stack in stacks]


def photo_texture(projection: Projection, image: np.ndarray, hand: Hand) -> list[np.ndarray]:
    """The crop, the mesh with its colours, as seen and turned, and three hands made from it.

    The new hands keep the pose; shape and rotation are random (docs/explanation/method.md).
    """
    crop = crop_image(image, hand.box, mirrored=hand.side is Side.LEFT)
    triangles, rng = projection.hand_model.triangles.numpy(), np.random.default_rng(8)
    seen = torch.from_numpy(hand.parameters)[None]
    skin = photo_skin(crop.image, projection(seen).vertices[0].numpy(), triangles)
    made = [seen, *(_turned(seen, angle) for angle in (60, 120, 180))]
    for _ in range(3):
        new = HandParameters.split(seen.clone())
        new.shape[0] = torch.from_numpy(rng.uniform(-3, 3, 10))
        new.rotation[0] = torch.from_numpy(rng.normal(size=4))
        made.append(new.join())
    row = [cv2.resize(crop.image, (TILE, TILE), interpolation=cv2.INTER_AREA)]
    for index, parameters in enumerate(made):
        vertices = projection(parameters).vertices[0].numpy()
        middle = (vertices.min(0) + vertices.max(0)) / 2
        vertices = (vertices - middle) * (0.9 / np.abs(vertices - middle)[:, :2].max())
        lights = _DAYLIGHT if index < 4 else Lights.random(rng)
        picture = render_hand(vertices, triangles, TILE, skin, lights)
        row.append(_on_paper(picture))
    return row


def _turned(parameters: torch.Tensor, degrees: float) -> torch.Tensor:
    """Turned about the vertical."""
    half = np.radians(degrees) / 2
    w, x, y, z = parameters[0, 4:8].tolist()
    c, s = np.cos(half), np.sin(half)
    turned = parameters.clone()
    turned[0, 4:8] = torch.tensor((c * w - s * y, c * x + s * z, c * y + s * w, c * z - s * x))
    return turned


def _on_paper(picture: Rendering) -> np.ndarray:
    share = picture.mask[..., None]
    return ((picture.rgb * share + 0.96 * (1 - share)) * 255).astype(np.uint8)


def _fit(picture: np.ndarray) -> np.ndarray:
    width = round(picture.shape[1] * SIZE / picture.shape[0])
    return cv2.resize(picture, (width, SIZE), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
