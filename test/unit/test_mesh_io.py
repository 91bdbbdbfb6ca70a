"""OBJ files: what is written can be read back."""

from __future__ import annotations

import numpy as np

from dhpe_ros.media.mesh_io import write_obj

VERTICES = np.array(((0.0, 0, 0.5), (0.1, 0, 0.5), (0, -0.1, 0.5), (0, 0, 0.4)))
TRIANGLES = np.array(((0, 1, 2), (0, 3, 1)), np.int32)
NORMALS = np.tile((0.0, 0.6, -0.8), (4, 1))


def read_obj(path):
    rows = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    numbers = {kind: [row[1:] for row in rows if row[0] == kind] for kind in ("v", "vn", "f")}
    corners = [[corner.split("//") for corner in row] for row in numbers["f"]]
    return (
        np.array(numbers["v"], float),
        np.array(numbers["vn"], float),
        np.array(corners, int) - 1,
    )


def test_round_trip(tmp_path):
    write_obj(tmp_path / "m.obj", VERTICES, TRIANGLES, NORMALS, "two\nlines")
    vertices, normals, corners = read_obj(tmp_path / "m.obj")
    np.testing.assert_allclose(vertices, VERTICES, atol=1e-6)
    np.testing.assert_allclose(normals, NORMALS, atol=1e-4)
    np.testing.assert_array_equal(corners[..., 0], TRIANGLES)
    np.testing.assert_array_equal(corners[..., 1], TRIANGLES)
    assert (tmp_path / "m.obj").read_text().startswith("# two\n# lines\nv ")
