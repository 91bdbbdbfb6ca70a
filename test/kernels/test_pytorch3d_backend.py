"""PyTorch3D's silhouette behind our interface, where PyTorch3D is installed."""

import pytest
import torch
from meshes import SQUARE, blob, square

from dhpe_ros.rendering import silhouette

pytest.importorskip("pytorch3d", reason="needs PyTorch3D, built from its source")


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("size", [48, (40, 64), (64, 40)])
def test_its_value_is_our_coverage(seed, size):
    vertices, triangles = blob(seed=seed)
    vertices = vertices.float()[None] + torch.tensor([0.2, -0.1, 0.0])
    theirs = silhouette(vertices, triangles, size, backend="pytorch3d")
    assert torch.equal(theirs, silhouette(vertices, triangles, size))


def test_a_square_lies_where_ours_does():
    vertices = square(-0.9, -0.6, -0.1, 0.3).float()
    theirs = silhouette(vertices, SQUARE, (32, 64), backend="pytorch3d")
    assert torch.equal(theirs, silhouette(vertices, SQUARE, (32, 64)))


@pytest.mark.parametrize("shift_px", [(2.0, 0.0), (0.0, -2.0), (-1.5, 1.5)])
def test_both_pull_a_displaced_mesh_the_same_way(shift_px):
    vertices, triangles = blob()
    vertices = vertices.float()[None]
    target = silhouette(vertices, triangles, 64)
    pulls = []
    for backend in ("auto", "pytorch3d"):
        shift = (torch.tensor(shift_px) / 32).requires_grad_()
        mask = silhouette(vertices[..., :2] + shift, triangles, 64, backend=backend)
        (mask - target).square().sum().backward()
        pulls.append(shift.grad)
    assert torch.cosine_similarity(pulls[0], pulls[1], dim=0) > 0.95
    assert torch.cosine_similarity(pulls[0], torch.tensor(shift_px), dim=0) > 0.95


def test_a_mesh_off_the_screen_gives_an_empty_mask_and_no_pull():
    vertices = square(3.0, 3.0, 5.0, 5.0).float().requires_grad_()
    mask = silhouette(vertices, SQUARE, 16, backend="pytorch3d")
    mask.sum().backward()
    assert (mask == 0).all() and (vertices.grad == 0).all()
