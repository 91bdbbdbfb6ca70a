"""Vertex normals, differentiable."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def vertex_normals(vertices: Tensor, triangles: Tensor | np.ndarray) -> Tensor:
    """Unit normals, the mean of the adjacent triangles' weighted by their areas.

    Args:
        vertices: (B, V, 3), any unit.
        triangles: (F, 3) integers. Normals point to the side from which the corners run
            counter-clockwise, in a right-handed frame.

    Returns:
        (B, V, 3), type and device of `vertices`. Zero, with a zero gradient, at a vertex without
        area.
    """
    if vertices.ndim != 3 or vertices.shape[2] != 3:
        raise ValueError(f"vertices must have shape (B, V, 3), got {tuple(vertices.shape)}")
    triangles = torch.as_tensor(triangles, dtype=torch.long, device=vertices.device)
    a, b, c = vertices[:, triangles].unbind(dim=2)
    areas = torch.linalg.cross(b - a, c - a)  # twice the area, along the normal
    sums = torch.zeros_like(vertices)
    sums = sums.index_add(1, triangles.T.reshape(-1), areas.repeat(1, 3, 1))
    return torch.nn.functional.normalize(sums, dim=-1, eps=torch.finfo(sums.dtype).tiny)
