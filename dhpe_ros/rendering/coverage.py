"""The differentiable silhouette, and the z-buffer: the public functions around the kernels."""

from __future__ import annotations

import math
from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from torch import Tensor

from dhpe_ros.rendering import kernels
from dhpe_ros.rendering.numba_silhouette import NumbaSilhouette, as_array, cover, to_pixels
from dhpe_ros.rendering.outline import add_lengths
from dhpe_ros.rendering.topology import topology_of
from dhpe_ros.system.threads import for_each

_HAS_TRITON = find_spec("triton") is not None
BACKENDS = ("auto", "numba", "triton", "pytorch3d")


def silhouette(
    vertices: Tensor,
    triangles: Tensor | np.ndarray,
    size: int | tuple[int, int],
    *,
    softness_px: float = 1.0,
    reach_px: float = math.inf,
    backend: str = "auto",
) -> Tensor:
    """Mask of a mesh under scaled orthographic projection, differentiable in its vertices.

    **Value.** Exact coverage: 1 where a pixel's centre lies in the projection of at least one
    triangle, either side of it, else 0. A centre on a shared edge belongs to the triangle to the
    right, or below if the edge is horizontal.

    **Gradient.** That of the relaxation ``S(p) = 1/2 + atan(d(p) / softness_px) / pi``, where d(p)
    is the signed distance in pixels, positive inside, from the centre p to the outline of the union
    of all triangles. The gradient of d is exact: the nearest outline point is q = (1 - t) a + t b
    on the edge of two vertices, and they receive the shares 1 - t and t of dd/dq, the unit outward
    normal. Where q is the corner between two edges that cross, both receive their part, limited at
    needle-sharp notches. z receives none. dS/dd is a Cauchy density: its integral across the
    outline is 1, and its tail falls with d^-2 only, so that pixels pull an outline they are far
    from (compare Soft Rasterizer, Liu et al., ICCV 2019, and Neural 3D Mesh Renderer, Kato et al.,
    CVPR 2018).

    Args:
        vertices: (B, V, 2 or more), crop coordinates: x right, y down, the image spans [-1, 1] on
            both axes, the centre of column j of W is at x = (2 j + 1) / W - 1. Triangles with a
            corner that is not finite are left out.
        triangles: (F, 3) integers.
        size: side of a square image, or (height, width), pixels.
        softness_px: half width at half maximum of dS/dd.
        reach_px: pixels further than this from the outline send no gradient.
        backend: "numba" runs on the CPU; "triton" on a CUDA device, without waiting for it, so that
            a CUDA graph can capture it; "auto" is triton where it can run, else numba. "pytorch3d"
            has the gradient of that library's soft silhouette.

    Returns:
        (B, H, W), 0 or 1, of the type and on the device of `vertices`.

    Raises:
        ValueError: on a wrong shape, type or size, or a backend that does not exist or cannot run
            on the device of `vertices`.
        ImportError: the backend is not installed.
    """
    if vertices.ndim != 3 or vertices.shape[2] < 2:
        raise ValueError(f"vertices must have shape (B, V, 2 or 3), got {tuple(vertices.shape)}")
    if not softness_px > 0 or not reach_px > 0:
        raise ValueError(f"softness_px and reach_px must be > 0, got {softness_px}, {reach_px}")
    render = _renderer(backend, vertices.is_cuda)
    topology = topology_of(triangles, vertices.shape[1])
    return render(vertices, topology, image_shape(size), float(softness_px), float(reach_px))


def outline_lengths(vertices: np.ndarray, triangles: Tensor | np.ndarray) -> np.ndarray:
    """Length of a mesh's outline that each vertex stands for, in units of the vertices.

    The outline is that of `silhouette`; vertices inside of it have none. A part of an edge with
    both ends hidden is left out.

    Args:
        vertices: (V, 2 or more), x right, y down.
        triangles: (F, 3) integers.

    Returns:
        (V,) float64; their sum is nearly the outline's length.
    """
    topology = topology_of(triangles, len(vertices))
    points = np.ascontiguousarray(vertices[:, :2], np.float64)
    weights = np.empty(len(topology.edges), np.int64)
    kernels.edge_weights(
        points, topology.triangles, topology.triangle_edges, topology.triangle_edge_signs, weights
    )
    lengths = np.zeros(len(vertices))
    add_lengths(points, topology.edges, weights, lengths)
    return lengths


def _renderer(backend: str, on_cuda: bool) -> Callable[..., Tensor]:
    """Function of vertices, topology, shape, softness_px and reach_px that renders."""
    if backend == "numba" or (backend == "auto" and not (on_cuda and _HAS_TRITON)):
        return NumbaSilhouette.apply
    if backend in ("auto", "triton"):
        if not _HAS_TRITON:
            raise ImportError(
                "the backend 'triton' needs Triton, which is not installed: install a CUDA build "
                "of torch, which brings it, or use the backend 'auto'"
            )
        from dhpe_ros.rendering.triton_silhouette import TritonSilhouette

        return TritonSilhouette.apply
    if backend == "pytorch3d":
        from dhpe_ros.rendering.pytorch3d_backend import silhouette

        return silhouette
    raise ValueError(f"backend must be one of {', '.join(BACKENDS)}; got {backend!r}")


def covered(
    vertices: np.ndarray | Tensor, triangles: np.ndarray | Tensor, size: int | tuple[int, int]
) -> np.ndarray:
    """Value of `silhouette` without its gradient, (B, H, W) bool; NumPy."""
    vertices = as_array(vertices)
    topology = topology_of(triangles, vertices.shape[1])
    shape = (vertices.shape[0], *image_shape(size))
    points = to_pixels(vertices, shape[1:])
    weights, masks = np.empty((shape[0], len(topology.edges)), np.int64), np.empty(shape, bool)
    for_each(shape[0], lambda n: cover(points[n], topology, weights[n], masks[n]))
    return masks


def visible_faces(
    vertices: np.ndarray | Tensor, triangles: np.ndarray | Tensor, size: int | tuple[int, int]
) -> np.ndarray:
    """Index (B, H, W) int32 of the nearest triangle at each pixel centre, -1 where there is none.

    Of triangles that face the viewer, whose normals point outwards: the inside of an open surface
    is not drawn. A smaller z is nearer. Vertices (B, V, 3) as in `silhouette`.
    """
    points, depths, faces, shape = scene(vertices, triangles, size)
    visible, depth = np.empty(shape, np.int32), np.empty(shape, np.float32)
    for_each(
        shape[0],
        lambda n: kernels.nearest(points[n], depths[n], faces, True, visible[n], depth[n]),
    )
    return visible


def scene(
    vertices: np.ndarray | Tensor, triangles: np.ndarray | Tensor, size: int | tuple[int, int]
) -> tuple[np.ndarray, np.ndarray, np.ndarray, tuple[int, int, int]]:
    """Arguments of the kernels: pixels (B, V, 2), depths (B, V), triangles (F, 3), (B, H, W)."""
    vertices = as_array(vertices)
    if vertices.ndim != 3 or vertices.shape[2] != 3:
        raise ValueError(f"vertices must have shape (B, V, 3), got {vertices.shape}")
    topology = topology_of(triangles, vertices.shape[1])
    shape = (vertices.shape[0], *image_shape(size))
    depths = np.ascontiguousarray(vertices[..., 2], dtype=np.float64)
    return to_pixels(vertices, shape[1:]), depths, topology.triangles, shape


def image_shape(size: int | tuple[int, int]) -> tuple[int, int]:
    """(height, width) of a size given as a number or a pair."""
    height, width = (size, size) if isinstance(size, int | np.integer) else size
    if height < 1 or width < 1:
        raise ValueError(f"size must be at least 1 x 1 pixel, got {height} x {width}")
    return int(height), int(width)
