"""The differentiable silhouette on a GPU: the autograd function around the Triton kernels.

Two kernels forward and three backward, none of which waits for the device: shapes depend on the
mesh and the image only, so that calls can be captured in a CUDA graph. Before a capture, call once:
kernels are compiled and the tables of the mesh copied to the device then; they live as long as the
`triangles` given to `silhouette`, if these are a tensor on the device.

Runs with Triton 3.4 (which torch 2.8 brings) and later.
"""

from __future__ import annotations

import math
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
import triton
from torch import Tensor

from dhpe_ros.rendering import triton_kernels as kernels
from dhpe_ros.rendering import triton_outline as outline
from dhpe_ros.rendering.topology import Topology

_PARTS_PER_EDGE = 4  # room for parts of the outline; a hand needs a tenth of a part per edge
_LINE_PROGRAMS = 512  # a hand has some 200 contour edges
_EXACT = {"enable_fp_fusion": False}
_INTERPRETED = not isinstance(kernels.trace, triton.JITFunction)


class Tables(NamedTuple):
    """A mesh's connectivity on a device, int32: the triangles around each edge.

    edges: (2, E), the vertices a < b of each edge.
    starts: (E + 1,), where the triangles of each edge begin in the next two; the last is their end.
    corners: (3, 3 F), vertices of those triangles.
    signs: (3 F,), +1 where the triangle runs the edge from a to b, else -1.
    """

    edges: Tensor
    starts: Tensor
    corners: Tensor
    signs: Tensor


_tables: WeakKeyDictionary[Topology, dict[torch.device, Tables]] = WeakKeyDictionary()


def tables_of(topology: Topology, device: torch.device) -> Tables:
    """The tables of a mesh, copied to the device at the first call."""
    copies = _tables.setdefault(topology, {})
    if device not in copies:
        edge = topology.triangle_edges.ravel()
        order = np.argsort(edge, kind="stable")
        corners = topology.triangles[order // 3]
        tables = (
            topology.edges.T,
            np.searchsorted(edge[order], np.arange(len(topology.edges) + 1)),
            corners.T,
            topology.triangle_edge_signs.ravel()[order],
        )
        copies[device] = Tables(
            *(torch.from_numpy(np.ascontiguousarray(t, dtype=np.int32)).to(device) for t in tables)
        )
    return copies[device]


class TritonSilhouette(torch.autograd.Function):
    """`silhouette` of vertices (B, V, 2 or more) on a CUDA device.

    Bit for bit the CPU's value; the CPU's gradient but for float32 rounding of distances, and for
    parts of the outline beyond four times the number of the mesh's edges, which send none. It is
    summed in integers, so that it is the same at every run; a pull of less than 1e-12 (at 224 x
    224) of the strongest possible one of the image is lost.
    """

    @staticmethod
    def forward(
        ctx,
        vertices: Tensor,
        topology: Topology,
        shape: tuple[int, int],
        softness_px: float,
        reach_px: float,
    ) -> Tensor:
        if not vertices.is_cuda and not _INTERPRETED:
            raise ValueError(
                "the backend 'triton' needs vertices on a CUDA device, got "
                f"{vertices.device}: use the backend 'auto', or set TRITON_INTERPRET=1 to try it"
            )
        ctx.scene = topology, shape, softness_px, reach_px
        with torch.cuda.device_of(vertices):
            mask, *lines = _cover(vertices.contiguous(), topology, shape)
        ctx.save_for_backward(vertices, mask, *lines)
        return mask

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, upstream):
        vertices, mask, *lines = ctx.saved_tensors
        with torch.cuda.device_of(vertices):
            gradient = _pull(vertices, mask, lines, upstream.contiguous(), *ctx.scene)
        return gradient, None, None, None, None


def _cover(vertices: Tensor, topology: Topology, shape: tuple[int, int]) -> tuple[Tensor, ...]:
    """Mask (B, H, W), and contour edges: counts (B,), lines (B, 4, E), edges, weights (B, E)."""
    batch, vertex_count, coordinates = vertices.shape
    edge_count = len(topology.edges)
    integers = {"dtype": torch.int32, "device": vertices.device}
    counts = torch.zeros(batch, **integers)
    lines = torch.empty(batch, 4, edge_count, dtype=torch.float64, device=vertices.device)
    line_edges, line_weights = torch.empty(2, batch, edge_count, **integers)
    if batch == 0 or edge_count == 0:
        return vertices.new_zeros(batch, *shape), counts, lines, line_edges, line_weights
    mask = vertices.new_empty(batch, *shape)
    changes = torch.zeros(batch, *shape, **integers)
    kernels.trace[_grid(edge_count, 64, batch)](
        vertices, coordinates, vertex_count, *tables_of(topology, vertices.device), edge_count,
        *shape, changes, counts, lines, line_edges, line_weights,
        EDGES=64, ROWS=8, num_warps=4, **_EXACT,
    )  # fmt: skip
    columns = min(triton.next_power_of_2(shape[1]), 1024)
    rows = max(1, 512 // columns)
    kernels.fill[_grid(shape[0], rows, batch)](
        changes, mask, *shape, ROWS=rows, COLUMNS=columns, num_warps=4
    )
    return mask, counts, lines, line_edges, line_weights


def _pull(
    vertices: Tensor,
    mask: Tensor,
    lines: list[Tensor],
    upstream: Tensor,
    topology: Topology,
    shape: tuple[int, int],
    softness_px: float,
    reach_px: float,
) -> Tensor:
    """Gradient (B, V, 2 or more) of sum(upstream * S), S the relaxed silhouette."""
    batch, vertex_count, coordinates = vertices.shape
    edge_count = len(topology.edges)
    if batch == 0 or edge_count == 0:
        return torch.zeros_like(vertices)
    height, width = shape
    device = vertices.device
    edges = tables_of(topology, device).edges
    capacity = _PARTS_PER_EDGE * edge_count
    size = (batch, outline.FLOATS.value, capacity)
    floats = torch.empty(size, dtype=torch.float32, device=device)
    integers = torch.empty(
        batch, outline.INTEGERS.value, capacity, dtype=torch.int32, device=device
    )
    sums = torch.zeros(batch, 2 * vertex_count + 2, dtype=torch.int64, device=device)
    parts = floats, integers, capacity, sums
    outline.outline[_LINE_PROGRAMS, batch](
        edges, edge_count, vertex_count, *shape, *lines, upstream, *parts,
        LINES=256, PIXELS=128, num_warps=4, **_EXACT,
    )  # fmt: skip
    # The sum of all pixels' pulls, each at most 2 x 20 at corners, stays below 2^62.
    unit = 2.0 ** (56 - math.ceil(math.log2(height * width)))
    outline.pull[triton.cdiv(height, 8) * triton.cdiv(width, 8), batch](
        mask, upstream, vertex_count, *shape, *parts, softness_px, reach_px, unit,
        TILE=8, num_warps=1,
    )  # fmt: skip
    gradient = torch.empty_like(vertices, memory_format=torch.contiguous_format)
    pixels = 0.5 / (math.pi * softness_px * unit)
    outline.collect[_grid(vertex_count * coordinates, 256, batch)](
        sums, gradient, coordinates, vertex_count, width * pixels, height * pixels, VALUES=256
    )
    return gradient


def _grid(count: int, block: int, batch: int) -> tuple[int, int]:
    return triton.cdiv(count, block), batch
