"""The clip's hand as cameras with other lenses see it: metres must be right whatever the lens."""

from itertools import islice

import cv2
import numpy as np
import pytest

from dhpe_ros.config import Config
from dhpe_ros.detection.search import joints_box
from dhpe_ros.files.resources import DEMO_CLIP
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.lens import BrownConrady, lens_of
from dhpe_ros.geometry.scale import hand_length_m
from dhpe_ros.media import open_media
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.ros.demo.report import Truth
from dhpe_ros.types import MIDDLE_MCP, Target

WIDTH, HEIGHT, FOCAL, FRAME = 480, 360, 300, 48
LENSES = {
    "none": BrownConrady(),
    "plumb_bob": lens_of("plumb_bob", (-0.28, 0.07, 1e-3, -5e-4, -5e-3)),
    "rational": lens_of("rational_polynomial", (0.6, 0.05, 1e-4, 2e-4, 3e-3, 0.95, 0.15, 6e-3)),
    "equidistant": lens_of("equidistant", (-0.02, 0.01, -4e-3, 5e-4)),
}


@pytest.fixture(scope="module")
def pipeline(one_thread):
    # In floats: int8 bends a finger of this hand, whatever the lens.
    return HandPipeline(Config().replace({"model.backend": "eager"}))


@pytest.fixture(scope="module")
def clip():
    return next(islice(open_media(DEMO_CLIP).frames(), FRAME, None)).image


def turned_away(point: np.ndarray, degrees: float) -> np.ndarray:
    """``(3, 3)``: a rotation after which ``(3,)`` lies so far to the right of the optical axis."""
    middle = np.cross(point / np.linalg.norm(point), (0.0, 0.0, 1.0))
    angle = np.arcsin(np.linalg.norm(middle))
    to_middle = cv2.Rodrigues(middle / np.linalg.norm(middle) * angle)[0]
    return cv2.Rodrigues(np.array((0.0, np.radians(degrees), 0.0)))[0] @ to_middle


def seen_by(camera: Camera, clip: np.ndarray, clip_camera: Camera, turn: np.ndarray) -> np.ndarray:
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    rays = camera.rays(np.column_stack((x.ravel(), y.ravel()))) @ turn
    rays[rays[:, 2] < 0.1] = (9, 9, 1)  # the clip's camera does not see there
    pixels = clip_camera.project(rays).reshape(HEIGHT, WIDTH, 2).astype(np.float32)
    return cv2.remap(clip, pixels, None, cv2.INTER_LINEAR, borderValue=(127, 127, 127))


@pytest.mark.parametrize(
    ("lens", "degrees"), [(LENSES["equidistant"], 0), *((lens, 30) for lens in LENSES.values())]
)
def test_a_hand_lies_where_it_is_whatever_the_lens(pipeline, clip, lens, degrees):
    truth = Truth.beside(DEMO_CLIP)
    turn = turned_away(truth.joints_m[FRAME][MIDDLE_MCP], degrees)
    true_m = truth.joints_m[FRAME] @ turn.T
    centre = (WIDTH - 1) / 2, (HEIGHT - 1) / 2
    camera = Camera(FOCAL, FOCAL, *centre, WIDTH, HEIGHT, lens=lens)
    true_px = camera.project(true_m)
    image = seen_by(camera, clip, truth.camera, turn)
    target = Target(joints_box(true_px, pipeline.config.tracking))
    (hand,) = pipeline.estimate(image, camera, [target])
    joints_m = hand.joints_m * (hand_length_m(true_m) / hand_length_m(hand.joints_m))
    assert np.linalg.norm(joints_m - true_m, axis=1).mean() < 0.03  # 0.04 to 0.1 without the lens
