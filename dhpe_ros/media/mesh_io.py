"""Writer of meshes as OBJ, PLY and GLB, by trimesh."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import trimesh
from trimesh.exchange.gltf import export_glb
from trimesh.exchange.obj import export_obj
from trimesh.exchange.ply import export_ply
from trimesh.visual import TextureVisuals
from trimesh.visual.material import PBRMaterial

from dhpe_ros.rendering.overlay import MESH_COLOR

# Without one a viewer takes bare metal, which looks black.
_SKIN = PBRMaterial(
    baseColorFactor=(*MESH_COLOR, 255), metallicFactor=0.0, roughnessFactor=0.8, doubleSided=True
)
_TO_GLTF = np.diag((1.0, -1.0, -1.0, 1.0))  # its y is up, and its cameras look along -z


def write_mesh(
    path: Path, vertices: np.ndarray, triangles: np.ndarray, normals: np.ndarray, comment: str
) -> None:
    """Write ``(V, 3)`` vertices, ``(F, 3)`` triangles, ``(V, 3)`` unit normals.

    The path's suffix is .obj, .ply or .glb. OBJ and PLY keep the coordinates: of a ``Hand``, metres
    in the camera's optical frame (x right, y down, z forward), which a viewer with y up shows
    upside down. GLB has glTF's axes: x right, y up, z backward. Raises ``OSError``.
    """
    mesh = trimesh.Trimesh(
        vertices,
        triangles,
        vertex_normals=normals,
        vertex_colors=MESH_COLOR,
        process=False,
        metadata={"comment": comment},
    )
    # A file name in the comment may be no UTF-8.
    lines = [line.encode("utf-8", "backslashreplace") for line in comment.splitlines()]
    if path.suffix == ".obj":
        text = export_obj(mesh, header=None, digits=6, include_normals=True)
        data = b"".join(b"# %s\n" % line for line in lines) + text.rstrip().encode() + b"\n"
    elif path.suffix == ".ply":
        header = b"".join(b"\ncomment %s" % line for line in lines) + b"\nelement vertex "
        data = export_ply(mesh, vertex_normal=True).replace(b"\nelement vertex ", header, 1)
    else:
        mesh.apply_transform(_TO_GLTF)
        mesh.visual = TextureVisuals(material=_SKIN)
        data = export_glb(trimesh.Scene(mesh), include_normals=True)
    path.write_bytes(data)
