"""Colour pictures of hands for synthesis: deferred shading of the z-buffer, supersampled."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from dhpe_lab.rendering.lighting import Lights, visibility
from dhpe_lab.rendering.raster import rasterize_mesh
from dhpe_lab.rendering.skin import Skin
from dhpe_lab.rendering.texels import small_triangle, texels_of
from dhpe_ros.rendering.coverage import image_shape
from dhpe_ros.rendering.normals import area_normals
from dhpe_ros.rendering.numba_silhouette import to_pixels
from dhpe_ros.rendering.topology import topology_of
from dhpe_ros.system.compiled import kernel

# Random numbers on the grid of the fine texture, which repeats after so many cells.
LATTICE = np.random.default_rng(0).uniform(-1.0, 1.0, (64, 64, 64)).astype(np.float32)


class Rendering(NamedTuple):
    """A picture of a mesh, to be laid over a background: rgb * mask + background * (1 - mask).

    rgb: (H, W, 3) float32, sRGB, 0 to 1; the colour of the mesh in the pixel, not faded by the
        mask.
    mask: (H, W) float32, the part of the pixel that the mesh covers.
    depth: (H, W) float32, mean z of the mesh in the pixel, units of the vertices; inf where none.
    """

    rgb: np.ndarray
    mask: np.ndarray
    depth: np.ndarray


def render_hand(
    vertices: np.ndarray,
    triangles: np.ndarray,
    size: int | tuple[int, int],
    skin: Skin,
    lights: Lights,
    *,
    supersampling: int = 2,
    texture_points: np.ndarray | None = None,
) -> Rendering:
    """Render a mesh with skin under lights. Deterministic, releases the interpreter lock.

    Per light a diffuse term that reaches round into the shade, scaled to keep the energy (wrapped
    diffuse, as in Green, GPU Gems, 2004), and a Blinn-Phong highlight (SIGGRAPH 1977); soft
    shadows; hemisphere light with ambient occlusion; fine texture from value noise in space. Sides
    of triangles seen from within (the open wrist) are lit as the inside of the surface.

    Vertices (V, 3) are crop coordinates: x right, y down, the image spans [-1, 1], smaller z
    nearer; lights are in their frame. Triangles (F, 3) run counter-clockwise seen from outside.
    ``size`` is the side of a square image, or (height, width), in pixels. The texture is looked up
    at ``texture_points`` (V, 3), e.g. the mesh at rest for one that moves with the hand.
    Raises ``ValueError`` for a skin of another mesh.
    """
    vertices = np.ascontiguousarray(vertices, dtype=np.float64)
    if vertices.ndim != 2 or vertices.shape[1] != 3:
        raise ValueError(f"vertices must have shape (V, 3), got {vertices.shape}")
    texels = texels_of(triangles, len(vertices), skin.detail)
    count = len(texels.vertices)
    if skin.albedo.shape != (count, 3) or skin.gloss.shape != (count,):
        raise ValueError(
            f"skin must have one colour and gloss for each of {count} texels (of detail "
            f"{skin.detail}), got {skin.albedo.shape} and {skin.gloss.shape}"
        )
    triangles = topology_of(triangles, len(vertices)).triangles
    height, width = image_shape(size)
    normals, outer = area_normals(vertices, triangles)
    direct, around = visibility(vertices, triangles, normals, lights)
    samples = _rasterize(vertices, triangles, (height * supersampling, width * supersampling))
    picture = Rendering(
        np.zeros((height, width, 3), np.float32),
        np.zeros((height, width), np.float32),
        np.full((height, width), np.inf, np.float32),
    )
    _shade(
        *samples,
        triangles,
        outer,
        normals,
        _texture_points(vertices if texture_points is None else texture_points, skin.grain_scale),
        (texels.corners, skin.detail, skin.albedo, skin.gloss),
        (skin.shininess, skin.softness, skin.grain, LATTICE),
        (lights.directions, lights.colors, lights.up, lights.sky, lights.ground),
        (direct, around),
        supersampling,
        *picture,
    )
    return picture


def _rasterize(vertices, triangles, shape):
    buffers = (np.empty(shape, np.int32), np.empty((*shape, 3), np.float32), np.empty(shape, "f4"))
    points, depths = to_pixels(vertices, shape), np.ascontiguousarray(vertices[:, 2])
    rasterize_mesh(points, depths, triangles, *buffers)
    return buffers


def _texture_points(points: np.ndarray, cells: float) -> np.ndarray:
    """Points scaled so that the mesh extends over `cells` cells of the noise."""
    points = np.nan_to_num(np.asarray(points, dtype=np.float64), posinf=0.0, neginf=0.0)
    extent = np.ptp(points, axis=0).max() if len(points) else 1.0
    return points * (cells / max(extent, 1e-9))


@kernel
def _shade(
    face_index, barycentric, sample_depth, triangles, outer, normals, texture_points, texture,
    surface, lights, lit, supersampling, rgb, mask, depth,
):  # fmt: skip
    """Mean colour, coverage and depth of the samples in every pixel."""
    color, total = np.empty(3), np.empty(3)
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            count, z = 0, 0.0
            total[:] = 0.0
            for y in range(i * supersampling, (i + 1) * supersampling):
                for x in range(j * supersampling, (j + 1) * supersampling):
                    f = face_index[y, x]
                    if f >= 0:
                        weights = barycentric[y, x]
                        base, gloss = _texture(texture, f, weights)
                        _shade_sample(
                            triangles[f], weights, outer[f], normals, texture_points,
                            base, gloss, surface, lights, lit, color,
                        )  # fmt: skip
                        for c in range(3):
                            total[c] += color[c]
                        z += sample_depth[y, x]
                        count += 1
            if count:
                mask[i, j] = count / supersampling**2
                depth[i, j] = z / count
                for c in range(3):
                    rgb[i, j, c] = _encode(total[c] / count)


@kernel
def _texture(texture, f, weights):
    """Interpolated albedo and gloss."""
    corners, detail, albedo, gloss = texture
    small, u, v, w = small_triangle(weights[0], weights[1], detail)
    a, b, c = corners[f * detail * detail + small]
    return _mix(albedo, (a, b, c), (u, v, w)), u * gloss[a] + v * gloss[b] + w * gloss[c]


@kernel
def _shade_sample(
    corners, weights, outer, normals, texture_points, base, shine, surface, lights, lit, color
):
    """Linear RGB of one sample."""
    shininess, softness, grain, lattice = surface
    directions, light_colors, up, sky, ground = lights
    direct, around = lit
    nx, ny, nz = _mix(normals, corners, weights)
    length = math.sqrt(nx * nx + ny * ny + nz * nz) + 1e-12
    length = length if outer else -length
    nx, ny, nz = nx / length, ny / length, nz / length
    px, py, pz = _mix(texture_points, corners, weights)
    coarse = _noise(lattice, 0.23 * px, 0.23 * py, 0.23 * pz)
    texture = 1.0 + grain * (_noise(lattice, px, py, pz) + 0.5 * coarse)
    a, b, c = corners
    openness = weights[0] * around[a] + weights[1] * around[b] + weights[2] * around[c]
    toward_sky = 0.5 + 0.5 * (nx * up[0] + ny * up[1] + nz * up[2])
    for k in range(3):
        surrounding = ground[k] + (sky[k] - ground[k]) * toward_sky
        color[k] = base[k] * texture * openness * surrounding
    for n in range(directions.shape[0]):
        lx, ly, lz = directions[n]
        arrives = weights[0] * direct[n, a] + weights[1] * direct[n, b] + weights[2] * direct[n, c]
        cosine = nx * lx + ny * ly + nz * lz
        diffuse = max(0.0, (cosine + softness) / (1.0 + softness)) / (1.0 + softness)
        specular = 0.0
        if cosine > 0.0 and shine > 0.0:
            half = math.sqrt(max(2.0 - 2.0 * lz, 1e-12))  # |light + viewer|, viewer (0, 0, -1)
            along = max(0.0, (cosine - nz) / half)
            specular = shine * (0.125 * shininess + 1.0) * along**shininess
        for k in range(3):
            reflected = base[k] * texture * diffuse + specular
            color[k] += light_colors[n, k] * arrives * reflected


@kernel
def _mix(values, corners, weights):
    """Interpolated row of values (V, 3)."""
    a, b, c = corners
    u, v, w = weights
    return (
        u * values[a, 0] + v * values[b, 0] + w * values[c, 0],
        u * values[a, 1] + v * values[b, 1] + w * values[c, 1],
        u * values[a, 2] + v * values[b, 2] + w * values[c, 2],
    )


@kernel
def _noise(lattice, x, y, z):
    """Value noise, -1 to 1: random numbers on the integer grid, blended linearly between them."""
    i, j, k = math.floor(x), math.floor(y), math.floor(z)
    fx, fy, fz = x - i, y - j, z - k
    last = lattice.shape[0] - 1  # a power of two less one: & wraps around
    value = 0.0
    for corner in range(8):
        di, dj, dk = corner & 1, (corner >> 1) & 1, corner >> 2
        weight = (fx if di else 1.0 - fx) * (fy if dj else 1.0 - fy) * (fz if dk else 1.0 - fz)
        value += weight * lattice[(i + di) & last, (j + dj) & last, (k + dk) & last]
    return value


@kernel
def _encode(linear):
    """sRGB value of a light intensity (IEC 61966-2-1), clipped to [0, 1]."""
    linear = min(max(linear, 0.0), 1.0)
    return 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1.0 / 2.4) - 0.055
