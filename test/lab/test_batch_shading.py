"""Many pictures at once: the same as one at a time, on every device."""

import numpy as np
import pytest
import torch
from meshes import BAD_MESHES, SQUARE
from test_shading import plain_light, plain_skin

from dhpe_lab.rendering import Lights, random_skin, render_hand
from dhpe_lab.rendering.batch_shading import LightBatch, SkinBatch, render_hands
from dhpe_lab.rendering.texels import texels_of
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path

DEVICES = [
    "cpu",
    pytest.param(
        "cuda",
        marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
    ),
]


@pytest.fixture(scope="module")
def scene():
    """Three hands turned differently, their skins and lights, one to three of these."""
    model = HandModel(hand_model_path())
    rest, triangles = model.v_template.double(), model.triangles.numpy()
    rest = (rest - rest.mean(dim=0)) / 0.12
    rng = np.random.default_rng(4)
    turns = [torch.from_numpy(np.linalg.qr(rng.normal(size=(3, 3)))[0]) for _ in range(3)]
    vertices = torch.stack([rest @ turn * turn.det() for turn in turns])
    count = len(texels_of(triangles, 778, 3).vertices)
    parts = rng.uniform(size=count)
    skins = [random_skin(rng, count, creases=parts, nails=parts**4, detail=3) for _ in range(3)]
    lights = [Lights.random(rng) for _ in range(20)]
    lights = [next(x for x in lights if len(x.directions) == n) for n in (1, 2, 3)]
    return vertices, triangles, skins, lights, torch.stack([rest] * 3)


@pytest.mark.parametrize("device", DEVICES)
def test_a_batch_is_its_members(scene, device):
    vertices, triangles, skins, lights, rest = scene
    batch = render_hands(
        vertices.to(device), triangles, (40, 52), skins, lights, texture_points=rest.to(device)
    )
    assert batch.rgb.device.type == device and batch.rgb.dtype == torch.float32
    for n in range(3):
        one = render_hand(
            vertices[n].numpy(), triangles, (40, 52), skins[n], lights[n],
            texture_points=rest[n].numpy(),
        )  # fmt: skip
        assert one.mask.sum() > 200
        # Nothing but float32 in between, and the same z-buffer.
        np.testing.assert_array_equal(batch.mask[n].cpu().numpy(), one.mask)
        np.testing.assert_allclose(batch.depth[n].cpu().numpy(), one.depth, atol=1e-6)
        np.testing.assert_allclose(batch.rgb[n].cpu().numpy(), one.rgb, atol=1e-5)


def test_samples_and_texture_without_rest_points_agree_too(scene):
    vertices, triangles, skins, lights, _ = scene
    arguments = triangles, 24, skins[:1], lights[:1]
    batch = render_hands(vertices[:1].float(), *arguments, supersampling=3)
    one = render_hand(
        vertices[0].float().numpy(), triangles, 24, skins[0], lights[0], supersampling=3
    )
    np.testing.assert_allclose(batch.rgb[0].numpy(), one.rgb, atol=1e-4)


def test_prepared_skins_and_lights_give_the_same(scene):
    vertices, triangles, skins, lights, _ = scene
    prepared = render_hands(vertices, triangles, 16, SkinBatch.of(skins), LightBatch.of(lights))
    plain = render_hands(vertices, triangles, 16, skins, lights)
    assert torch.equal(prepared.rgb, plain.rgb)


@pytest.mark.parametrize("device", DEVICES)
def test_bad_meshes_give_finite_pictures(device):
    vertices = torch.cat(list(BAD_MESHES.values())).to(device)
    vertices = torch.cat([vertices, torch.zeros_like(vertices[..., :1])], dim=2)
    skins = [plain_skin(4)] * len(vertices)
    lights = [plain_light([0, 0, -1])] * len(vertices)
    batch = render_hands(vertices, SQUARE, 16, skins, lights)
    assert batch.rgb.isfinite().all() and batch.mask.isfinite().all()
    for n, mesh in enumerate(vertices):
        one = render_hand(mesh.cpu().numpy(), SQUARE, 16, skins[n], lights[n])
        np.testing.assert_array_equal(batch.mask[n].cpu().numpy(), one.mask)
        np.testing.assert_allclose(batch.rgb[n].cpu().numpy(), one.rgb, atol=1e-4)


def test_nothing_to_draw_is_an_empty_picture():
    skins, lights = SkinBatch.of([plain_skin(4)]), LightBatch.of([plain_light([0, 0, -1])])
    none = torch.zeros(0, 3, dtype=torch.long)
    picture = render_hands(torch.zeros(1, 4, 3), none, 8, skins, lights)
    assert not picture.rgb.any() and not picture.mask.any() and picture.depth.isinf().all()
    skins = SkinBatch(*(part[:0] for part in skins[:3]), 1)
    lights = LightBatch(*(part[:0] for part in lights))
    assert render_hands(torch.zeros(0, 4, 3), SQUARE, 8, skins, lights).rgb.shape == (0, 8, 8, 3)


def test_wrong_batches_are_named(scene):
    vertices, triangles, skins, lights, _ = scene
    with pytest.raises(ValueError, match="vertices must have shape"):
        render_hands(vertices[0], triangles, 8, skins, lights)
    with pytest.raises(ValueError, match="skins must be"):
        render_hands(vertices[:2], triangles, 8, skins, lights)
    with pytest.raises(ValueError, match="same texels"):
        SkinBatch.of([skins[0], plain_skin(778)])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_a_cuda_graph_captures_it(scene):
    vertices, triangles, skins, lights, _ = scene
    vertices, triangles = vertices.cuda(), torch.from_numpy(triangles).cuda()
    skins, lights = SkinBatch.of(skins, "cuda"), LightBatch.of(lights, "cuda")
    expected = render_hands(vertices, triangles, 32, skins, lights)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        captured = render_hands(vertices, triangles, 32, skins, lights)
    graph.replay()
    torch.testing.assert_close(captured.rgb, expected.rgb, atol=1e-5, rtol=0)
