"""The hand layer's Triton kernels: against plain torch, and for what a GPU adds.

Without a GPU the kernels are interpreted, with larger blocks of vertices, as programs are slow.
"""

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
import triton_mode
from triton_mode import DEVICE

from dhpe_ros.hand.kernels import compiled_hand
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path

triton_hand = triton_mode.load("dhpe_ros.hand.kernels.triton_hand")
needs_cuda = pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")
KERNELS = {"fk", "lbs", "regress", "lbs_backward", "total", "fk_backward"}


@pytest.fixture(autouse=True)
def kernels(monkeypatch):
    """The layer's kernels are Triton's, also on a CPU."""
    monkeypatch.setattr(compiled_hand, "kernels_for", lambda _: triton_hand)
    if DEVICE == "cpu":
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        monkeypatch.setattr(triton_hand, "_BLOCK", 256)
        monkeypatch.setattr(triton_hand, "_BLOCK_COUNT", 4)


@pytest.fixture(scope="module")
def models():
    return {
        torch.float32: HandModel(hand_model_path()).to(DEVICE),
        torch.float64: HandModel(hand_model_path()).double().to(DEVICE),
    }


def noise(*shape, dtype, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed)).to(DEVICE, dtype)


def inputs_of(batch, dtype):
    pose, shape = 0.5 * noise(batch, 15, 3, dtype=dtype), noise(batch, 10, dtype=dtype, seed=1)
    frame = torch.eye(3, 4).to(pose) + 0.3 * noise(batch, 3, 4, dtype=dtype, seed=2)
    return tuple(t.requires_grad_() for t in (pose, shape, frame))


def posed(layer, inputs):
    """Vertices and joints, and the gradients of pose, shape and frame."""
    hand = layer(*inputs)
    pull = [noise(*t.shape, dtype=t.dtype, seed=3) for t in hand]
    return *(t.detach() for t in hand), *torch.autograd.grad(hand, inputs, pull)


# --- the same as plain torch ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("batch", "dtype", "exact"),
    [(0, torch.float32, 0.0), (2, torch.float32, 2e-5), (2, torch.float64, 1e-12)],
)
def test_values_and_gradients_are_those_of_plain_torch(models, batch, dtype, exact):
    model, inputs = models[dtype], inputs_of(batch, dtype)
    assert type(model.pose_hand(*inputs)[0].grad_fn).__name__ == "PosedHandBackward"
    found, expected = posed(model.pose_hand, inputs), posed(model.pose_hand_in_torch, inputs)
    torch.testing.assert_close(found[:2], expected[:2], atol=exact, rtol=exact)
    torch.testing.assert_close(found[2:], expected[2:], atol=100 * exact, rtol=exact)


def test_any_bend_gives_finite_meshes_and_gradients(models):
    pose, shape, frame = inputs_of(9, torch.float32)
    sizes = torch.tensor([0.0, 1e-30, 1e-12, 1e-8, 1e-4, 3.14159265, 6.2831853, 1e4, 1e12])
    pose = (pose.detach().sign() * sizes.to(pose)[:, None, None]).requires_grad_()
    found = posed(models[torch.float32].pose_hand, (pose, shape, frame))
    assert all(t.isfinite().all() for t in found)
    assert found[0].abs().max() < 10  # metres: a bend only turns
    doubles = [t.detach().double().requires_grad_() for t in (pose, shape, frame)]
    expected = posed(models[torch.float64].pose_hand_in_torch, doubles)
    for ours, exact in zip(found, expected, strict=True):  # up to a full turn
        torch.testing.assert_close(ours[:7], exact[:7].float(), atol=2e-3, rtol=2e-5)


def test_inputs_and_pulls_may_be_views(models):
    model = models[torch.float64]
    numbers = noise(2, 67, dtype=torch.float64).requires_grad_()

    def pulled(layer):
        pose, shape, frame = numbers.split((45, 10, 12), 1)
        vertices, joints = layer(pose.unflatten(1, (15, 3)), shape, frame.unflatten(1, (3, 4)))
        loss = vertices.sum() + joints.mT[:, 1].sum()
        return torch.autograd.grad(loss, numbers)[0]

    torch.testing.assert_close(pulled(model.pose_hand), pulled(model.pose_hand_in_torch))


def test_gradients_of_gradients_are_those_of_plain_torch(models):
    model = models[torch.float64]

    def curvature(layer):
        inputs = inputs_of(1, torch.float64)
        first = torch.autograd.grad(layer(*inputs)[1].square().sum(), inputs[:2], create_graph=True)
        return torch.autograd.grad(sum(g.square().sum() for g in first), inputs)

    torch.testing.assert_close(curvature(model.pose_hand), curvature(model.pose_hand_in_torch))


def test_a_batch_equals_its_members(models):
    layer = models[torch.float32].pose_hand
    inputs = inputs_of(2, torch.float32)
    hands = layer(*inputs)
    gradients = torch.autograd.grad(hands, inputs, [torch.ones_like(t) for t in hands])
    for n in range(2):
        alone = [t.detach()[n : n + 1].requires_grad_() for t in inputs]
        hand = layer(*alone)
        gradient = torch.autograd.grad(hand, alone, [torch.ones_like(t) for t in hand])
        for ours, expected in zip((*hands, *gradients), (*hand, *gradient), strict=True):
            assert torch.equal(ours[n : n + 1], expected)


# --- building and choosing ------------------------------------------------------------------------


def test_kernels_compile_for_cards_that_are_not_there(monkeypatch, tmp_path):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    script = Path(__file__).with_name("triton_hand_compilation.py")
    command = [sys.executable, script, "90", "float32", "87", "float64"]  # H200, Jetson Orin
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    compiled = {tuple(line.split()[:2]) for line in result.stdout.splitlines()}
    assert compiled == set(product(("90", "87"), KERNELS))


def test_the_layer_does_without_triton_until_it_is_on_a_gpu():
    code = """
import sys, torch
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path
HandModel(hand_model_path())(torch.zeros(1, 15, 3), torch.zeros(1, 10))
assert "triton" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True)


# --- on a GPU -------------------------------------------------------------------------------------


@needs_cuda
def test_cuda_tensors_choose_triton_where_it_is_installed(monkeypatch):
    monkeypatch.undo()
    inputs = inputs_of(1, torch.float32)
    assert compiled_hand.kernels_for(inputs[0].device) is triton_hand
    assert compiled_hand.is_fit_for(*inputs)
    assert not compiled_hand.is_fit_for(inputs[0], inputs[1].cpu())
    monkeypatch.setattr(compiled_hand, "_HAS_TRITON", False)
    assert not compiled_hand.is_fit_for(*inputs)


@needs_cuda
def test_every_run_gives_the_same_bits(models):
    inputs = inputs_of(100, torch.float32)
    first, second = (posed(models[torch.float32].pose_hand, inputs) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@needs_cuda
def test_nothing_waits_for_the_device(models):
    model, inputs = models[torch.float32], inputs_of(2, torch.float32)
    pull = [torch.ones(2, count, 3, device=DEVICE) for count in (778, 21)]
    torch.autograd.grad(model.pose_hand(*inputs), inputs, pull)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.autograd.grad(model.pose_hand(*inputs), inputs, pull)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_cuda
def test_a_cuda_graph_replays_for_other_poses(models):
    model, inputs = models[torch.float32], inputs_of(2, torch.float32)
    pull = [torch.ones(2, count, 3, device=DEVICE) for count in (778, 21)]

    def call():
        hand = model.pose_hand(*inputs)
        return *hand, *torch.autograd.grad(hand, inputs, pull)

    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = call()
    for scale in (1.0, 0.7):
        with torch.no_grad():
            inputs[0].mul_(scale)
        graph.replay()
        for ours, expected in zip(captured, call(), strict=True):
            assert torch.equal(ours, expected)
