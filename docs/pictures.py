"""Makes the pictures of README and docs from the clip that ships: ``python docs/pictures.py``."""

import argparse
from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import torch

from dhpe_lab.rendering import Lights, Rendering, photo_skin, random_skin, render_hand
from dhpe_lab.synthesis.synthesis import random_hands, render_sample
from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.crop import crop_image
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.media import open_media
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.rendering.overlay import draw_overlay, hand_mask
from dhpe_ros.types import Hand, Side

ROOT = Path(__file__).resolve().parents[1]
FRAME = 40
SIZE = 360  # pixels, height of the row
TILE = 200
_DAYLIGHT = Lights(
    directions=np.array(((-0.5, -0.6, -0.62), (0.7, -0.1, -0.7))),
    colors=np.array(((0.75, 0.74, 0.72), (0.2, 0.2, 0.21))),
    up=np.array((0.0, -1.0, 0.0)),
    sky=np.full(3, 0.5),
    ground=np.full(3, 0.35),
)


def main() -> None:
    argparse.ArgumentParser(description=__doc__).parse_args()
    frame = next(islice(open_media(DEMO_CLIP).frames(), FRAME, None)).image
    height, width = frame.shape[:2]
    pipeline = HandPipeline()
    hands = pipeline.estimate(frame, Camera.from_field_of_view(width, height, 60))
    mask = np.repeat(hand_mask(hands, height, width)[..., None], 3, axis=2)
    columns = [frame, draw_overlay(frame, hands), mask]
    row = [_fit(picture) for picture in columns] + [seen_from_the_side(hands[0])]
    _write("overview", row)
    _write("photo_texture", photo_texture(pipeline.projection, frame, hands[0]))
    _write("synthetic_hands", synthetic_hands(pipeline.projection.hand_model))


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


def seen_from_the_side(hand: Hand) -> np.ndarray:
    """The published mesh, turned by 70 degrees about the vertical."""
    points = hand.vertices_m - hand.vertices_m.mean(0)
    angle = np.radians(70)
    c, s = np.cos(angle), np.sin(angle)
    turned = points @ np.array(((c, 0, s), (0, 1, 0), (-s, 0, c))).T
    turned *= 0.8 / np.abs(turned[:, :2]).max()
    rng = np.random.default_rng(3)
    skin = random_skin(rng, len(points), tone=0.35)
    picture = render_hand(turned, hand.triangles, SIZE, skin, Lights.random(rng))
    return _on_paper(picture)


def _on_paper(picture: Rendering) -> np.ndarray:
    share = picture.mask[..., None]
    return ((picture.rgb * share + 0.96 * (1 - share)) * 255).astype(np.uint8)


def _fit(picture: np.ndarray) -> np.ndarray:
    width = round(picture.shape[1] * SIZE / picture.shape[0])
    return cv2.resize(picture, (width, SIZE), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
