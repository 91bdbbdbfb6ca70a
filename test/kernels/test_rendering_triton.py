"""The silhouette's Triton kernels: against the CPU's, and for what a GPU adds.

Without a GPU the kernels are interpreted, a thousand times slower: meshes and images are small.
"""

import os
import subprocess
import sys
from itertools import product
from pathlib import Path

import pytest
import torch
import triton_mode
from meshes import BAD_MESHES, SQUARE, blob, soup, square
from triton_mode import DEVICE

from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.rendering import coverage, silhouette

triton_silhouette = triton_mode.load("dhpe_ros.rendering.triton_silhouette")
needs_cuda = pytest.mark.skipif(DEVICE == "cpu", reason="needs a CUDA device")
pytestmark = pytest.mark.filterwarnings(  # the interpreter's, about lanes that are masked out
    "ignore::RuntimeWarning:triton.runtime.interpreter",
    "ignore:Conversion of an array:DeprecationWarning:triton.runtime.interpreter",
)


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    """Triton asks again when it runs. With few programs, each has several lines to do."""
    if DEVICE == "cpu":
        monkeypatch.setenv("TRITON_INTERPRET", "1")
        monkeypatch.setattr(triton_silhouette, "_LINE_PROGRAMS", 3)


def noise(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rendered(vertices, triangles, upstream, backend="triton", **relaxation):
    """Mask and gradient, on the CPU."""
    device = DEVICE if backend == "triton" else "cpu"
    vertices = vertices.detach().to(device).requires_grad_()
    size = tuple(upstream.shape[1:])
    mask = silhouette(vertices, triangles, size, backend=backend, **relaxation)
    mask.backward(upstream.to(mask))
    return mask.detach().cpu(), vertices.grad.cpu()


def assert_same(ours, expected):
    """Masks to the bit. Gradients to what float32 tells of a distance of up to a hundred pixels."""
    assert ours[0].dtype == expected[0].dtype and torch.equal(ours[0], expected[0])
    strongest = expected[1].abs().max().item()
    # An H200 was off by 5e-5 of the strongest in one number of 4,668, a run interpreted by less.
    torch.testing.assert_close(ours[1], expected[1], rtol=1e-3, atol=1e-4 * strongest)


# --- the same as on a CPU -------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mesh", "dtype"),
    [
        (blob(4, 5), torch.float32),
        (soup(1, 8), torch.float64),
        (soup(2, 8), torch.float32),
    ],
)
def test_mask_and_gradient_are_those_of_the_cpu(mesh, dtype):
    # The image is no multiple of a tile, and the soups' corners are where edges cross.
    vertices, triangles = mesh[0][None].to(dtype), mesh[1]
    upstream = noise(1, 13, 18)
    expected = rendered(vertices, triangles, upstream, "numba")
    assert_same(rendered(vertices, triangles, upstream), expected)


def test_edges_on_top_of_each_other_share_what_is_theirs():
    # Two squares with the same corners, crossed by a third. At a corner, rounding decides which of
    # the two is pulled: only their sum is the CPU's.
    low, high = square(-0.6, -0.6, 0.3, 0.3), square(-0.2, -0.3, 0.7, 0.8)
    vertices = torch.cat([low, low, high], dim=1)
    triangles, upstream = torch.cat([SQUARE, SQUARE + 4, SQUARE + 8]), noise(1, 13, 18)
    both = []
    for backend in ("triton", "numba"):
        mask, gradient = rendered(vertices, triangles, upstream, backend)
        summed = torch.cat([gradient[:, :4] + gradient[:, 4:8], gradient[:, 8:]], dim=1)
        both.append((mask, summed))
    assert_same(*both)


def test_rows_longer_than_a_block_add_up():
    vertices = torch.cat([square(-0.9, -0.9, -0.1, 0.9), square(0.2, -0.5, 0.8, 0.5)], dim=1)
    triangles = torch.cat([SQUARE, SQUARE + 4])
    expected = silhouette(vertices, triangles, (4, 2500))
    ours = silhouette(vertices.to(DEVICE), triangles, (4, 2500), backend="triton")
    assert torch.equal(ours.cpu(), expected)


def test_an_edge_of_many_triangles_counts_each():
    fan = torch.tensor([[0, 1, 2], [0, 1, 3], [1, 0, 4], [0, 1, 4]])
    vertices = noise(1, 5, 2, seed=3).clamp(-1, 1)
    upstream = noise(1, 8, 8)
    assert_same(rendered(vertices, fan, upstream), rendered(vertices, fan, upstream, "numba"))


def test_bad_meshes_are_those_of_the_cpu():
    vertices = torch.cat(list(BAD_MESHES.values()))
    upstream = torch.ones(len(vertices), 10, 10)
    mask, gradient = rendered(vertices, SQUARE, upstream)
    expected_mask, expected = rendered(vertices, SQUARE, upstream, "numba")
    assert torch.equal(mask, expected_mask)
    assert torch.isfinite(gradient).all()
    torch.testing.assert_close(gradient, expected, rtol=1e-5, atol=1e-9)


def test_pixels_beyond_reach_send_no_gradient():
    upstream = torch.zeros(1, 32, 32)
    upstream[0, 16, 30] = 1.0  # the square's right side is at column 23.5: 6.5 pixels away
    vertices = square(-0.5, -0.5, 0.5, 0.5)
    assert (rendered(vertices, SQUARE, upstream, reach_px=6.0)[1] == 0).all()
    assert (rendered(vertices, SQUARE, upstream, reach_px=7.0)[1] != 0).any()


def test_a_pixel_centre_on_the_outline_pulls_along_the_normal():
    upstream = torch.zeros(1, 8, 8)
    upstream[0, 3, 4] = 1.0
    gradient = rendered(square(-0.875, -0.875, 0.125, 0.875), SQUARE, upstream)[1]
    assert gradient[0, 1:3, 0].sum().item() == pytest.approx(4 / torch.pi)  # 4 px per unit, 1 / pi
    assert (gradient[..., 1] == 0).all()


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_the_gradient_scales_with_upstream(scale):
    vertices, upstream = square(-0.5, -0.5, 0.5, 0.5), noise(1, 8, 8)
    one, other = (rendered(vertices, SQUARE, s * upstream)[1] for s in (1.0, scale))
    torch.testing.assert_close(other / scale, one, rtol=1e-5, atol=1e-6)


def test_upstream_that_is_not_a_number_shows():
    upstream = torch.ones(2, 8, 8)
    upstream[0, 2, 2] = float("nan")
    vertices = square(-0.5, -0.5, 0.5, 0.5).expand(2, -1, -1)
    gradient = rendered(vertices, SQUARE, upstream)[1]
    assert not torch.isfinite(gradient[0]).all() and torch.isfinite(gradient[1]).all()


def test_empty_batches_and_meshes():
    none = rendered(torch.zeros(0, 4, 3), SQUARE, torch.zeros(0, 8, 8))
    assert none[0].shape == (0, 8, 8) and none[1].shape == (0, 4, 3)
    no_triangles = torch.zeros(0, 3, dtype=torch.long)
    mask, gradient = rendered(torch.zeros(2, 4, 3), no_triangles, torch.ones(2, 8, 8))
    assert (mask == 0).all() and (gradient == 0).all()


# --- order ----------------------------------------------------------------------------------------


def test_a_batch_equals_its_members():
    batch = torch.stack([soup(seed, 6)[0] for seed in (0, 1)])
    triangles, upstream = soup(0, 6)[1], noise(2, 12, 12)
    mask, gradient = rendered(batch, triangles, upstream)
    for n in range(2):
        alone = rendered(batch[n : n + 1], triangles, upstream[n : n + 1])
        assert torch.equal(mask[n : n + 1], alone[0])
        assert torch.equal(gradient[n : n + 1], alone[1])


def test_the_order_in_which_programs_run_does_not_change_a_bit():
    # On a GPU, lines are listed in another order every time; here, two orders on purpose. Two
    # squares that share their corners make every distance a tie.
    vertices = torch.cat([soup(5, 6)[0][None], square(-0.5, -0.5, 0.5, 0.5)], dim=1)
    vertices = torch.cat([vertices, vertices[:, -4:]], dim=1).float().to(DEVICE)
    triangles = torch.cat([soup(5, 6)[1], SQUARE + 6, SQUARE + 10])
    topology, upstream = coverage.topology_of(triangles, 14), noise(1, 16, 16).to(DEVICE)
    mask, count, *lines = triton_silhouette._cover(vertices, topology, (16, 16))
    gradients = []
    for seed in range(2):
        order = torch.randperm(count.item(), generator=torch.Generator().manual_seed(seed))
        for field in lines:
            field[..., :count] = field[..., order.to(DEVICE)]
        scene = topology, (16, 16), 1.0, float("inf")
        gradients.append(triton_silhouette._pull(vertices, mask, [count, *lines], upstream, *scene))
    assert gradients[0].any() and torch.equal(*gradients)


# --- building and choosing ------------------------------------------------------------------------


def test_kernels_compile_for_cards_that_are_not_there(monkeypatch, tmp_path):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    script = Path(__file__).with_name("triton_compilation.py")
    command = [sys.executable, script, "90", "87"]  # H200 and Jetson Orin
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    names = {"trace", "fill", "outline", "pull", "collect"}
    assert {(card, name) for card, name, _ in lines} == set(product(("90", "87"), names))
    exact = [int(fused) for _, name, fused in lines if name in ("trace", "outline")]
    assert exact == [0] * 4  # they round like the CPU


def test_rendering_does_without_triton_until_asked():
    code = "import sys, dhpe_ros.rendering; assert 'triton' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_vertices_on_a_cpu_are_refused_with_the_remedy(monkeypatch):
    monkeypatch.setattr(triton_silhouette, "_INTERPRETED", False)
    with pytest.raises(ValueError, match="use the backend 'auto'"):
        silhouette(square(0, 0, 1, 1), SQUARE, 8, backend="triton")


# --- on a GPU -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def hand():
    """The open hand from the side in two sizes, (2, 778, 3), and its triangles, on the GPU."""
    model = HandModel(hand_model_path())
    points = model.v_template - model.v_template.mean(0)
    points = points / points.abs().max()
    return torch.stack([0.8 * points, 0.4 * points]).cuda(), model.triangles.cuda()


@needs_cuda
def test_a_hand_is_that_of_the_cpu(hand):
    vertices, triangles = hand
    upstream = noise(2, 224, 224)
    expected = rendered(vertices.cpu(), triangles.cpu(), upstream, "numba")
    first, second = (rendered(vertices, triangles, upstream) for _ in range(2))
    assert_same(first, expected)
    assert torch.equal(first[1], second[1])


@needs_cuda
def test_cuda_tensors_choose_triton(hand):
    assert silhouette(*hand, 32).is_cuda
    assert coverage._renderer("auto", True).__self__ is triton_silhouette.TritonSilhouette


@needs_cuda
def test_nothing_waits_for_the_device(hand):
    vertices, triangles = hand[0].clone().requires_grad_(), hand[1]
    upstream = noise(2, 64, 64).cuda()
    torch.autograd.grad(silhouette(vertices, triangles, 64), vertices, upstream)  # compiles
    torch.cuda.set_sync_debug_mode("error")
    try:
        torch.autograd.grad(silhouette(vertices, triangles, 64), vertices, upstream)
    finally:
        torch.cuda.set_sync_debug_mode("default")


@needs_cuda
def test_a_cuda_graph_replays_for_other_vertices(hand):
    vertices, triangles = hand[0].clone().requires_grad_(), hand[1]
    upstream = noise(2, 96, 96).cuda()

    def call():
        mask = silhouette(vertices, triangles, 96)
        return mask, *torch.autograd.grad(mask, vertices, upstream)

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
            vertices.copy_(scale * hand[0])
        graph.replay()
        for ours, expected in zip(captured, call(), strict=True):
            assert torch.equal(ours, expected)
