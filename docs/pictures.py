"""Makes the pictures of the README from the clip that ships: ``python docs/pictures.py``."""

from itertools import islice
from pathlib import Path

import cv2
import numpy as np

from dhpe_ros.camera import Camera
from dhpe_ros.drawing import draw_overlay, hand_mask
from dhpe_ros.media import open_media
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.rendering import Lights, random_skin, render_hand
from dhpe_ros.types import Hand

ROOT = Path(__file__).resolve().parents[1]
CLIP = ROOT / "dhpe_ros/assets/demo_clip.mp4"
FRAME = 40
SIZE = 360  # pixels, height of the row


def main() -> None:
    frame = next(islice(open_media(CLIP).frames(), FRAME, None)).image
    height, width = frame.shape[:2]
    hands = HandPipeline().estimate(frame, Camera.from_field_of_view(width, height, 60))
    mask = np.repeat(hand_mask(hands, height, width)[..., None], 3, axis=2)
    columns = [frame, draw_overlay(frame, hands), mask]
    row = [_fit(picture) for picture in columns] + [seen_from_the_side(hands[0])]
    target = ROOT / "docs/images/overview.png"
    target.parent.mkdir(exist_ok=True)
    cv2.imwrite(str(target), cv2.cvtColor(np.hstack(row), cv2.COLOR_RGB2BGR))


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
    paper = np.full((SIZE, SIZE, 3), 0.96)
    share = picture.mask[..., None]
    return ((picture.rgb * share + paper * (1 - share)) * 255).astype(np.uint8)


def _fit(picture: np.ndarray) -> np.ndarray:
    width = round(picture.shape[1] * SIZE / picture.shape[0])
    return cv2.resize(picture, (width, SIZE), interpolation=cv2.INTER_AREA)


if __name__ == "__main__":
    main()
