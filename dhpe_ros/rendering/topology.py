"""Connectivity of triangle meshes: computed once per triangle list, kept in a small cache."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch.utils.weak import WeakTensorKeyDictionary


@dataclass(frozen=True, eq=False)
class Topology:
    """Connectivity of a triangle mesh. Compared by identity, so that devices can keep copies.

    triangles: (F, 3) int64, vertex indices.
    edges: (E, 2) int64, every undirected edge once, the smaller vertex index first.
    triangle_edges: (F, 3) int64, the edges of each triangle: corner 0-1, 1-2 and 2-0.
    triangle_edge_signs: (F, 3) int64, +1 where the triangle runs the edge from the smaller vertex
        index to the larger one, -1 where it runs it backwards.
    """

    triangles: np.ndarray
    edges: np.ndarray
    triangle_edges: np.ndarray
    triangle_edge_signs: np.ndarray


# Triangles on a device, by identity: looking at their content would wait for the device.
_of_device_tensor = WeakTensorKeyDictionary()


def topology_of(triangles: torch.Tensor | np.ndarray, vertex_count: int) -> Topology:
    """Connectivity of `triangles` (F, 3), checked against a mesh of `vertex_count` vertices.

    The result is cached by the content of `triangles`, so callers may pass the array every time;
    for a tensor on a device by the tensor itself, as long as it lives and is not written to.

    Raises:
        ValueError: `triangles` is not (F, 3) integers, or names a vertex that does not exist.
    """
    if isinstance(triangles, torch.Tensor) and triangles.device.type != "cpu":
        topology, highest = _of_tensor(triangles)
    else:
        topology, highest = _of_content(triangles)
    if highest >= vertex_count:
        raise ValueError(f"triangles name vertex {highest}, the mesh has {vertex_count} vertices")
    return topology


def _of_tensor(triangles: torch.Tensor) -> tuple[Topology, int]:
    version = None if triangles.is_inference() else triangles._version
    known = _of_device_tensor.get(triangles)
    if known is None or known[0] != version:
        known = version, _of_content(triangles.cpu())
        _of_device_tensor[triangles] = known
    return known[1]


def _of_content(triangles: torch.Tensor | np.ndarray) -> tuple[Topology, int]:
    """Connectivity, and the highest vertex index."""
    triangles = np.asarray(triangles)
    if triangles.ndim != 2 or triangles.shape[1] != 3:
        raise ValueError(f"triangles must have shape (F, 3), got {triangles.shape}")
    if triangles.dtype.kind not in "iu":
        raise ValueError(f"triangles must be integers, got {triangles.dtype}")
    return _cached(np.ascontiguousarray(triangles, dtype=np.int64).tobytes())


@lru_cache(maxsize=32)
def _cached(content: bytes) -> tuple[Topology, int]:
    triangles = np.frombuffer(content, dtype=np.int64).reshape(-1, 3)
    if triangles.size and triangles.min() < 0:
        raise ValueError(f"triangles name a negative vertex index, {triangles.min()}")
    starts = triangles
    ends = np.roll(triangles, -1, axis=1)
    directed = np.stack([starts, ends], axis=-1).reshape(-1, 2)
    edges, edge_of = np.unique(np.sort(directed, axis=1), axis=0, return_inverse=True)
    topology = Topology(
        triangles=triangles.copy(),
        edges=np.ascontiguousarray(edges.reshape(-1, 2)),
        triangle_edges=np.ascontiguousarray(edge_of.reshape(-1, 3).astype(np.int64)),
        triangle_edge_signs=np.where(starts < ends, 1, -1).astype(np.int64),
    )
    return topology, int(triangles.max()) if triangles.size else -1
