"""The hand layer against smplx and manopth on one MANO-format file, where they are installed."""

import pickle
import sys

import numpy as np
import pytest
import torch

from dhpe_ros.config import Config
from dhpe_ros.hand.mano_file import read_mano_file
from dhpe_ros.hand.manopth_hand import ManopthHandModel
from dhpe_ros.hand.model import HandModel, bone_transforms
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.hand.rotations import rotation_from_axis_angle
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.pipeline import HandPipeline

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
