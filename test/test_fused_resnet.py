"""ResNet-50 in fewer kernels is ResNet-50, forward and back to the picture."""

import pytest
import torch

from dhpe_ros.networks.fused_resnet import FusedResNet50
from dhpe_ros.networks.fusion import fuse_batch_norms
from dhpe_ros.networks.resnet import ResNet50


@pytest.fixture(scope="module")
def network():
    """With batch norms that have seen something, folded."""
    torch.manual_seed(0)
    network = ResNet50()
    with torch.no_grad():
        network(torch.randn(8, 3, 64, 64))
    network.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    fuse_batch_norms(network)
    return network


def seen(network, x, target):
    x = x.clone().requires_grad_(True)
    features, *others = network(x)
    (gradient,) = torch.autograd.grad(((features - target) ** 2).mean(), x)
    return [features, *others, gradient]


@pytest.mark.parametrize("pictures", [1, 3])
def test_it_computes_what_resnet_does_and_its_gradient(network, pictures):
    x, target = torch.randn(pictures, 3, 96, 96), torch.rand(pictures, 2048)
    expected = seen(network, x, target)
    for ours, theirs in zip(
        seen(FusedResNet50(network, torch.float32), x, target), expected, strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5 * theirs.abs().max().item())


def test_half_precision_keeps_gradients_that_are_too_small_for_it(network):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.float16 if device == "cuda" else torch.bfloat16
    x, target = torch.randn(1, 3, 96, 96, device=device), torch.rand(1, 2048, device=device)
    there = network.to(device)
    expected = seen(there, x, target)
    ours = seen(FusedResNet50(there, dtype), x, target)
    network.cpu()
    assert ours[0].dtype == torch.float32
    assert expected[-1].abs().median() < torch.finfo(torch.float16).smallest_normal
    for a, b in zip(ours, expected, strict=True):
        assert torch.cosine_similarity(a.float().flatten(), b.flatten(), 0) > 0.98
