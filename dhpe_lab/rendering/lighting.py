"""Lights for synthesis, and what of them arrives at each vertex past the rest of the mesh."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from dhpe_lab.rendering.raster import rasterize_mesh
from dhpe_ros.system.compiled import kernel

SHADOW_MAP = 64  # pixels, side
OCCLUSION_MAP = 32
CLEARANCE = 1.5  # map pixels off the surface at which a vertex looks for light
_ORIGIN = np.zeros(3)
OPEN_SKY = np.array(
    [[x, y, z] for x in (-1, 1) for y in (-1, 1) for z in (-1, 1)]
    + [[0, 0, -1.7], [0, 1.7, 0], [0, -1.7, 0], [1.7, 0, 0], [-1.7, 0, 0]],
    dtype=np.float64,
) / math.sqrt(3.0)  # fmt: skip


@dataclass(frozen=True)
class Lights:
    """Distant lights and a two-coloured surrounding.

    Directions are in crop coordinates: x right, y down, z forward.

    directions: (L, 3) unit vectors towards the lights; the viewer's is (0, 0, -1).
    colors: (L, 3) linear RGB; 1 lights a white surface that faces the light to full white.
    up: (3,) unit vector towards the sky; sky, ground: (3,) linear RGB of the surrounding light.
    """

    directions: np.ndarray
    colors: np.ndarray
    up: np.ndarray
    sky: np.ndarray
    ground: np.ndarray

    @classmethod
    def random(cls, rng: np.random.Generator) -> Lights:
        """One to three lights, warm to cold, and a surrounding; the exposure varies too."""
        count = int(rng.integers(1, 4))
        directions = rng.normal(size=(count, 3))
        directions[:, 2] = -np.abs(directions[:, 2]) - 0.2  # mostly from the viewer's side
        directions[0, 2] += rng.uniform(0.0, 0.8)
        exposure = np.exp(rng.normal(0.0, 0.25))
        shares = rng.dirichlet(np.ones(count)) * rng.uniform(0.5, 1.1) * exposure
        surrounding = rng.uniform(0.15, 0.6) * exposure
        return cls(
            directions=unit(directions),
            colors=shares[:, None] * _tint(rng, count),
            up=unit(np.array([0.0, -1.0, 0.0]) + 0.4 * rng.normal(size=3)),
            sky=surrounding * _tint(rng, 1)[0],
            ground=surrounding * rng.uniform(0.2, 0.9) * _tint(rng, 1)[0],
        )


def visibility(
    vertices: np.ndarray, triangles: np.ndarray, normals: np.ndarray, lights: Lights
) -> tuple[np.ndarray, np.ndarray]:
    """Share of each light and of the surrounding that reaches each vertex, 0 to 1.

    Shadow maps seen from every light, and from thirteen directions for the surrounding (ambient
    occlusion), with percentage-closer filtering (Reeves et al., SIGGRAPH 1987). Evaluated at the
    vertices, (L, V) and (V,) float32, and interpolated between them: the shadows are soft.
    """
    if not len(vertices) or not np.isfinite(vertices).all():
        lit = np.ones((len(lights.directions) + 1, len(vertices)), np.float32)
        return lit[:-1], lit[-1]
    centre, radius = _sphere(vertices)
    direct = _lit(vertices, triangles, normals, lights.directions, centre, radius, SHADOW_MAP)
    return direct, open_sky(vertices, triangles, normals)


def open_sky(vertices: np.ndarray, triangles: np.ndarray, normals: np.ndarray) -> np.ndarray:
    """(V,) float32, the part of the surrounding light that the mesh itself lets through."""
    centre, radius = _sphere(vertices)
    around = _lit(vertices, triangles, normals, OPEN_SKY, centre, radius, OCCLUSION_MAP)
    facing = np.maximum(OPEN_SKY @ normals.T, 0.0) + 1e-6
    return ((around * facing).sum(0) / facing.sum(0)).astype(np.float32)


def _sphere(vertices: np.ndarray) -> tuple[np.ndarray, float]:
    """Centre (3,) and radius of a sphere around the mesh."""
    centre = 0.5 * (vertices.min(axis=0) + vertices.max(axis=0))
    return centre, max(np.linalg.norm(vertices - centre, axis=1).max(), 1e-12)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Vectors (..., 3) of length one."""
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _tint(rng: np.random.Generator, count: int) -> np.ndarray:
    """Colours between lamp light and blue sky, (count, 3), green 1."""
    warmth = rng.normal(0.0, 0.16, (count, 1))
    return np.exp(warmth * np.array([1.0, 0.0, -1.2]) + rng.normal(0.0, 0.03, (count, 3)))


@kernel
def _lit(vertices, triangles, normals, directions, centre, radius, resolution):
    """(D, V) float32, the part of nine shadow map samples around each vertex that is in the light.

    The maps show the sphere of `radius` around `centre` (3,).
    """
    lit = np.empty((directions.shape[0], vertices.shape[0]), dtype=np.float32)
    points, depths = np.empty((vertices.shape[0], 2)), np.empty(vertices.shape[0])
    face_index = np.empty((resolution, resolution), dtype=np.int32)
    barycentric = np.empty((resolution, resolution, 3), dtype=np.float32)
    depth = np.empty((resolution, resolution), dtype=np.float32)
    pixels = (0.5 * resolution - 1.0) / radius  # per unit of the vertices
    for d in range(directions.shape[0]):
        axes = _basis(directions[d])
        for v in range(vertices.shape[0]):
            x, y, z = _turned(axes, vertices[v], centre)
            points[v, 0] = x * pixels + 0.5 * (resolution - 1)
            points[v, 1] = y * pixels + 0.5 * (resolution - 1)
            depths[v] = z * pixels
        rasterize_mesh(points, depths, triangles, face_index, barycentric, depth)
        for v in range(vertices.shape[0]):
            x, y, z = _turned(axes, normals[v], _ORIGIN)
            lit[d, v] = _light_around(
                depth,
                points[v, 0] + CLEARANCE * x,
                points[v, 1] + CLEARANCE * y,
                depths[v] + CLEARANCE * z - 1.0,
            )
    return lit


@kernel
def _turned(axes, point, origin):
    """Coordinates of a point along three axes."""
    x, y, z = point[0] - origin[0], point[1] - origin[1], point[2] - origin[2]
    return (
        axes[0, 0] * x + axes[0, 1] * y + axes[0, 2] * z,
        axes[1, 0] * x + axes[1, 1] * y + axes[1, 2] * z,
        axes[2, 0] * x + axes[2, 1] * y + axes[2, 2] * z,
    )


@kernel
def _light_around(depth, x, y, z):
    """Part of the 3 x 3 pixels around (x, y) where nothing is nearer to the light than z."""
    row, column = math.floor(y + 0.5), math.floor(x + 0.5)
    lit = 0
    for i in range(row - 1, row + 2):
        for j in range(column - 1, column + 2):
            inside = 0 <= i < depth.shape[0] and 0 <= j < depth.shape[1]
            lit += not inside or depth[i, j] >= z
    return lit / 9.0


@kernel
def _basis(direction):
    """Rows: two unit vectors across a unit vector, and its opposite, the way the light goes."""
    x, y, z = direction[0], direction[1], direction[2]
    axes = np.empty((3, 3))
    if abs(z) < 0.9:
        length = math.hypot(x, y)
        axes[0, 0], axes[0, 1], axes[0, 2] = y / length, -x / length, 0.0
    else:
        length = math.hypot(y, z)
        axes[0, 0], axes[0, 1], axes[0, 2] = 0.0, z / length, -y / length
    axes[1, 0] = y * axes[0, 2] - z * axes[0, 1]
    axes[1, 1] = z * axes[0, 0] - x * axes[0, 2]
    axes[1, 2] = x * axes[0, 1] - y * axes[0, 0]
    axes[2, 0], axes[2, 1], axes[2, 2] = -x, -y, -z
    return axes
