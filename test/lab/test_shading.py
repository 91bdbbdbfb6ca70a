"""Colour: normals, light and shade, skin and its texels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from meshes import BAD_MESHES, SQUARE, blob, square

from dhpe_lab.rendering import Lights, Skin, random_skin, render_hand, skin_tone
from dhpe_lab.rendering.lighting import visibility
from dhpe_lab.rendering.shading import area_normals
from dhpe_lab.rendering.texels import texels_of
from dhpe_ros.rendering import silhouette


def sphere(rings=24, sectors=32, radius=0.6):
    """A closed sphere, counter-clockwise seen from outside: (V, 3) float64, (F, 3)."""
    _, cap = blob(rings, sectors)  # the cap's triangles face inwards
    polar = np.linspace(0.0, np.pi, rings + 1)[1:-1, None]
    around = np.arange(sectors) * 2 * np.pi / sectors
    x, y, z = np.broadcast_arrays(
        np.sin(polar) * np.cos(around), np.cos(polar), np.sin(polar) * np.sin(around)
    )
    vertices = np.concatenate(
        [[[0.0, 1.0, 0.0]], np.stack([x, y, z], axis=-1).reshape(-1, 3), [[0.0, -1.0, 0.0]]]
    )
    pole, rim = len(vertices) - 1, len(vertices) - 1 - sectors
    end = torch.tensor([[pole, rim + k, rim + (k + 1) % sectors] for k in range(sectors)])
    return torch.from_numpy(radius * vertices), torch.cat([cap.flip(1), end])


def plain_light(direction):
    return Lights(
        directions=np.array([direction], dtype=float),
        colors=np.ones((1, 3)),
        up=np.array([0.0, -1.0, 0.0]),
        sky=np.zeros(3),
        ground=np.zeros(3),
    )


def plain_skin(count, value=0.5):
    albedo = np.full((count, 3), value, np.float32)
    return Skin(albedo, np.zeros(count, np.float32), softness=0.0, grain=0.0)


def test_normals_of_a_sphere_point_outwards():
    vertices, triangles = sphere()
    normals, _ = area_normals(vertices.double().numpy(), triangles.numpy())
    # Facets of 360 / 32 degrees: a weighted mean over them is within a fraction of that.
    outwards = torch.nn.functional.normalize(vertices.double(), dim=-1).numpy()
    assert (normals * outwards).sum(-1).min() > np.cos(np.deg2rad(3.0))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1.0)


def test_a_vertex_without_area_has_no_normal():
    assert not area_normals(np.zeros((4, 3)), SQUARE.numpy())[0].any()


def test_a_lit_sphere_is_bright_towards_the_light():
    vertices, triangles = sphere()
    light = plain_light([-1.0, 0.0, 0.0])
    picture = render_hand(vertices.numpy(), triangles, 64, plain_skin(len(vertices)), light)
    assert picture.rgb[32, 16, 0] > 0.5 > 0.05 > picture.rgb[32, 48, 0]


def test_facing_the_light_a_surface_shows_its_albedo():
    vertices = torch.cat([square(-0.5, -0.5, 0.5, 0.5), torch.zeros(1, 4, 1)], dim=-1)[0].numpy()
    picture = render_hand(vertices, SQUARE.flip(1), 8, plain_skin(4, 0.5), plain_light([0, 0, -1]))
    inside = np.s_[2:6, 2:6]
    np.testing.assert_allclose(picture.rgb[inside], 0.7354, atol=1e-3)  # sRGB of a linear 0.5
    assert (picture.mask[inside] == 1).all() and picture.mask.sum() == 16
    assert (picture.depth[inside] == 0).all() and np.isinf(picture.depth[0, 0])


def test_a_plate_casts_a_shadow():
    flat = torch.zeros(1, 4, 1)
    far = torch.cat([square(-0.9, -0.9, 0.9, 0.9), flat + 0.5], dim=-1)
    near = torch.cat([square(-0.6, -0.6, 0.6, 0.6), flat - 0.5], dim=-1)
    tilted = np.array([[0.0, 0.0, -1.0], [0.6, 0.0, -0.8]])
    vertices = torch.cat([far, near], dim=1)[0].numpy()
    triangles = torch.cat([SQUARE, SQUARE + 4]).numpy()[:, ::-1]
    normals, outer = area_normals(vertices, triangles.astype(np.int64))
    assert outer.all()
    lights = Lights(tilted, np.ones((2, 3)), np.array([0.0, -1.0, 0.0]), np.ones(3), np.ones(3))
    direct, around = visibility(vertices, triangles.astype(np.int64).copy(), normals, lights)
    assert (direct[0] == 1).all()  # the corners of the far plate look past the near one
    assert (around[4:] > 0.999).all() and (around[:4] < 1).all()


def test_the_mask_is_antialiased_and_meets_the_silhouette():
    vertices, triangles = sphere()
    picture = render_hand(
        vertices.numpy(), triangles, 48, plain_skin(len(vertices)), plain_light([0, 0, -1])
    )
    fine = silhouette(vertices[None], triangles, 96).reshape(48, 2, 48, 2).mean(dim=(1, 3))
    np.testing.assert_allclose(picture.mask, fine.numpy(), atol=1e-6)
    assert 0 < ((picture.mask > 0) & (picture.mask < 1)).sum() < 400


def test_random_pictures_are_finite_varied_and_repeatable():
    vertices, triangles = sphere(10, 12)
    nails = np.arange(len(vertices)) < 5

    def picture(seed):
        rng = np.random.default_rng(seed)
        skin = random_skin(rng, len(vertices), redness=np.ones(len(vertices)), nails=nails)
        return render_hand(vertices.numpy(), triangles, 32, skin, Lights.random(rng))

    pictures = [picture(seed) for seed in range(20)]
    for one in pictures:
        assert np.isfinite(one.rgb).all() and one.rgb.min() >= 0 and one.rgb.max() <= 1
    brightness = [one.rgb[one.mask == 1].mean() for one in pictures]
    assert np.ptp(brightness) > 0.2
    np.testing.assert_array_equal(picture(3).rgb, pictures[3].rgb)


def test_texels_show_what_vertices_cannot():
    corners = torch.cat([square(-0.5, -0.5, 0.5, 0.5), torch.zeros(1, 4, 1)], dim=-1)[0].numpy()
    triangles = SQUARE.numpy()[:, ::-1]
    texels = texels_of(triangles, 4, 16)
    x = texels.spread(corners)[:, 0]
    albedo = np.repeat((np.abs(x) < 0.1)[:, None], 3, axis=1).astype(np.float32)
    skin = replace(plain_skin(len(x)), albedo=albedo, detail=16)
    picture = render_hand(corners, triangles, 32, skin, plain_light([0, 0, -1]))
    row = picture.rgb[16, :, 0]
    assert (row[15:17] > 0.99).all() and (row[8:13] == 0).all() and (row[19:24] == 0).all()


def test_tones_run_from_light_to_dark():
    tones = skin_tone(np.linspace(0.2, 1.0, 30)).sum(-1)
    assert (np.diff(tones) < 0).all()


def test_pictures_of_bad_meshes_are_finite():
    for name, corners in BAD_MESHES.items():
        vertices = torch.cat([corners, torch.zeros(1, 4, 1)], dim=-1)[0].numpy()
        picture = render_hand(vertices, SQUARE, 16, plain_skin(4), plain_light([0, 0, -1]))
        assert np.isfinite(picture.rgb).all() and np.isfinite(picture.mask).all(), name


def test_skin_of_another_mesh_is_named():
    vertices, triangles = sphere(10, 12)
    with pytest.raises(ValueError, match="one colour and gloss"):
        render_hand(vertices.numpy(), triangles, 16, plain_skin(3), plain_light([0, 0, -1]))
