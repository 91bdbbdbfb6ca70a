"""Texels on triangles: complete, shared along edges, and found again from any point."""

import numpy as np
import pytest

from dhpe_lab.rendering.texels import small_triangle, texels_of

TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [0, 3, 2]])
CORNERS = np.array([[0.0, 0, 0], [3, 0, 0], [0, 2, 0], [0, 0, 1]])


@pytest.mark.parametrize("detail", [1, 2, 3, 5])
def test_small_triangles_tile_the_mesh_without_doubling_an_edge(detail):
    texels = texels_of(TETRAHEDRON, 4, detail)
    points = texels.spread(CORNERS)
    assert len(np.unique(points.round(9), axis=0)) == len(points)
    assert np.array_equal(points[:4], CORNERS)
    small = points[texels.corners]
    normals = np.cross(small[:, 1] - small[:, 0], small[:, 2] - small[:, 0])
    a, b, c = CORNERS[TETRAHEDRON].transpose(1, 0, 2)
    whole = np.repeat(np.cross(b - a, c - a), detail**2, axis=0) / detail**2
    np.testing.assert_allclose(normals, whole, atol=1e-12)
    edges = np.sort(texels.corners[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    assert (np.unique(edges, axis=0, return_counts=True)[1] == 2).all()  # closed, as the mesh is


@pytest.mark.parametrize("detail", [1, 2, 3, 5])
def test_a_point_is_found_in_its_small_triangle(detail):
    texels = texels_of(TETRAHEDRON, 4, detail)
    points = texels.spread(CORNERS)
    rng = np.random.default_rng(0)
    places = np.concatenate([rng.dirichlet(np.ones(3), 200), np.eye(3), (1 - np.eye(3)) / 2])
    for place in places:
        small, *weights = small_triangle(place[0], place[1], detail)
        found = np.array(weights) @ points[texels.corners[2 * detail**2 + small]]
        np.testing.assert_allclose(found, place @ CORNERS[TETRAHEDRON[2]], atol=1e-12)
        assert min(weights) > -1e-9


def test_no_detail_is_an_error():
    with pytest.raises(ValueError, match="at least 1"):
        texels_of(TETRAHEDRON, 4, 0)
