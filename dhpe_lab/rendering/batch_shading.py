"""Colour pictures of many hands at once, on the device of their vertices.

The twin of `shading` and `lighting` in plain torch: the same model, so that either makes the same
pictures to about float32. Each is the fast path of its device: torch visits every sample many
times, which a GPU's memory is made for; the compiled loop of `shading` stays in a core's cache and
leaves out what is empty. On a GPU the z-buffer is Triton's (`triton_raster`), and nothing waits for
the device; on a CPU it is the one of `kernels`, which is how this file is tested without a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from dhpe_lab.rendering.lighting import CLEARANCE, OCCLUSION_MAP, OPEN_SKY, SHADOW_MAP, Lights
from dhpe_lab.rendering.shading import LATTICE, Rendering
from dhpe_lab.rendering.skin import Skin
from dhpe_lab.rendering.texels import texels_of
from dhpe_ros.rendering import kernels
from dhpe_ros.rendering.coverage import image_shape
from dhpe_ros.rendering.topology import Topology, topology_of
from dhpe_ros.system.threads import for_each


class SkinBatch(NamedTuple):
    """B skins of one mesh: the fields of `Skin`, stacked; float32 on one device."""

    albedo: Tensor  # (B, N, 3)
    gloss: Tensor  # (B, N)
    surface: Tensor  # (B, 4): shininess, softness, grain, grain_scale
    detail: int

    @classmethod
    def of(cls, skins: Sequence[Skin], device: torch.device | str = "cpu") -> SkinBatch:
        """Copy to a device. Raises ``ValueError`` where the skins are not of one mesh."""
        if len({(skin.detail, skin.albedo.shape) for skin in skins}) != 1:
            raise ValueError("skins in a batch must have the same texels, and there must be one")
        surface = [(s.shininess, s.softness, s.grain, s.grain_scale) for s in skins]
        fields = [s.albedo for s in skins], [s.gloss for s in skins], surface
        return cls(*(_stacked(field, device, torch.float32) for field in fields), skins[0].detail)


class LightBatch(NamedTuple):
    """Lights of B pictures, float64 on one device; black ones make them equally many."""

    directions: Tensor  # (B, L, 3)
    colors: Tensor  # (B, L, 3)
    up: Tensor  # (B, 3)
    sky: Tensor  # (B, 3)
    ground: Tensor  # (B, 3)

    @classmethod
    def of(cls, lights: Sequence[Lights], device: torch.device | str = "cpu") -> LightBatch:
        """Copy to a device."""
        count = max((len(one.directions) for one in lights), default=0)
        directions = np.tile((0.0, 0.0, -1.0), (len(lights), count, 1))
        colors = np.zeros((len(lights), count, 3))
        for n, one in enumerate(lights):
            directions[n, : len(one.directions)] = one.directions
            colors[n, : len(one.colors)] = one.colors
        rest = ([getattr(one, name) for one in lights] for name in ("up", "sky", "ground"))
        fields = (directions, colors, *rest)
        return cls(*(_stacked(field, device, torch.float64) for field in fields))


class _Mesh(NamedTuple):
    """Connectivity on a device."""

    triangles: Tensor  # (F, 3) int32
    corners: Tensor  # (F, 3) int64, the same
    texels: Tensor  # (F * R * R, 3) int64, see `texels`


@torch.no_grad()
def render_hands(
    vertices: Tensor,
    triangles: Tensor | np.ndarray,
    size: int | tuple[int, int],
    skins: SkinBatch | Sequence[Skin],
    lights: LightBatch | Sequence[Lights],
    *,
    supersampling: int = 2,
    texture_points: Tensor | None = None,
) -> Rendering:
    """`render_hand` for a batch; no gradient.

    With `SkinBatch`, `LightBatch` and triangles on the device it waits for nothing from the second
    call on. A batch of 64 at 224 x 224 needs some GiB of memory.

    Args:
        vertices: (B, V, 3) crop coordinates; the pictures are made on their device.
        triangles: (F, 3) integers, counter-clockwise seen from outside.
        size: side of square images, or (height, width), pixels.
        skins, lights: one for each mesh.
        supersampling: samples per pixel along each axis.
        texture_points: (B, V, 3) where the texture is looked up; the vertices if not given.

    Returns:
        Tensors: rgb (B, H, W, 3), mask and depth (B, H, W), float32.

    Raises:
        ValueError: shapes that do not belong together.
    """
    if vertices.ndim != 3 or vertices.shape[2] != 3:
        raise ValueError(f"vertices must have shape (B, V, 3), got {tuple(vertices.shape)}")
    device = vertices.device
    skins = skins if isinstance(skins, SkinBatch) else SkinBatch.of(skins, device)
    lights = lights if isinstance(lights, LightBatch) else LightBatch.of(lights, device)
    topology = topology_of(triangles, vertices.shape[1])
    mesh = _mesh(topology, vertices.shape[1], skins.detail, device)
    _check(vertices, skins, lights, topology)
    height, width = image_shape(size)
    if not len(vertices) or not len(topology.triangles):
        nothing = torch.zeros(len(vertices), height, width, device=device)
        return Rendering(nothing[..., None].expand(-1, -1, -1, 3), nothing, nothing + torch.inf)
    vertices = vertices.double()
    points = vertices if texture_points is None else texture_points.double()
    normals, outer = _normals(vertices, mesh.corners)
    direct, around = _visibility(vertices, mesh, normals, lights)
    shape = height * supersampling, width * supersampling
    face_index, barycentric, depth = _rasterize(_pixels(vertices, shape), mesh, shape)
    attributes = (normals, _texture_points(points, skins.surface[:, 3]), around, direct.mT)
    attributes = torch.cat([part.float() for part in attributes], dim=2)
    colors = _shade(face_index, barycentric, mesh, outer, attributes, skins, lights)
    return _reduced(face_index >= 0, colors, depth, supersampling)


def _stacked(rows, device, dtype) -> Tensor:
    return torch.from_numpy(np.stack([np.asarray(row) for row in rows])).to(device, dtype)


@lru_cache(maxsize=16)
def _mesh(topology: Topology, vertex_count: int, detail: int, device: torch.device) -> _Mesh:
    texels = texels_of(topology.triangles, vertex_count, detail)
    triangles = torch.from_numpy(topology.triangles).to(device)
    return _Mesh(triangles.int(), triangles, torch.from_numpy(texels.corners).long().to(device))


def _check(vertices: Tensor, skins: SkinBatch, lights: LightBatch, topology: Topology) -> None:
    texels = len(texels_of(topology.triangles, vertices.shape[1], skins.detail).vertices)
    expected = len(vertices), texels, 3
    if skins.albedo.shape != expected or len(lights.up) != len(vertices):
        raise ValueError(
            f"skins must be {expected} and lights {len(vertices)} for these vertices, "
            f"got {tuple(skins.albedo.shape)} and {len(lights.up)}"
        )


# --- per vertex, float64 --------------------------------------------------------------------------


def _normals(vertices: Tensor, corners: Tensor) -> tuple[Tensor, Tensor]:
    """`area_normals`: (B, V, 3), and (B, F) whether the outer side of a triangle shows."""
    a, b, c = vertices[:, corners].unbind(dim=2)
    areas = torch.linalg.cross(b - a, c - a)
    finite = areas.sum(dim=2, keepdim=True).isfinite()
    sums = torch.zeros_like(vertices)
    sums.index_add_(1, corners.T.reshape(-1), torch.where(finite, areas, 0.0).repeat(1, 3, 1))
    return functional.normalize(sums, dim=2, eps=1e-300), areas[..., 2] < 0


def _visibility(vertices, mesh, normals, lights) -> tuple[Tensor, Tensor]:
    """`lighting.visibility`: (B, L, V) of each light, (B, V, 1) of the surrounding."""
    finite = vertices.isfinite().all(dim=2).all(dim=1)[:, None, None]
    vertices = torch.where(finite, vertices, 0.0)
    direct = _lit(vertices, mesh, normals, lights.directions, SHADOW_MAP)
    sky = _open_sky(vertices.device).expand(len(vertices), -1, -1)
    around = _lit(vertices, mesh, normals, sky, OCCLUSION_MAP)
    facing = (sky @ normals.mT).clamp(min=0.0) + 1e-6
    around = (around * facing).sum(dim=1) / facing.sum(dim=1)
    return torch.where(finite, direct, 1.0), torch.where(finite, around[..., None], 1.0)


@lru_cache(maxsize=8)
def _open_sky(device: torch.device) -> Tensor:
    return torch.from_numpy(OPEN_SKY).to(device)


def _lit(vertices, mesh, normals, directions, resolution: int) -> Tensor:
    """(B, D, V): the part of nine shadow map samples around each vertex that is in the light."""
    batch, count = directions.shape[:2]
    low, high = vertices.amin(dim=1), vertices.amax(dim=1)
    centred = vertices - 0.5 * (low + high)[:, None]
    radius = centred.norm(dim=2).amax(dim=1).clamp(min=1e-12)
    axes = _basis(directions)  # (B, D, 3, 3)
    pixels = ((0.5 * resolution - 1.0) / radius)[:, None, None, None]
    points = torch.einsum("bdij,bvj->bdvi", axes, centred) * pixels
    points[..., :2] += 0.5 * (resolution - 1)
    shifted = points + CLEARANCE * torch.einsum("bdij,bvj->bdvi", axes, normals)
    maps = _depth_map(points.flatten(0, 1), mesh, (resolution, resolution))
    lit = _light_around(maps, *shifted.flatten(0, 1).unbind(dim=2))
    return lit.reshape(batch, count, -1)


def _light_around(depth: Tensor, x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """(M, V), part of the 3 x 3 pixels of maps (M, R, R) where nothing is nearer to the light."""
    resolution = depth.shape[1]
    # A frame of nothing: what lies outside the map is lit.
    framed = functional.pad(depth, (1, 1, 1, 1), value=float("inf")).flatten(1)
    row, column = ((c + 0.5).floor().long() for c in (y, x))
    lit = torch.zeros_like(z)
    for i in (-1, 0, 1):
        for j in (-1, 0, 1):
            place = (row + i + 1).clamp(0, resolution + 1) * (resolution + 2)
            place = place + (column + j + 1).clamp(0, resolution + 1)
            lit += framed.gather(1, place) >= z - 1.0
    return lit / 9.0


def _basis(directions: Tensor) -> Tensor:
    """`lighting._basis`: (..., 3) -> (..., 3, 3), rows: two across a unit vector, its opposite."""
    x, y, z = directions.unbind(dim=-1)
    zero = torch.zeros_like(x)
    flat = torch.stack((y, -x, zero), dim=-1) / torch.hypot(x, y)[..., None]
    steep = torch.stack((zero, z, -y), dim=-1) / torch.hypot(y, z)[..., None]
    across = torch.where((z.abs() < 0.9)[..., None], flat, steep)
    return torch.stack((across, torch.linalg.cross(directions, across), -directions), dim=-2)


def _texture_points(points: Tensor, cells: Tensor) -> Tensor:
    """Points scaled so that each mesh extends over as many cells of the noise as given, (B,)."""
    points = points.nan_to_num(posinf=0.0, neginf=0.0)
    extent = (points.amax(dim=1) - points.amin(dim=1)).amax(dim=1).clamp(min=1e-9)
    return points * (cells / extent)[:, None, None]


# --- z-buffer -------------------------------------------------------------------------------------


def _pixels(vertices: Tensor, shape: tuple[int, int]) -> Tensor:
    """(B, V, 3): pixel coordinates, rounded as on the CPU, and depth."""
    height, width = shape
    x, y, z = vertices.unbind(dim=2)
    return torch.stack(
        ((x + 1.0) * (0.5 * width) - 0.5, (y + 1.0) * (0.5 * height) - 0.5, z), dim=2
    )


def _rasterize(points: Tensor, mesh: _Mesh, shape: tuple[int, int]) -> tuple[Tensor, ...]:
    """(B, h, w) int32 triangles, -1 for none; (B, h, w, 3) barycentric; (B, h, w) depth."""
    if points.is_cuda:
        from dhpe_lab.rendering import triton_raster

        return triton_raster.rasterize(points.contiguous(), mesh.triangles, shape)
    meshes, triangles = points.numpy(), mesh.corners.numpy()
    images = len(meshes), *shape
    buffers = np.empty(images, np.int32), np.empty((*images, 3), "f4"), np.empty(images, "f4")

    def draw(n: int) -> None:
        depths = np.ascontiguousarray(meshes[n, :, 2])
        kernels.rasterize(
            np.ascontiguousarray(meshes[n, :, :2]), depths, triangles, *(b[n] for b in buffers)
        )

    for_each(len(meshes), draw)
    return tuple(map(torch.from_numpy, buffers))


def _depth_map(points: Tensor, mesh: _Mesh, shape: tuple[int, int]) -> Tensor:
    """(B, h, w) depth only."""
    if points.is_cuda:
        from dhpe_lab.rendering import triton_raster

        return triton_raster.depth_map(points.contiguous(), mesh.triangles, shape)
    return _rasterize(points, mesh, shape)[2]


# --- per sample, float32 --------------------------------------------------------------------------


def _shade(face_index, barycentric, mesh, outer, attributes, skins, lights) -> Tensor:
    """Linear RGB (B, h * w, 3) of every sample; anything where there is no mesh."""
    batch = len(face_index)
    face = face_index.reshape(batch, -1).clamp(min=0).long()
    weights = barycentric.reshape(batch, -1, 3)
    mixed = _mix(attributes, mesh.corners[face], weights)
    texels, texel_weights = _texels(face, weights, mesh, skins.detail)
    texture = torch.cat((skins.albedo, skins.gloss[..., None]), dim=2)
    texture = _mix(texture, texels, texel_weights)
    normal, point, openness = mixed[..., :3], mixed[..., 3:6], mixed[..., 6:7]
    side = torch.where(outer.gather(1, face), 1.0, -1.0)[..., None]
    normal = normal * (side / (normal.norm(dim=2, keepdim=True) + 1e-12))
    shininess, softness, grain = (skins.surface[:, None, None, k] for k in range(3))
    base = texture[..., :3] * (1.0 + grain * (_noise(point) + 0.5 * _noise(0.23 * point)))
    shine = texture[..., 3:]
    up, sky, ground = (part.float()[:, None] for part in (lights.up, lights.sky, lights.ground))
    toward_sky = 0.5 + 0.5 * (normal * up).sum(dim=2, keepdim=True)
    color = base * openness * (ground + (sky - ground) * toward_sky)
    for n in range(lights.directions.shape[1]):
        direction = lights.directions[:, None, n].float()
        cosine = (normal * direction).sum(dim=2, keepdim=True)
        diffuse = (cosine + softness).clamp(min=0.0) / (1.0 + softness) ** 2
        half = (2.0 - 2.0 * direction[..., 2:]).clamp(min=1e-12).sqrt()
        along = ((cosine - normal[..., 2:]) / half).clamp(min=0.0)
        specular = (shine * (0.125 * shininess + 1.0) * along**shininess) * (cosine > 0)
        arriving = lights.colors[:, None, n].float() * mixed[..., 7 + n, None]
        color = color + arriving * (base * diffuse + specular)
    return color


def _mix(table: Tensor, corners: Tensor, weights: Tensor) -> Tensor:
    """Rows of tables (B, N, C) at corners (B, S, 3), mixed by weights (B, S, 3): (B, S, C)."""
    batch, rows, channels = table.shape
    first = torch.arange(batch, device=table.device)[:, None, None] * rows
    mixed = functional.embedding_bag(
        (corners + first).reshape(-1, 3),
        table.reshape(-1, channels),
        mode="sum",
        per_sample_weights=weights.reshape(-1, 3),
    )
    return mixed.reshape(batch, -1, channels)


def _texels(face: Tensor, weights: Tensor, mesh: _Mesh, detail: int) -> tuple[Tensor, Tensor]:
    """`small_triangle`: the three texels around each sample and their weights, (B, S, 3)."""
    x, y = (weights[..., :2] * detail).unbind(dim=2)
    i, j = (c.long().clamp(max=detail - 1) for c in (x, y))
    beyond = i + j >= detail
    back = x - i < y - j
    i, j = i - (beyond & back).long(), j - (beyond & ~back).long()
    x, y = x - i, y - j
    upright = (x + y <= 1.0) | (i + j == detail - 1)
    turned = (detail - 1 - i) * detail + (detail - 1 - j)
    small = torch.where(upright, i * detail + j, turned)
    x, y = torch.where(upright, x, 1.0 - x), torch.where(upright, y, 1.0 - y)
    return mesh.texels[face * detail**2 + small], torch.stack((x, y, 1.0 - x - y), dim=2)


def _noise(points: Tensor) -> Tensor:
    """`shading._noise` at (B, S, 3): (B, S, 1)."""
    cells = len(LATTICE)
    place = points.remainder(cells) * (2.0 / cells) - 1.0
    # Volumes are looked up at (x, y, z), their axes are z, y, x.
    grid = place.flip(2)[None, None]  # (1, 1, B, S, 3)
    noise = functional.grid_sample(
        _lattice(points.device), grid, padding_mode="border", align_corners=True
    )
    return noise.reshape(*points.shape[:2], 1)


@lru_cache(maxsize=8)
def _lattice(device: torch.device) -> Tensor:
    """(1, 1, 65, 65, 65): the first cells once more after the last."""
    return torch.from_numpy(np.pad(LATTICE, (0, 1), mode="wrap"))[None, None].to(device)


def _reduced(covered: Tensor, colors: Tensor, depth: Tensor, supersampling: int) -> Rendering:
    """Mean over the covered samples of each pixel."""
    batch, height, width = (covered.shape[0], *(n // supersampling for n in covered.shape[1:]))
    blocks = batch, height, supersampling, width, supersampling

    def total(values: Tensor) -> Tensor:
        return values.reshape(*blocks, -1).sum(dim=(2, 4))

    count = total(covered.float())
    colors = colors.reshape(*covered.shape, 3) * covered[..., None]
    z = total(depth.masked_fill(~covered, 0.0)) / count  # 0 / 0 where there is nothing
    return Rendering(
        rgb=_encode(total(colors) / count.clamp(min=1.0)) * (count > 0),
        mask=count[..., 0] / supersampling**2,
        depth=torch.where(count > 0, z, float("inf"))[..., 0],
    )


def _encode(linear: Tensor) -> Tensor:
    """sRGB values of light intensities, clipped to [0, 1]."""
    linear = linear.clamp(0.0, 1.0)
    return torch.where(
        linear <= 0.0031308, 12.92 * linear, 1.055 * linear.clamp(min=1e-6) ** (1 / 2.4) - 0.055
    )
