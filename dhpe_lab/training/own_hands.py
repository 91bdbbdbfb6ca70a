"""Hands of a recording that nobody labelled: those that several looks agree about.

Each hand is seen again, turned about the middle of its crop. What the looks agree on, after
refinement, is taken for its label; hands they do not agree about are left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from dhpe_lab.datasets.samples import Sample
from dhpe_lab.synthesis.photo_hands import PhotoHand
from dhpe_ros.geometry.crop import OUTSIDE, crop_image
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.media import Media
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.rendering.overlay import hand_mask
from dhpe_ros.tracking.tracker import HandTracker
from dhpe_ros.types import Box, Hand, Side, Target

SOURCE = "own"
TURNS_DEG = (-25.0, 25.0)  # beside the hand as it is
AGREEMENT = 0.05  # mean distance of a look's joints to the looks' middle, of their box, at most
RESIDUAL = 0.06  # mean distance of the mesh to the 2D joints, of the box, at most
_PATCH_SIZES = 96, 320  # pixels a side that training can use
_REACH = 1.5  # of a crop's side, that is kept of the picture


@dataclass(frozen=True)
class OwnHand:
    """One hand of one frame, with what the looks agree on."""

    frame: int
    sample: Sample  # the picture about it, joints and mask
    photo: PhotoHand  # the mesh on the crop, for new views


def own_hands(pipeline: HandPipeline, media: Media) -> Iterator[OwnHand | None]:
    """The hand of each frame, followed through a sequence; None where there is none to trust."""
    tracker = HandTracker(pipeline)
    for frame in media.frames():
        if not media.is_sequence:
            tracker.reset()
        hands = tracker.process(frame.image, frame.camera)
        yield _own_hand(pipeline, frame.image, frame.index, hands[0]) if hands else None


def _own_hand(pipeline: HandPipeline, image: np.ndarray, frame: int, hand: Hand) -> OwnHand | None:
    length = float(np.ptp(hand.joints_px, axis=0).max())
    fits = hand.refinement.residual_after_px <= RESIDUAL * length
    if not (fits and hand.refinement.accepted):
        return None
    square = hand.box.squared(_REACH)
    patch = crop_image(image, square, size=int(np.clip(round(square.width), *_PATCH_SIZES)))
    joints = agreed_joints(pipeline, patch.image, hand, square, length)
    if joints is None:
        return None
    scale = len(patch.image) / square.width
    vertices = hand.vertices_px * scale
    vertices[:, :2] = to_patch(hand.vertices_px[:, :2], square, scale)
    mask = hand_mask([replace(hand, vertices_px=vertices)], *patch.image.shape[:2])
    sample = Sample(
        image=patch.image,
        joints_px=joints.astype(np.float32),
        right=hand.side is Side.RIGHT,
        source=SOURCE,
        mask=mask,
        name=f"frame {frame}",
    )
    return OwnHand(frame, sample, _photo(pipeline, image, hand))


def agreed_joints(
    pipeline: HandPipeline, patch: np.ndarray, hand: Hand, square: Box, length: float
) -> np.ndarray | None:
    """``(21, 2)`` pixels of the patch: the middle of all looks; None where they do not agree.

    ``patch`` shows ``square``; ``length`` is that of the joints' box, in pixels of the picture.
    """
    size = len(patch)
    scale = size / square.width
    middle = (size - 1) / 2
    side = hand.box.width * scale
    target = Target(Box((size - side) / 2, (size - side) / 2, side, side), hand.side)
    looks = [to_patch(hand.joints_px, square, scale)]
    for angle in TURNS_DEG:
        turn = cv2.getRotationMatrix2D((middle, middle), angle, 1.0)
        turned = cv2.warpAffine(patch, turn, (size, size), borderValue=(OUTSIDE,) * 3)
        seen = pipeline.estimate(turned, targets=[target])
        if not seen:
            return None
        back = cv2.invertAffineTransform(turn)
        looks.append(seen[0].joints_px @ back[:, :2].T + back[:, 2])
    joints = np.median(looks, axis=0)
    apart = np.linalg.norm(np.array(looks) - joints, axis=2).mean(1).max()
    return joints if apart <= AGREEMENT * length * scale else None


def to_patch(points_px: np.ndarray, square: Box, scale: float) -> np.ndarray:
    """Pixels of the picture ``(N, 2)`` to those of a patch that shows ``square``."""
    return (points_px + 0.5 - (square.x, square.y)) * scale - 0.5


@torch.no_grad()
def _photo(pipeline: HandPipeline, image: np.ndarray, hand: Hand) -> PhotoHand:
    crop = crop_image(image, hand.box, mirrored=hand.side is Side.LEFT)
    parameters = torch.from_numpy(hand.parameters)[None].to(pipeline.device)
    vertices = pipeline.projection(parameters).vertices[0].cpu().numpy()
    model = pipeline.projection.hand_model
    pose = model.pose_from_theta(HandParameters.split(parameters).pose)[0].cpu().numpy()
    return PhotoHand(crop.image, vertices, pose, SOURCE)
