"""The z-buffer's Triton kernels, against the CPU's; interpreted where there is no GPU."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import triton_mode
from meshes import BAD_MESHES, SQUARE, blob, soup
from triton_mode import DEVICE

from dhpe_ros.rendering import rasterize
from dhpe_ros.rendering.numba_silhouette import to_pixels

triton_raster = triton_mode.load("dhpe_lab.rendering.triton_raster")
pytestmark = pytest.mark.filterwarnings(  # the interpreter's, about lanes that are masked out
    "ignore::RuntimeWarning:triton.runtime.interpreter",
    "ignore:Conversion of an array:DeprecationWarning:triton.runtime.interpreter",
)

_COMPILE = """
from unittest import mock
import torch, triton
from triton.runtime import driver
from triton_compilation import AbsentCard, compile_only
from dhpe_lab.rendering import triton_raster

driver.set_active(AbsentCard(architecture=90))
with mock.patch.object(triton.JITFunction, "__getitem__", compile_only):
    points = torch.zeros(1, 3, 3, dtype=torch.float64)
    triton_raster.rasterize(points, torch.zeros(1, 3, dtype=torch.int32), (16, 16))
"""


@pytest.fixture(autouse=True)
def interpreter(monkeypatch):
    """Triton asks again when it runs."""
    if DEVICE == "cpu":
        monkeypatch.setenv("TRITON_INTERPRET", "1")


def assert_same(vertices, triangles, shape):
    """Every output of the CPU's z-buffer, bit for bit."""
    expected = rasterize(vertices, triangles, shape)
    pixels = to_pixels(vertices.numpy(), shape)
    points = np.concatenate((pixels, vertices.numpy()[..., 2:].astype(np.float64)), axis=2)
    faces = triangles.to(DEVICE, torch.int32).contiguous()
    ours = triton_raster.rasterize(torch.from_numpy(points).to(DEVICE), faces, shape)
    for one, other in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(one.cpu().numpy(), other)
    depth = triton_raster.depth_map(torch.from_numpy(points).to(DEVICE), faces, shape)
    np.testing.assert_array_equal(depth.cpu().numpy(), expected.depth)


@pytest.mark.parametrize("mesh", [blob(4, 5), soup(1, 8), soup(2, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_every_pixel_is_that_of_the_cpu(mesh, dtype):
    # No multiple of a block; two meshes, the second deeper and mirrored, with depths below zero.
    vertices, triangles = mesh
    generator = torch.Generator().manual_seed(3)
    depths = torch.randn(len(vertices), 1, generator=generator, dtype=torch.float64)
    first = torch.cat((vertices[:, :2].double(), depths), dim=1)
    second = first * torch.tensor([-1.0, 1.0, 3.0])
    assert_same(torch.stack((first, second)).to(dtype), triangles, (13, 18))


@pytest.mark.parametrize("name", BAD_MESHES)
def test_bad_meshes_are_those_of_the_cpu(name):
    assert_same(torch.cat([BAD_MESHES[name], torch.zeros(1, 4, 1)], dim=-1), SQUARE, (9, 9))


@pytest.mark.parametrize("depth", [-1e30, -0.0, 1e30, float("nan"), float("inf")])
def test_any_depth_is_sorted_as_on_the_cpu(depth):
    flat = torch.tensor([[-0.9, -0.9], [0.9, -0.9], [0.9, 0.9], [-0.9, 0.9]])
    vertices = torch.cat((flat, flat * 0.5))
    z = torch.tensor([0.0] * 4 + [depth] * 4)
    both = torch.cat((SQUARE, SQUARE + 4))
    assert_same(torch.cat((vertices, z[:, None]), dim=1)[None], both, (9, 9))


def test_nothing_to_draw():
    none = torch.zeros(0, 3, dtype=torch.long)
    assert_same(torch.zeros(1, 3, 3), none, (4, 4))
    assert_same(torch.zeros(0, 3, 3), torch.tensor([[0, 1, 2]]), (4, 4))


def test_the_kernels_compile_for_a_real_card_and_round_like_the_cpu(monkeypatch, tmp_path):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    here = str(Path(__file__).parent)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [here, *sys.path])))
    command = [sys.executable, "-c", _COMPILE]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines == [["90", "offer", "0"], ["90", "place", "0"]]  # 0 fused multiply-adds
