"""The renderer: kernels against a slow twin, against calculus, and against bad meshes."""

import numpy as np
import pytest
import silhouette_oracle
import torch
from meshes import BAD_MESHES, SQUARE, blob, soup, square

from dhpe_lab.rendering.raster import rasterize
from dhpe_ros.rendering import coverage, covered, silhouette, visible_faces

pytestmark = pytest.mark.usefixtures("one_thread")


def gradient_of(vertices, triangles, size, upstream, **relaxation):
    vertices = vertices.detach().clone().requires_grad_()
    (silhouette(vertices, triangles, size, **relaxation) * upstream).sum().backward()
    return vertices.grad


# --- value ----------------------------------------------------------------------------------------


def test_a_square_covers_the_centres_inside_it():
    # 8 pixels span [-1, 1]: centres at -0.875, -0.625, ...; this square holds those of 2..4 x 1..6.
    mask = silhouette(square(-0.4, -0.7, 0.2, 0.7), SQUARE, 8)
    expected = torch.zeros(1, 8, 8, dtype=torch.float64)
    expected[0, 1:7, 2:5] = 1
    assert torch.equal(mask, expected)


def test_a_centre_on_the_border_belongs_to_the_triangle_right_of_it_or_below():
    mask = silhouette(square(-0.875, -0.875, 0.125, 0.125), SQUARE, 8)
    expected = torch.zeros(1, 8, 8, dtype=torch.float64)
    expected[0, 0:4, 0:4] = 1
    assert torch.equal(mask, expected)


def test_height_and_width_may_differ():
    mask = silhouette(square(0.0, -1.0, 1.0, 0.0), SQUARE, (4, 10))
    assert mask.shape == (1, 4, 10)
    assert mask[0, :2, 5:].all() and mask.sum() == 10


@pytest.mark.parametrize("seed", range(6))
def test_coverage_equals_the_reference_on_overlapping_triangles(seed):
    vertices, triangles = soup(seed)
    mask = silhouette(vertices[None], triangles, (37, 50))[0]
    assert torch.equal(mask.bool(), silhouette_oracle.coverage(vertices, triangles, (37, 50)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_coverage_equals_the_reference_on_a_closed_surface(dtype):
    vertices, triangles = blob()
    vertices = vertices.to(dtype)
    mask = silhouette(vertices[None], triangles, 64)[0]
    assert mask.dtype == dtype
    expected = silhouette_oracle.coverage(vertices[:, :2].double(), triangles, (64, 64))
    assert torch.equal(mask.bool(), expected)


def test_orientation_of_triangles_does_not_matter():
    vertices, triangles = blob()
    flipped = triangles.clone()
    flipped[::3] = flipped[::3].flip(1)
    upstream = torch.randn(1, 64, 64, generator=torch.Generator().manual_seed(0))
    assert torch.equal(
        silhouette(vertices[None], triangles, 64), silhouette(vertices[None], flipped, 64)
    )
    torch.testing.assert_close(
        gradient_of(vertices[None], triangles, 64, upstream),
        gradient_of(vertices[None], flipped, 64, upstream),
    )


# --- gradient -------------------------------------------------------------------------------------


@pytest.mark.parametrize("mesh", [blob(6, 9), blob(6, 9, seed=3), soup(1), soup(2), soup(3)])
def test_gradient_equals_autograd_of_the_reference(mesh):
    # Same definition in float64 on both sides. Pixels equally near to two edges may choose either,
    # which is a set of measure zero: the comparison is tight.
    vertices, triangles = mesh[0][:, :2], mesh[1]
    size = (29, 34)
    upstream = torch.randn(1, *size, generator=torch.Generator().manual_seed(1)).double()
    ours = gradient_of(vertices[None], triangles, size, upstream)[0]
    vertices = vertices.clone().requires_grad_()
    (silhouette_oracle.relaxed_silhouette(vertices, triangles, size) * upstream[0]).sum().backward()
    torch.testing.assert_close(ours, vertices.grad, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("mesh", [blob(6, 9), soup(4, 8), soup(5, 8)])
def test_gradient_equals_finite_differences_of_the_relaxed_silhouette(mesh):
    # S is piecewise smooth, and within the step of 1e-7 hardly any pixel changes its nearest edge;
    # rounding of a sum of size 1e1 in float64 adds about 1e-15 * 1e1 / 1e-7 = 1e-7.
    vertices, triangles = mesh[0][:, :2], mesh[1]
    generator = torch.Generator().manual_seed(0)
    upstream = torch.randn(1, 40, 40, generator=generator, dtype=torch.float64)
    ours = gradient_of(vertices[None], triangles, 40, upstream)[0]
    for _ in range(3):
        direction = torch.randn(vertices.shape, generator=generator, dtype=torch.float64)
        ahead, behind = (
            (silhouette_oracle.relaxed_silhouette(vertices + step * direction, triangles, (40, 40)))
            for step in (1e-7, -1e-7)
        )
        expected = ((ahead - behind) * upstream).sum().item() / 2e-7
        assert (ours * direction).sum().item() == pytest.approx(expected, rel=1e-4, abs=1e-3)


def test_the_sum_of_pixels_grows_like_the_area():
    # Scaling by (1 + e) changes the area by 2 e area. Cauchy tails that end at the image's border
    # lose softness / (pi * distance) on each side, here under 3 %.
    vertices, triangles = blob(16, 24, radius=0.6)
    upstream = torch.ones(1, 224, 224, dtype=torch.float64)
    gradient = gradient_of(vertices[None], triangles, 224, upstream)[0]
    area = silhouette(vertices[None], triangles, 224).sum()
    assert (gradient * vertices).sum().item() == pytest.approx(2 * area.item(), rel=0.03)


def test_hidden_edges_get_no_gradient():
    big, small = square(-0.8, -0.8, 0.8, 0.8), square(-0.3, -0.3, 0.3, 0.3)
    vertices = torch.cat([big, small], dim=1)
    gradient = gradient_of(vertices, torch.cat([SQUARE, SQUARE + 4]), 32, torch.ones(1, 32, 32))
    assert (gradient[0, :4] != 0).all() and (gradient[0, 4:] == 0).all()


def test_z_gets_no_gradient():
    vertices, triangles = blob()
    gradient = gradient_of(vertices[None], triangles, 32, torch.ones(1, 32, 32))
    assert (gradient[..., 2] == 0).all() and (gradient[..., :2] != 0).any()


def test_pixels_beyond_reach_send_no_gradient():
    upstream = torch.zeros(1, 64, 64)
    upstream[0, 32, 60] = 1.0  # the square's right side is at column 47.5: 12.5 pixels away
    vertices = square(-0.5, -0.5, 0.5, 0.5)
    assert (gradient_of(vertices, SQUARE, 64, upstream, reach_px=12.0) == 0).all()
    assert (gradient_of(vertices, SQUARE, 64, upstream, reach_px=13.0) != 0).any()


def test_a_pixel_centre_on_the_outline_pulls_along_the_normal():
    upstream = torch.zeros(1, 8, 8)
    upstream[0, 3, 4] = 1.0
    gradient = gradient_of(square(-0.875, -0.875, 0.125, 0.875), SQUARE, 8, upstream)
    assert gradient[0, 1:3, 0].sum().item() == pytest.approx(4 / torch.pi)  # 4 px per unit, 1 / pi
    assert (gradient[..., 1] == 0).all()


@pytest.mark.parametrize("shift_px", [(3.0, -2.0), (-25.0, 15.0), (60.0, 40.0)])
def test_a_displaced_mesh_comes_back(shift_px):
    vertices, triangles = blob(12, 16, radius=0.3)
    vertices = vertices.float()[None]
    target = silhouette(vertices, triangles, 224)
    shift = (torch.tensor(shift_px) / 112).requires_grad_()
    optimizer = torch.optim.Adam([shift], lr=0.02)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.01, total_iters=150)
    for _ in range(150):
        optimizer.zero_grad()
        moved = vertices[..., :2] + shift
        (silhouette(moved, triangles, 224) - target).square().sum().backward()
        optimizer.step()
        schedule.step()
    assert shift.abs().max().item() * 112 < 0.1


# --- batches, determinism, bad input --------------------------------------------------------------


def test_a_batch_equals_its_members():
    meshes = [blob(seed=seed)[0] for seed in range(3)]
    triangles = blob()[1]
    upstream = torch.randn(3, 64, 64, generator=torch.Generator().manual_seed(2))
    batch = torch.stack(meshes).float()
    masks, gradient = silhouette(batch, triangles, 64), gradient_of(batch, triangles, 64, upstream)
    fragments = rasterize(batch, triangles, 64)
    np.testing.assert_array_equal(covered(batch, triangles, 64), masks.numpy() > 0)
    for n in range(3):
        single = batch[n : n + 1]
        assert torch.equal(masks[n : n + 1], silhouette(single, triangles, 64))
        alone = gradient_of(single, triangles, 64, upstream[n : n + 1])
        assert torch.equal(gradient[n : n + 1], alone)
        for field, expected in zip(rasterize(single, triangles, 64), fragments, strict=True):
            np.testing.assert_array_equal(field[0], expected[n])


def test_visible_faces_are_the_nearest_ones_where_a_surface_is_seen_from_outside():
    vertices, triangles = blob(16, 24)
    vertices, triangles = vertices[None].numpy(), triangles.numpy()
    a, b, c = (vertices[0, triangles[:, k]] for k in range(3))
    normals = np.cross(b - a, c - a)
    if (normals * (a - vertices[0].mean(0))).sum() < 0:
        triangles, normals = triangles[:, ::-1].copy(), -normals
    nearest = rasterize(vertices, triangles, 96).face_index
    outside = (nearest >= 0) & (normals[nearest, 2] < 0)  # z points away from the viewer
    inside = (nearest >= 0) & ~outside  # through the rim
    visible = visible_faces(vertices, triangles, 96)
    assert outside.sum() > 1000
    assert inside.sum() > 100
    np.testing.assert_array_equal(visible[outside], nearest[outside])
    assert (visible[nearest < 0] == -1).all()
    assert (visible[inside] != nearest[inside]).all()


def test_the_number_of_threads_does_not_change_a_bit():
    vertices, triangles = blob(16, 24)
    upstream = torch.randn(1, 224, 224, generator=torch.Generator().manual_seed(3))
    results = []
    for count in (1, 2, 3):
        torch.set_num_threads(count)
        results.append(gradient_of(vertices[None], triangles, 224, upstream))
    assert torch.equal(results[0], results[1]) and torch.equal(results[0], results[2])


NAN, INF = float("nan"), float("inf")


@pytest.mark.parametrize("name", BAD_MESHES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_bad_meshes_give_finite_images_and_gradients(name, dtype):
    vertices = torch.cat([BAD_MESHES[name], torch.zeros(1, 4, 1)], dim=-1).to(dtype)
    mask = silhouette(vertices, SQUARE, 32)
    full = name in ("around the image", "huge")
    assert ((mask == 1) if full else (mask == 0)).all() or name == "half not a number"
    assert torch.isfinite(gradient_of(vertices, SQUARE, 32, torch.ones(1, 32, 32))).all()
    fragments = rasterize(vertices, SQUARE, 32)
    np.testing.assert_array_equal(fragments.face_index >= 0, mask.numpy() > 0)
    assert np.isfinite(fragments.barycentric).all()


@pytest.mark.parametrize("depth", [-1e30, 0.0, 1e30, NAN])
def test_any_depth_gives_the_same_silhouette(depth):
    flat = square(-0.4, -0.7, 0.2, 0.7)
    deep = torch.cat([flat, torch.full((1, 4, 1), depth)], dim=-1)
    assert torch.equal(silhouette(flat, SQUARE, 16), silhouette(deep, SQUARE, 16))


def test_empty_batches_and_meshes():
    vertices, triangles = blob()
    none = vertices[None][:0].requires_grad_()
    masks = silhouette(none, triangles, 16)
    masks.sum().backward()
    assert masks.shape == (0, 16, 16) and none.grad.shape == none.shape
    no_triangles = torch.zeros(0, 3, dtype=torch.long)
    assert (gradient_of(vertices[None], no_triangles, 16, torch.ones(1, 16, 16)) == 0).all()
    assert (silhouette(torch.zeros(2, 0, 3), no_triangles, 16) == 0).all()
    assert (rasterize(torch.zeros(2, 0, 3), no_triangles, 16).face_index == -1).all()


@pytest.mark.parametrize(
    ("vertices", "triangles", "size", "message"),
    [
        (torch.zeros(4, 3), SQUARE, 8, "vertices must have shape"),
        (torch.zeros(1, 3, 3), SQUARE, 8, "vertex 3"),
        (torch.zeros(1, 4, 3), SQUARE - 1, 8, "negative"),
        (torch.zeros(1, 4, 3), SQUARE.float(), 8, "must be integers"),
        (torch.zeros(1, 4, 3), SQUARE[:, :2], 8, r"\(F, 3\)"),
        (torch.zeros(1, 4, 3), SQUARE, 0, "size must be"),
    ],
)
def test_wrong_input_is_named(vertices, triangles, size, message):
    for function in (silhouette, rasterize):
        with pytest.raises(ValueError, match=message):
            function(vertices, triangles, size)


# --- backends -------------------------------------------------------------------------------------


def test_unknown_and_missing_backends_are_named(monkeypatch):
    with pytest.raises(ValueError, match=r"must be one of auto, numba, .*'cuda'"):
        silhouette(square(0, 0, 1, 1), SQUARE, 8, backend="cuda")
    monkeypatch.setattr(coverage, "_HAS_TRITON", False)
    with pytest.raises(ImportError, match="or use the backend 'auto'"):
        silhouette(square(0, 0, 1, 1), SQUARE, 8, backend="triton")


@pytest.mark.parametrize(
    ("backend", "on_cuda", "has_triton", "expected"),
    [
        ("auto", False, True, "NumbaSilhouette"),
        ("auto", True, False, "NumbaSilhouette"),
        ("numba", True, True, "NumbaSilhouette"),
    ],
)
def test_the_backend_fits_the_device(monkeypatch, backend, on_cuda, has_triton, expected):
    monkeypatch.setattr(coverage, "_HAS_TRITON", has_triton)
    assert coverage._renderer(backend, on_cuda).__self__.__name__ == expected


# --- z-buffer -------------------------------------------------------------------------------------


def test_rasterize_covers_the_pixels_of_the_silhouette():
    vertices, triangles = blob(16, 24)
    vertices = vertices.float()[None]
    fragments = rasterize(vertices, triangles, 96)
    mask = silhouette(vertices, triangles, 96).numpy()
    np.testing.assert_array_equal(fragments.face_index >= 0, mask > 0)
    np.testing.assert_array_equal(np.isfinite(fragments.depth), mask > 0)


def test_barycentric_coordinates_reconstruct_the_pixel_centres():
    vertices, triangles = blob(16, 24)
    fragments = rasterize(vertices[None], triangles, 96)
    rows, columns = np.nonzero(fragments.face_index[0] >= 0)
    corners = vertices.numpy()[triangles.numpy()[fragments.face_index[0, rows, columns]]]
    points = np.einsum("nk,nkd->nd", fragments.barycentric[0, rows, columns], corners)
    centres = np.stack([(2 * columns + 1) / 96 - 1, (2 * rows + 1) / 96 - 1], axis=-1)
    np.testing.assert_allclose(points[:, :2], centres, atol=1e-6)
    np.testing.assert_allclose(points[:, 2], fragments.depth[0, rows, columns], atol=1e-6)


def test_the_nearest_triangle_wins_whatever_the_order():
    far = torch.cat([square(-0.9, -0.9, 0.9, 0.9), torch.full((1, 4, 1), 2.0)], dim=-1)
    near = torch.cat([square(-0.4, -0.4, 0.4, 0.4), torch.full((1, 4, 1), -1.0)], dim=-1)
    for pair in ((far, near), (near, far)):
        fragments = rasterize(torch.cat(pair, dim=1), torch.cat([SQUARE, SQUARE + 4]), 20)
        assert fragments.depth[0, 10, 10] == -1.0 and fragments.depth[0, 2, 2] == 2.0
        assert (fragments.face_index[0, 10, 10] >= 2) == (pair[1] is near)
        assert fragments.face_index[0, 0, 0] == -1 and np.isinf(fragments.depth[0, 0, 0])
