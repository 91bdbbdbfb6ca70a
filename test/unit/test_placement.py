"""From the crop into the camera: what is published in metres must look like what was seen."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.crop import crop_image
from dhpe_ros.geometry.lens import lens_of
from dhpe_ros.geometry.lift import root_position_m
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.evidence import Evidence
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.pipeline import HandPipeline, View
from dhpe_ros.refinement.refine import RefinedParameters
from dhpe_ros.types import Box, Side, Target

CAMERA = Camera(500, 500, 319.5, 239.5, 640, 480)
LENSES = {
    "none": CAMERA.lens,
    "plumb_bob": lens_of("plumb_bob", (-0.35, 0.15, 1e-3, -2e-3, -0.03)),
    "rational": lens_of("rational_polynomial", (0.6, 0.05, 1e-4, 2e-4, 3e-3, 0.95, 0.15, 6e-3)),
    "equidistant": lens_of("equidistant", (-0.02, 0.01, -4e-3, 5e-4)),
}
TURN = ((0.96, 0.0, 0.28), (0.0, 1.0, 0.0), (-0.28, 0.0, 0.96))
IMAGE = np.zeros((480, 640, 3), np.uint8)


@pytest.fixture(scope="module")
def projection():
    return Projection(HandModel(hand_model_path()))


def _lifted(projection, box, mirrored=False, camera=CAMERA):
    h = HandParameters.start(1)
    h[:, 0], h[:, 4:8] = 6.5, torch.tensor((0.6, 0.6, 0.3, -0.2))
    joints = projection(h).joints[..., :2]
    evidence = Evidence(torch.zeros(1, 2048), joints, torch.ones(1, 21), torch.ones(1))
    zero, yes = torch.zeros(1), torch.ones(1, dtype=torch.bool)
    refined = RefinedParameters(h, 0, zero, zero, yes)
    view, crop = View(IMAGE, camera, Target(box)), crop_image(IMAGE, box, mirrored)
    (hand,) = HandPipeline.lift(
        SimpleNamespace(projection=projection),
        [view],
        [crop],
        evidence,
        refined,
        torch.zeros(1, 21),
    )
    return hand


@pytest.mark.parametrize("lens", LENSES.values(), ids=LENSES)
@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize(
    "box", [Box(230, 150, 180, 180), Box(0, 0, 150, 150), Box(500, 340, 150, 150)]
)
def test_metres_project_onto_the_pixels_also_at_the_edge(projection, box, mirrored, lens):
    camera = replace(CAMERA, lens=lens, rotation=TURN)
    hand = _lifted(projection, box, mirrored, camera)
    difference = np.linalg.norm(camera.project(hand.joints_m) - hand.joints_px, axis=1)
    size = np.ptp(hand.joints_px, axis=0).max()
    assert difference.mean() < 0.03 * size
    assert difference.max() < 0.09 * size


@pytest.mark.parametrize(
    ("lens", "degrees"),
    [(lens, angle) for lens in LENSES.values() for angle in (0, 40)]
    + [(LENSES["equidistant"], angle) for angle in (80, 100)],
)
def test_the_root_lies_where_the_joints_are_seen(projection, lens, degrees):
    angle = np.radians(degrees)
    camera = replace(CAMERA, lens=lens, rotation=TURN)
    joints = _lifted(projection, Box(230, 150, 180, 180)).joints_m.astype(float)
    about = joints - joints[9]
    root = np.array(TURN) @ (0.5 * np.sin(angle), 0.05, 0.5 * np.cos(angle))
    seen = camera.project(about + root)
    np.testing.assert_allclose(root_position_m(camera, about, seen), root, atol=1e-9)


def test_raw_and_rectified_images_see_one_hand_at_one_place():
    rectified = CAMERA
    raw = replace(CAMERA, fx=430, fy=440, lens=LENSES["plumb_bob"], rotation=TURN)
    points_m = np.array(((0.1, -0.05, 0.5), (-0.05, 0.1, 0.7)))
    for camera in (rectified, raw):
        rays = camera.rays(camera.project(points_m))
        lengths = np.linalg.norm(points_m, axis=1, keepdims=True)
        np.testing.assert_allclose(rays * lengths, points_m, atol=1e-9)


def test_depth_is_what_scale_and_focal_length_say(projection):
    hand = _lifted(projection, Box(230, 150, 180, 180))
    assert hand.joints_m[9, 2] == pytest.approx(500 / (6.5 * 90), rel=0.05)


def test_sizes_are_those_of_the_model(projection):
    hand = _lifted(projection, Box(0, 0, 150, 150))
    model = projection.hand_model
    rest = model.skeleton(model(model.pose_from_theta(torch.zeros(1, 45)), torch.zeros(1, 10)))[0]
    for start, end in ((0, 9), (5, 6), (2, 3)):
        expected = float((rest[start] - rest[end]).norm())
        found = np.linalg.norm(hand.joints_m[start] - hand.joints_m[end])
        assert found == pytest.approx(expected, rel=1e-3)


def test_a_hand_in_a_picture_cut_out_of_another_is_not_turned(projection):
    """The optical axis of a square picture without intrinsics is not known to be its middle."""
    middle, corner = Box(230, 150, 180, 180), Box(0, 0, 150, 150)
    turns = {}
    for width, height in ((640, 480), (480, 480)):
        camera = Camera.from_field_of_view(width, height, 60.0)
        frames = [
            _lifted(projection, box, camera=camera).joint_rotations[0] for box in (middle, corner)
        ]
        turns[width] = np.degrees(np.arccos((np.trace(frames[0].T @ frames[1]) - 1) / 2))
    assert turns[640] > 15
    assert turns[480] == pytest.approx(0, abs=0.1)
    measured = Camera(400, 400, 239.5, 239.5, 480, 480)
    assert not np.allclose(measured.look_at(np.zeros(2)), np.eye(3))


def test_a_mirrored_crop_gives_the_mirror_image_of_the_hand(projection):
    right = _lifted(projection, Box(100, 100, 150, 150))
    left = _lifted(projection, Box(640 - 250, 100, 150, 150), mirrored=True)
    assert (right.side, left.side) == (Side.RIGHT, Side.LEFT)
    assert np.allclose(left.vertices_m, right.vertices_m * (-1, 1, 1), atol=1e-4)
    volume = [_volume(hand) for hand in (right, left)]
    assert volume[0] > 0
    assert volume[1] == pytest.approx(volume[0], rel=1e-3)  # turned inside out by nobody


def _volume(hand):
    points = hand.vertices_m - hand.vertices_m.mean(0)
    a, b, c = (points[hand.triangles[:, k]] for k in range(3))
    return np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6
