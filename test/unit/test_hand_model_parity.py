"""The hand layer against smplx and manopth on one MANO-format file, where they are installed."""

import pickle
import sys
from dataclasses import replace

import cv2
import numpy as np
import pytest
import torch
from fake_tracker import make_hand

from dhpe_ros.cli.predict_files import hand_as_mapping
from dhpe_ros.config import Config
from dhpe_ros.geometry.camera import Camera
from dhpe_ros.geometry.crop import Crop
from dhpe_ros.geometry.lift import lift_to_camera
from dhpe_ros.geometry.scale import scaled
from dhpe_ros.hand.mano_file import read_mano_file
from dhpe_ros.hand.mano_parameters import model_rotation
from dhpe_ros.hand.manopth_hand import ManopthHandModel
from dhpe_ros.hand.model import HandModel, bone_transforms
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.pose_prior import PoseSpace
from dhpe_ros.hand.projection import Projection
from dhpe_ros.hand.rotations import rotation_from_axis_angle, rotation_from_quaternion
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.pipeline import HandPipeline
from dhpe_ros.types import Box, Scale, Side

EXACT_M = 1e-5


@pytest.fixture(scope="module")
def mano_file(tmp_path_factory):
    """The open hand as a MANO_RIGHT.pkl, with a mean pose that is not flat."""
    arrays = dict(read_mano_file(hand_model_path()).arrays)
    arrays["hands_mean"] = np.random.default_rng(0).normal(0, 0.3, 45)
    arrays["hands_coeffs"] = np.zeros((1, 45))
    arrays.update(bs_style="lbs", bs_type="lrotmin", J=np.zeros((16, 3)))
    path = tmp_path_factory.mktemp("mano") / "MANO_RIGHT.pkl"
    path.write_bytes(pickle.dumps(arrays))
    return path


@pytest.fixture(scope="module")
def left_mano_file(mano_file):
    """The same hand mirrored across x = 0, as a MANO_LEFT.pkl."""
    arrays, mirror = pickle.loads(mano_file.read_bytes()), np.array((-1.0, 1.0, 1.0))
    arrays["v_template"] = arrays["v_template"] * mirror
    arrays["shapedirs"] = arrays["shapedirs"] * mirror[:, None]
    # A bend R is mirrored to M R M.
    turns = np.tile(np.outer(mirror, mirror).ravel(), 15)
    arrays["posedirs"] = arrays["posedirs"] * mirror[:, None] * turns
    arrays["f"] = arrays["f"][:, ::-1]
    path = mano_file.with_name("MANO_LEFT.pkl")
    path.write_bytes(pickle.dumps(arrays))
    return path


@pytest.fixture(scope="module")
def model(mano_file):
    return HandModel(mano_file)


@pytest.fixture(scope="module")
def theta_and_shape():
    torch.manual_seed(0)
    theta, shape = 0.7 * torch.randn(64, 45), 2 * torch.randn(64, 10)
    theta[0], shape[0] = 0.0, 0.0
    return theta, shape


def test_smplx_gives_the_same_mesh_and_joints(mano_file, model, theta_and_shape):
    smplx = pytest.importorskip("smplx", reason="smplx is not installed")
    theta, shape = theta_and_shape
    other = smplx.MANO(str(mano_file), use_pca=False, flat_hand_mean=False, batch_size=len(theta))
    wrist = torch.zeros(len(theta), 3)
    pose = theta @ model.hands_components
    with torch.no_grad():
        expected = other(betas=shape, global_orient=wrist, hand_pose=pose)
        pose = model.pose_from_theta(theta)
        vertices, skeleton = model.pose_hand(pose, shape, torch.eye(3, 4).expand(64, 3, 4))
    torch.testing.assert_close(vertices, expected.vertices, atol=EXACT_M, rtol=0)
    joints = model.skeleton_regressor @ expected.vertices
    torch.testing.assert_close(skeleton, joints, atol=EXACT_M, rtol=0)
    # smplx's own joints are where the kinematic chain takes those at rest.
    torch.testing.assert_close(
        _chain_joints(model, pose, shape), expected.joints, atol=EXACT_M, rtol=0
    )


MANO_NAMES = ("global_orient", "hand_pose", "betas", "transl")


@pytest.mark.parametrize("side", Side, ids=lambda side: side.name)
@pytest.mark.parametrize("factor", [1.0, 1.3])
def test_smplx_gives_the_published_mesh_from_the_json(
    request, model, theta_and_shape, side, factor
):
    smplx = pytest.importorskip("smplx", reason="smplx is not installed")
    hand = scaled(_lifted_hand(model, theta_and_shape, side), factor, Scale.KNOWN)
    found = hand_as_mapping(hand, model)["mano"]
    assert found["scale"] == pytest.approx(factor, rel=1e-5)
    is_right = side is Side.RIGHT
    path = request.getfixturevalue("mano_file" if is_right else "left_mano_file")
    other = smplx.MANO(str(path), is_rhand=is_right, use_pca=False, flat_hand_mean=True)
    assert _distance_m(other, found, hand) < 1e-4
    turn = cv2.Rodrigues(np.array(found["global_orient"]))[0].T @ model_rotation(hand)
    assert np.degrees(np.linalg.norm(cv2.Rodrigues(turn)[0])) < 0.1
    facing = [{tuple(np.roll(t, -t.argmin())) for t in f} for f in (other.faces, hand.triangles)]
    assert facing[0] == facing[1]


def test_a_left_hand_is_a_mirrored_right_one(mano_file, model, theta_and_shape):
    smplx = pytest.importorskip("smplx", reason="smplx is not installed")
    hand = _lifted_hand(model, theta_and_shape, Side.LEFT)
    found = hand_as_mapping(hand, model)["mano"]
    for name in ("global_orient", "hand_pose"):
        found[name] = (np.reshape(found[name], (-1, 3)) * (1, -1, -1)).ravel()
    found["transl"] = np.multiply(found["transl"], (-1, 1, 1))
    other = smplx.MANO(str(mano_file), use_pca=False, flat_hand_mean=True)
    mirrored = replace(hand, vertices_m=hand.vertices_m * np.float32((-1, 1, 1)))
    assert _distance_m(other, found, mirrored) < 1e-4


def _distance_m(layer, mano, hand):
    """The largest between a vertex of smplx and that of the hand."""
    given = {name: torch.tensor(np.array(mano[name])).float()[None] for name in MANO_NAMES}
    with torch.no_grad():
        vertices = mano["scale"] * layer(**given).vertices[0].numpy()
    return np.linalg.norm(vertices - hand.vertices_m, axis=1).max()


def _lifted_hand(model, theta_and_shape, side):
    """The second pose, at the edge of a picture, as the pipeline publishes it."""
    h = HandParameters.start(1)
    h[:, 1:4], h[:, 4:8] = torch.tensor((0.1, -0.2, 0.3)), torch.tensor((0.5, -0.3, 0.7, 0.4))
    h[:, 8:53], h[:, 53:] = (t[1:2] for t in theta_and_shape)
    p = HandParameters.split(h)
    with torch.no_grad():
        projected = Projection(model)(h)
        pose = model.pose_from_theta(p.pose)
        turn = rotation_from_quaternion(p.rotation)[:, None] @ PoseSpace(model).frames(pose)
    tensors = projected.joints, projected.vertices, p.scale, turn
    joints, vertices, scale, turn = (t[0].double().numpy() for t in tensors)
    box = Box(400, 50, 200, 200)
    crop = Crop(np.zeros((224, 224, 3), np.uint8), box, side is Side.LEFT)
    camera = Camera(500, 500, 319.5, 239.5, 640, 480)
    lifted = lift_to_camera(joints, vertices, float(scale[0]), turn, crop, camera)
    triangles = model.triangles.numpy()
    triangles = triangles if side is Side.RIGHT else triangles[:, [0, 2, 1]]
    hand = make_hand(box, side)
    return replace(hand, **lifted._asdict(), triangles=triangles, parameters=h[0].numpy())


def _chain_joints(model, pose, shape):
    joints = model.joint_template + torch.einsum("jcs,bs->bjc", model.jointdirs, shape)
    frame = torch.eye(3, 4).expand(len(pose), 3, 4)
    turns = rotation_from_axis_angle(pose)
    chain = bone_transforms(turns, joints[:, 1:, :, None], frame, model.identity[3:])
    return (chain[..., :3] @ joints[..., None])[..., 0] + chain[..., 3]


def test_manopth_gives_the_same_mesh_and_joints(mano_file, model, theta_and_shape):
    pytest.importorskip("manopth.manolayer", reason="manopth is not installed")
    theta, shape = theta_and_shape
    pose, frame = model.pose_from_theta(theta), torch.randn(64, 3, 4)
    other = ManopthHandModel(mano_file)
    with torch.no_grad():
        expected, found = other.pose_hand(pose, shape, frame), model.pose_hand(pose, shape, frame)
    torch.testing.assert_close(found, expected, atol=EXACT_M, rtol=0)


def test_manopth_passes_the_same_gradients(mano_file, model, theta_and_shape):
    pytest.importorskip("manopth.manolayer", reason="manopth is not installed")
    gradients = []
    for layer in (model, ManopthHandModel(mano_file)):
        h = HandParameters.start(4)
        h[:, 8:53], h[:, 53:] = (t[:4] for t in theta_and_shape)
        h.requires_grad_()
        gradients += torch.autograd.grad(Projection(layer)(h).joints.square().sum(), h)
    torch.testing.assert_close(*gradients, atol=1e-3, rtol=1e-3)


def test_the_pipeline_takes_the_layer_that_is_configured(mano_file):
    pytest.importorskip("manopth.manolayer", reason="manopth is not installed")
    settings = {
        "model.hand_layer": "manopth", "model.hand_model": str(mano_file), "model.backend": "eager",
    }  # fmt: skip
    pipeline = HandPipeline(Config.from_mapping(settings))
    assert type(pipeline.projection.hand_model) is ManopthHandModel


def test_without_manopth_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "manopth", None)
    with pytest.raises(ImportError, match=r"install it .* or set model.hand_layer to own"):
        ManopthHandModel(hand_model_path())
    with pytest.raises(ValueError, match=r"model\.hand_layer: manopth cannot be imported"):
        HandPipeline(Config.from_mapping({"model.hand_layer": "manopth"}))
