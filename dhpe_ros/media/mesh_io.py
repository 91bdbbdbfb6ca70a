"""Writer of meshes as Wavefront OBJ."""

from __future__ import annotations

from pathlib import Path

import numpy as np


def write_obj(
    path: str | Path,
    vertices: np.ndarray,
    triangles: np.ndarray,
    normals: np.ndarray,
    comment: str = "",
) -> None:
    """Write ``(V, 3)`` vertices, ``(F, 3)`` zero-based triangles, ``(V, 3)`` unit normals.

    Coordinates stay as they are: of a ``Hand``, metres in the camera's optical frame (x right, y
    down, z forward), which a viewer with y up shows upside down. Raises ``ValueError`` where the
    arrays do not fit together, ``OSError`` where the file cannot be written.
    """
    _check(vertices, triangles, normals)
    lines = [f"# {line}" for line in comment.splitlines()]
    lines += [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices.tolist()]
    lines += [f"vn {x:.4f} {y:.4f} {z:.4f}" for x, y, z in normals.tolist()]
    lines += [f"f {a}//{a} {b}//{b} {c}//{c}" for a, b, c in (triangles + 1).tolist()]
    text = "\n".join(lines) + "\n"  # a file name in the comment may be no UTF-8
    Path(path).write_text(text, encoding="utf-8", errors="backslashreplace")


def _check(vertices: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> None:
    if vertices.ndim != 2 or vertices.shape[1] != 3 or normals.shape != vertices.shape:
        raise ValueError(
            f"vertices and normals must both be (V, 3), got {vertices.shape} and {normals.shape}"
        )
    if triangles.ndim != 2 or triangles.shape[1] != 3:
        raise ValueError(f"triangles must be (F, 3), got {triangles.shape}")
    if triangles.size and not 0 <= triangles.min() <= triangles.max() < len(vertices):
        raise ValueError(
            f"triangles name vertices {triangles.min()}..{triangles.max()} of {len(vertices)}"
        )
