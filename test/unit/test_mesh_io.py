"""Mesh files: what is written can be read back, by trimesh."""

import numpy as np
import pytest
import trimesh
from trimesh.exchange.gltf import load_glb
from trimesh.exchange.ply import load_ply

from dhpe_ros.cli.output_names import MESH_FORMATS
from dhpe_ros.media.mesh_io import write_mesh
from dhpe_ros.rendering.overlay import MESH_COLOR

VERTICES = np.array(((0.0, 0, 0.5), (0.1, 0, 0.5), (0, -0.1, 0.5), (0, 0, 0.4)))
TRIANGLES = np.array(((0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3)), np.int32)
NORMALS = np.array(((-0.5, 0.5, 0.70710678), (0.6, 0, 0.8), (0, -0.6, 0.8), (0, 0, -1)))


def written_normals(path):
    """Those of the file; ``load_mesh`` computes its own."""
    if path.suffix == ".obj":
        return [line.split()[1:] for line in path.read_text().splitlines() if line[:2] == "vn"]
    with path.open("rb") as file:
        if path.suffix == ".ply":
            return load_ply(file)["vertex_normals"]
        return load_glb(file)["geometry"]["geometry_0"]["vertex_normals"]


@pytest.mark.parametrize("kind", MESH_FORMATS)
def test_round_trip(tmp_path, kind):
    path = tmp_path / f"m.{kind}"
    write_mesh(path, VERTICES, TRIANGLES, NORMALS, "two\nlines")
    read = trimesh.load_mesh(path, process=False)
    axes = (1, -1, -1) if kind == "glb" else (1, 1, 1)
    np.testing.assert_allclose(read.vertices, VERTICES * axes, atol=1e-6)
    np.testing.assert_allclose(np.array(written_normals(path), float), NORMALS * axes, atol=1e-5)
    np.testing.assert_array_equal(read.faces, TRIANGLES)
    assert read.volume > 0  # the triangles face outward, turned or not
    if kind == "glb":
        material = read.visual.material
        assert (*material.baseColorFactor[:3], material.metallicFactor) == (*MESH_COLOR, 0)
    else:
        np.testing.assert_array_equal(read.visual.vertex_colors[:, :3], [MESH_COLOR] * 4)


def test_the_comment_stands_first(tmp_path):
    for kind, beginning in (
        ("obj", b"# two\n# caf\\udce9\nv "),
        ("ply", b"ply\nformat binary_little_endian 1.0\n"),
    ):
        write_mesh(tmp_path / f"m.{kind}", VERTICES, TRIANGLES, NORMALS, "two\ncaf\udce9")
        assert (tmp_path / f"m.{kind}").read_bytes().startswith(beginning)
    assert b"\ncomment two\ncomment caf\\udce9\nelement" in (tmp_path / "m.ply").read_bytes()
