"""The whole way from an image to hands, with untrained networks: the geometry must hold."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from PIL import Image

from dhpe_ros.config import Config
from dhpe_ros.files.resources import DEMO_CLIP, shared_file
from dhpe_ros.geometry.association import same_hand
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.media import open_media
from dhpe_ros.networks.weights import build_networks, load_networks, save_networks
from dhpe_ros.pipeline import HandPipeline, View
from dhpe_ros.refinement import gradient
from dhpe_ros.rendering.overlay import draw_overlay, hand_mask
from dhpe_ros.tracking.tracker import HandTracker
from dhpe_ros.types import Box, Side, SideSource, Target


@pytest.fixture(scope="module")
def untrained(tmp_path_factory):
    """Weights of networks that have seen nothing: the geometry must hold all the same."""
    path = tmp_path_factory.mktemp("weights") / "untrained.safetensors"
    save_networks(build_networks("lite"), path, {})
    return str(path)


@pytest.fixture
def make(untrained):
    def build(**changes):
        base = {
            "model.weights": untrained, "model.backend": "eager", "tracking.min_score": 0.0,
            "refinement.steps": 2,
        }  # fmt: skip
        return HandPipeline(Config().replace({**base, **changes}))

    return build


@pytest.fixture(scope="module")
def image():
    return np.random.default_rng(0).integers(0, 256, (300, 400, 3), np.uint8)


TARGET = [Target(Box(90, 60, 180, 180))]


def test_a_hand_has_everything(make, image):
    (hand,) = make().estimate(image, targets=TARGET)
    assert hand.joints_px.shape == (21, 2)
    assert hand.joints_m.shape == (21, 3)
    assert hand.vertices_m.shape == hand.normals.shape == hand.vertices_px.shape == (778, 3)
    assert hand.triangles.shape == (1538, 3)
    assert hand.parameters.shape == (63,)
    assert hand.refinement.steps == 2
    assert np.allclose(np.linalg.norm(hand.normals, axis=1), 1, atol=1e-4)
    assert np.linalg.det(hand.joint_rotations) == pytest.approx(np.ones(21), abs=1e-4)
    assert hand.joint_angles.shape == (20,)
    assert hand.occluded.shape == (21,)
    assert (hand.fit_stds_m > 0).all()


def test_metres_project_onto_the_pixels(make, image):
    camera = Camera(500, 500, 199.5, 149.5, 400, 300)
    (hand,) = make().estimate(image, camera, TARGET)
    assert hand.intrinsics_known
    difference = np.linalg.norm(camera.project(hand.joints_m) - hand.joints_px, axis=1)
    assert difference.mean() < 0.05 * np.ptp(hand.joints_px, axis=0).max()  # but for perspective
    length_m = np.linalg.norm(hand.joints_m[9] - hand.joints_m[0])
    assert 0.05 < length_m < 0.15


def test_a_nearer_camera_sees_the_same_hand_nearer(make, image):
    far, near = (Camera(f, f, 199.5, 149.5, 400, 300) for f in (800, 400))
    (a,), (b,) = (make().estimate(image, camera, TARGET) for camera in (far, near))
    assert a.joints_m[9, 2] == pytest.approx(2 * b.joints_m[9, 2], rel=0.03)
    assert np.allclose(a.joints_px, b.joints_px, atol=1e-3)


def test_a_camera_of_another_size_is_refused(make, image):
    with pytest.raises(
        ValueError, match="the camera is for 1280x960 pixels, the image has 400x300"
    ):
        make().estimate(image, Camera(500, 500, 640, 480, 1280, 960), TARGET)


def test_without_intrinsics_nothing_is_metric(make, image):
    (hand,) = make().estimate(image, targets=TARGET)
    assert not hand.intrinsics_known


def test_a_left_hand_is_a_right_hand_in_the_mirror(make, image):
    width = image.shape[1]
    box = TARGET[0].box
    turned = [Target(Box(width - box.x - box.width, box.y, box.width, box.height))]
    (right,) = make(**{"tracking.side": "right"}).estimate(image, targets=TARGET)
    (left,) = make(**{"tracking.side": "left"}).estimate(image[:, ::-1].copy(), targets=turned)
    assert (right.side, left.side) == (Side.RIGHT, Side.LEFT)
    assert np.allclose(left.joints_px[:, 0], width - 1 - right.joints_px[:, 0], atol=0.02)
    assert np.allclose(left.joints_px[:, 1], right.joints_px[:, 1], atol=0.02)
    assert np.allclose(left.vertices_m, right.vertices_m * (-1, 1, 1), atol=1e-4)
    assert np.allclose(left.normals, right.normals * (-1, 1, 1), atol=1e-2)
    assert np.linalg.det(left.joint_rotations) == pytest.approx(np.ones(21), abs=1e-4)
    x, y, z = np.moveaxis(right.joint_rotations, 2, 0) * (-1, 1, 1)
    assert np.allclose(np.moveaxis(left.joint_rotations, 2, 0), (x, -y, z), atol=1e-4)
    assert np.allclose(left.joint_angles, right.joint_angles, atol=1e-3)
    assert np.allclose(left.joint_stds_m, right.joint_stds_m, rtol=1e-3, equal_nan=True)


@pytest.mark.parametrize(
    ("source", "own", "side"),
    [
        (SideSource.GIVEN, 0.05, Side.RIGHT),
        (SideSource.FOLLOWED, 0.3, Side.RIGHT),
        (SideSource.FOLLOWED, 0.05, Side.LEFT),
        (SideSource.FOUND, 0.3, Side.LEFT),
    ],
)
def test_an_image_turns_a_hand_that_was_found_and_a_followed_one_where_it_is_clear(
    make, image, monkeypatch, source, own, side
):
    pipeline = make()
    infer = pipeline.infer

    def infer_a_left_hand(crops):
        assert source is not SideSource.GIVEN or not any(crop.mirrored for crop in crops)
        right = torch.tensor([0.9 if crop.mirrored else own for crop in crops])
        return replace(infer(crops), right=right)

    monkeypatch.setattr(pipeline, "infer", infer_a_left_hand)
    target = replace(TARGET[0], side=Side.RIGHT, side_source=source)
    (hand,) = pipeline.estimate(image, targets=[target])
    assert hand.side is side
    right = np.nan if source is SideSource.GIVEN else (own + 0.1) / 2  # the mean of both views
    assert hand.right == pytest.approx(right, nan_ok=True)


def test_gradient_steps_are_captured_before_the_first_image_and_never_later(
    make, image, monkeypatch, caplog
):
    """With plain steps in place of graphs: no CUDA device is needed."""
    captured = []

    class Graphed(gradient.Descent):
        def __init__(self, looks, *others):
            super().__init__(looks, *others)
            captured.append(len(self.parameters))

    monkeypatch.setattr(gradient, "_GraphedDescent", Graphed)
    monkeypatch.setattr(gradient.StepGraphs, "DEVICES", ("cpu",))
    settings = {"refinement.optimizer": "adam", "refinement.features_weight": 0.0}
    pipeline = make(**settings, **{"tracking.max_hands": 3})
    pipeline.warm_up()
    assert captured == [1, 2, 3]
    hands = pipeline.estimate(image, targets=TARGET * 3)
    followed = [replace(t, previous=hand) for t, hand in zip(TARGET * 3, hands, strict=True)]
    pipeline.estimate(image, targets=followed[:2])
    assert not caplog.records
    pipeline.estimate(image, targets=TARGET * 4)
    pipeline.configure(pipeline.config.replace({"refinement.step_size": 0.02}))
    pipeline.estimate(image, targets=TARGET)
    assert captured == [1, 2, 3]
    assert [r.message.partition(" run")[0] for r in caplog.records] == [
        "gradient steps of 4 hands",
        "gradient steps of 1 hands",
    ]


def test_every_stage_is_there_for_hands_of_several_images(make, image):
    pipeline = make()
    camera = pipeline.assumed_camera(image)
    views = [View(picture, camera, TARGET[0]) for picture in (image, image[:, ::-1].copy())]
    results = pipeline.run(views, timed=True)
    rows = (results.crops, results.evidence.score, results.estimates, results.hands)
    assert [len(part) for part in rows] == [2] * 4
    assert list(results.seconds) == ["evidence", "mesh", "refinement", "lift"]
    (hand,) = pipeline.estimate(image, targets=TARGET)
    assert np.abs(results.hands[0].joints_px - hand.joints_px).max() < 0.5
    assert pipeline.run(views, min_score=1.0).hands == pipeline.run([]).hands == []
    assert not pipeline.run([]).seconds


def test_scores_below_the_bar_are_no_hands(make, image):
    assert make(**{"tracking.min_score": 1.0}).estimate(image) == []
    assert make(**{"tracking.min_score": 1.0}).estimate(image, targets=TARGET) == []


def test_one_hand_that_was_found_twice_is_there_once(make, image, monkeypatch):
    pipeline = make()
    (hand,) = pipeline.estimate(image, targets=TARGET)
    size = np.ptp(hand.joints_px, axis=0).max()
    beside, far = (replace(hand, joints_px=hand.joints_px + k * size) for k in (0.1, 0.5))
    assert same_hand(hand, beside) and not same_hand(hand, far)
    monkeypatch.setattr(pipeline, "find", lambda _: TARGET)
    monkeypatch.setattr(pipeline, "lift", lambda *_: [hand, beside, far])
    assert pipeline.estimate(image) == [hand, far]
    assert len(pipeline.estimate(image, targets=TARGET)) == 3  # somebody asked for each


@pytest.mark.parametrize("shape", [(1, 1), (3, 900), (700, 9), (17, 23)])
def test_odd_images_are_searched_without_complaint(make, shape):
    image = np.full((*shape, 3), 90, np.uint8)
    for hand in make().estimate(image):
        assert np.isfinite(hand.vertices_m).all()


@pytest.mark.parametrize("bad", [np.zeros((5, 5)), np.zeros((5, 5, 3)), np.zeros((0, 5, 3), "u1")])
def test_what_is_no_image_is_refused(make, bad):
    with pytest.raises(ValueError, match="an image is"):
        make().estimate(bad)


@pytest.mark.parametrize("bad", [None, [], [[1, 2], [3]], "gone.png", object()])
def test_what_is_no_image_is_a_value_error_in_stills_and_videos(make, bad):
    pipeline = make()
    for infer in (pipeline.estimate, HandTracker(pipeline).process):
        with pytest.raises(ValueError, match=r"an image is|cv2.imread|gone.png: no such file"):
            infer(bad)


def test_images_come_as_arrays_tensors_pil_images_and_paths(make, image, tmp_path):
    Image.fromarray(image).save(tmp_path / "hand.png")
    pipeline = make()
    (expected,) = pipeline.estimate(image, targets=TARGET)
    path = tmp_path / "hand.png"
    for same in (torch.from_numpy(image), Image.fromarray(image), path, str(path)):
        (hand,) = pipeline.estimate(same, targets=TARGET)
        np.testing.assert_array_equal(hand.joints_m, expected.joints_m)


@pytest.mark.parametrize("optimizer", ["levenberg_marquardt", "adam"])
def test_another_default_type_changes_nothing(make, image, optimizer):
    (expected,) = make(**{"refinement.optimizer": optimizer}).estimate(image, targets=TARGET)
    torch.set_default_dtype(torch.float64)
    try:
        pipeline = make(**{"refinement.optimizer": optimizer})
        (hand,) = pipeline.estimate(image, targets=TARGET)
        pipeline.warm_up()
    finally:
        torch.set_default_dtype(torch.float32)
    assert hand.vertices_m.dtype == expected.vertices_m.dtype
    np.testing.assert_allclose(hand.joints_m, expected.joints_m, atol=1e-5)


def test_live_settings_change_and_others_are_refused(make):
    pipeline = make()
    pipeline.configure(pipeline.config.replace({"refinement.steps": 0}))
    assert pipeline.config.refinement.steps == 0
    with pytest.raises(ValueError, match=r"model\.profile cannot change while running"):
        pipeline.configure(pipeline.config.replace({"model.profile": "full"}))
    assert pipeline.config.model.profile == "lite"


def test_impossible_devices_are_named(make):
    with pytest.raises(ValueError, match=r"model\.device 'cuda:99' is not there"):
        make(**{"model.device": "cuda:99"})


def test_the_full_profile_that_ships_finds_the_hand_and_nothing_else(image):
    settings = {"model.profile": "full", "model.backend": "eager"}
    pipeline = HandPipeline(Config().replace(settings))
    frame = next(islice(open_media(DEMO_CLIP).frames(), 40, None))
    (hand,) = pipeline.estimate(frame.image)
    assert hand.side is Side.RIGHT
    assert hand.score > 0.7
    assert hand.refinement.residual_after_px < hand.refinement.residual_before_px
    assert pipeline.estimate(image) == []  # noise


def test_a_profile_without_weights_says_what_to_do(monkeypatch):
    def without_full(name):
        if "full" in name:
            raise FileNotFoundError(f"no {name}")
        return shared_file(name)

    monkeypatch.setattr("dhpe_ros.networks.weights.shared_file", without_full)
    with pytest.raises(
        FileNotFoundError, match=r"the full profile has no weights.*install the package again"
    ):
        HandPipeline(Config().replace({"model.profile": "full"}))


def test_pictures_of_a_hand(make, image):
    hands = make().estimate(image, targets=TARGET)
    before = image.copy()
    picture, mask = draw_overlay(image, hands), hand_mask(hands, 300, 400)
    assert np.array_equal(image, before)
    assert picture.shape == image.shape
    assert (picture != image).any()
    assert set(np.unique(mask)) == {0, 255}
    joints = hands[0].joints_px.round().astype(int)
    inside = (joints >= 0).all(1) & (joints < (400, 300)).all(1)
    assert (mask[joints[inside, 1], joints[inside, 0]] == 255).mean() > 0.5
    assert np.array_equal(draw_overlay(image, []), image)
    away = [replace(hands[0], vertices_px=hands[0].vertices_px + np.float32((500, 0, 0)))]
    assert not hand_mask(away, 300, 400).any()
    draw_overlay(image, away)


def test_weights_survive_saving_and_wrong_ones_are_refused(tmp_path, untrained):
    networks = load_networks(untrained, "lite")
    copy = tmp_path / "copy.safetensors"
    save_networks(networks, copy, {"note": 1})
    again = load_networks(copy, "lite")
    for a, b in zip(networks.modules(), again.modules(), strict=True):
        for name, tensor in a.state_dict().items():
            assert tensor.equal(b.state_dict()[name]), name
    assert again.training == {"note": 1}
    with pytest.raises(ValueError, match="weights of the lite profile, but full was asked for"):
        load_networks(copy, "full")
    next(again.evidence.parameters()).view(-1)[0] = float("nan")
    save_networks(again, tmp_path / "nan.safetensors", {})
    with pytest.raises(ValueError, match=r"nan\.safetensors: evidence\..* not finite"):
        load_networks(tmp_path / "nan.safetensors", "lite")
    copy.write_bytes(copy.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"copy\.safetensors: not a readable weights file"):
        load_networks(copy, "lite")
    with pytest.raises(FileNotFoundError, match="no weights at"):
        load_networks(tmp_path / "none.safetensors", "lite")
