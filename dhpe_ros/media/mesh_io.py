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
    down, z forward), which a viewer with y up shows upside down. Raises ``OSError``.
    """
    # A file name in the comment may be no UTF-8.
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        file.writelines(f"# {line}\n" for line in comment.splitlines())
        np.savetxt(file, vertices, "v %.6f %.6f %.6f")
        np.savetxt(file, normals, "vn %.4f %.4f %.4f")
        np.savetxt(file, np.repeat(triangles + 1, 2, axis=1), "f %d//%d %d//%d %d//%d")
