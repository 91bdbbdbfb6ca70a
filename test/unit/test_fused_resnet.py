"""ResNet-50 in fewer kernels is ResNet-50, forward and back to the picture."""

import pytest
import torch

from dhpe_ros.networks.fused_resnet import FusedResNet50
from dhpe_ros.networks.layers import fuse_batch_norms
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


def seen(network, x, target, weight=1.0):
    x = x.clone().requires_grad_(True)
    features, *others = network(x)
    (gradient,) = torch.autograd.grad(weight * ((features - target) ** 2).mean(), x)
    return [features, *others, gradient]


def alike(a, b):
    """1 where they point the same way."""
    return torch.cosine_similarity(a.float().flatten(), b.float().flatten(), 0)


@pytest.mark.parametrize("pictures", [1, 3])
def test_it_computes_what_resnet_does_and_its_gradient(network, pictures):
    x, target = torch.randn(pictures, 3, 96, 96), torch.rand(pictures, 2048)
    *expected, gradient = seen(network, x, target)
    *ours, our_gradient = seen(FusedResNet50(network, torch.float32), x, target)
    for a, b in zip(ours, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5 * b.abs().max().item())
    # A unit that is zero but for rounding lets a gradient through or not.
    assert alike(our_gradient, gradient) > 0.9999


def test_half_precision_keeps_gradients_that_are_too_small_for_it(network):
    device = "cuda" if torch.cuda.is_available() else "cpu"
    x, target = torch.randn(1, 3, 96, 96, device=device), torch.rand(1, 2048, device=device)
    there = network.to(device)
    expected = seen(there, x, target, weight=1e-3)
    ours = seen(FusedResNet50(there, torch.float16), x, target, weight=1e-3)
    network.cpu()
    assert ours[0].dtype == torch.float32
    assert expected[-1].abs().max() < torch.finfo(torch.float16).smallest_normal
    for a, b in zip(ours, expected, strict=True):
        assert alike(a, b) > 0.98
