"""The refinement where the networks are on a GPU: what the CPU gives, and one launch a step."""

import copy
import dataclasses

import pytest
import torch

from dhpe_ros.config import RefinementConfig
from dhpe_ros.hand.model import HandModel
from dhpe_ros.hand.parameters import HandParameters
from dhpe_ros.hand.projection import Projection
from dhpe_ros.networks.evidence import build_evidence
from dhpe_ros.networks.layers import fuse_batch_norms
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.refinement.refine import refine
from dhpe_ros.refinement.terms import Observation

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
ADAM = RefinementConfig(optimizer="adam", steps=10)


@pytest.fixture(scope="module")
def networks():
    """The same on both devices."""
    torch.manual_seed(0)
    evidence = build_evidence("lite").eval().requires_grad_(False)
    projection = Projection(HandModel(hand_model_path())).eval()
    there = build_evidence("lite").eval().requires_grad_(False)
    there.load_state_dict(evidence.state_dict())
    on_gpu = Projection(HandModel(hand_model_path())).eval().cuda()
    return {"cpu": (projection, evidence), "cuda": (on_gpu, there.cuda())}


def refined(networks, device, seed, config, size=128):
    projection, evidence = networks[device]
    torch.manual_seed(seed)
    truth = HandParameters.start(2)
    truth[:, 8:53] = 0.3 * networks["cpu"][0].hand_model.theta_std * torch.randn(2, 45)
    start = truth + 0.05 * torch.randn(2, 63)
    image = torch.rand(2, 3, size, size)
    truth, start, image = (tensor.to(device) for tensor in (truth, start, image))
    with torch.no_grad():
        joints, features = projection(truth).joints[..., :2], evidence.features(image)
    observation = Observation(image, features, joints, torch.ones(2, 21, device=device), start)
    return refine(start, observation, projection, evidence, config)


@pytest.mark.parametrize("optimizer", ["adam", "gradient_descent", "levenberg_marquardt"])
def test_it_is_the_cpu_s(networks, optimizer):
    config = dataclasses.replace(ADAM, optimizer=optimizer, step_size=1e-3)
    for seed in (1, 2):  # the second time a graph is replayed for another hand
        here, there = (refined(networks, device, seed, config) for device in ("cpu", "cuda"))
        assert there.parameters.is_cuda
        assert there.steps == here.steps
        off = (there.parameters.cpu() - here.parameters).abs()
        # Adam goes as far for a gradient of rounding errors as for any other.
        assert off.max() < (0.02 if optimizer == "adam" else 2e-3)
        assert off.median() < 1e-4
        residuals = there.residual_after.cpu(), here.residual_after
        torch.testing.assert_close(*residuals, atol=1e-3, rtol=0)


def test_the_full_profile_s_steps_in_half_precision_lead_where_the_cpu_s_do(networks):
    torch.manual_seed(1)
    full = build_evidence("full").eval().requires_grad_(False)
    fuse_batch_norms(full)
    there = copy.deepcopy(full).cuda().to(memory_format=torch.channels_last)
    projections = {device: projection for device, (projection, _) in networks.items()}
    both = {"cpu": (projections["cpu"], full), "cuda": (projections["cuda"], there)}
    config = dataclasses.replace(ADAM, features_weight=10.0)
    here, on_gpu = (refined(both, device, 1, config, size=224) for device in ("cpu", "cuda"))
    assert on_gpu.accepted.all() and here.accepted.all()
    off = (on_gpu.parameters.cpu() - here.parameters).abs()
    assert off.median() < 1e-3
    residuals = on_gpu.residual_after.cpu(), here.residual_after
    torch.testing.assert_close(*residuals, atol=2e-3, rtol=0)


def test_no_time_is_no_step(networks):
    config = dataclasses.replace(ADAM, time_budget=1e-9)
    assert refined(networks, "cuda", 1, config).steps == 0
