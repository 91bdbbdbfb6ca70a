"""Skin from a photograph: a mesh coloured by the picture that it was fitted to."""

from __future__ import annotations

import cv2
import numpy as np

from dhpe_lab.rendering.lighting import open_sky
from dhpe_lab.rendering.raster import rasterize
from dhpe_lab.rendering.skin import Skin, srgb_to_linear
from dhpe_lab.rendering.texels import Texels, texels_of
from dhpe_ros.rendering.normals import area_normals
from dhpe_ros.rendering.topology import topology_of

_RIM = 0.012  # of the image: how far from an outline colours begin to be believed
_STEP = 0.04  # of the mesh's extent: a jump in depth that makes an outline
_DARKEST = 1e-3
_STIFFNESS = 0.02  # of the fill, against a vertex that is seen as well as can be


def photo_skin(
    image: np.ndarray,
    vertices: np.ndarray,
    triangles: np.ndarray,
    *,
    detail: int = 4,
    rng: np.random.Generator | None = None,
) -> Skin:
    """Colour a mesh from the picture that it lies over, all round.

    What the picture shows is taken from it, away from outlines, where the mesh may be beside the
    hand, and the less the more it turns away or the less it has the hand's colour. What it does not
    show is filled over the surface: each vertex as the mean of its neighbours, which is smooth, and
    as uneven, texel by texel, as the rest. The light is taken out as far as a smooth light explains
    the brightness (ambient light with occlusion, and one direction; Lambert), so that the skin can
    be lit anew; cast shadows stay. The overall brightness stays that of the picture.

    The image is (H, W, 3) uint8 RGB, vertices (V, 3) are crop coordinates, triangles (F, 3) run
    counter-clockwise seen from outside; for meshes as small as a hand, as the fill solves a dense
    V x V system. ``rng`` is of the unevenness of what was not seen. The skin fits any shape, pose
    and view of the mesh. Raises ``ValueError`` where the image shows nothing of the mesh.
    """
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8:
        raise ValueError(f"image must be (H, W, 3) uint8, got {image.shape} {image.dtype}")
    vertices = np.ascontiguousarray(vertices, np.float64)
    topology = topology_of(triangles, len(vertices))
    texels = texels_of(triangles, len(vertices), detail)
    normals = area_normals(vertices, topology.triangles)[0]
    points, directions = texels.spread(vertices), texels.spread(normals)
    trust = _trust(image.shape[:2], vertices, triangles, points, directions)
    colors = np.log(np.maximum(_sample(image, points), _DARKEST))
    trust *= _likeness(colors, trust)
    if trust.sum() < 1.0:
        raise ValueError("the image shows nothing of the mesh: are its vertices crop coordinates?")
    openness = texels.spread(open_sky(vertices, topology.triangles, normals))
    colors -= _shading(colors, directions, openness, trust)[:, None]
    smooth = _filled(colors, trust, texels, topology.edges, len(vertices))
    seen = np.minimum(2.0 * trust, 1.0)[:, None]
    noise = _unevenness(colors, trust, texels) * (rng or np.random.default_rng(0)).standard_normal(
        (len(colors), 1)
    )
    albedo = np.exp(smooth + seen * (colors - smooth) + (1.0 - seen) * noise)
    return Skin(
        albedo=np.clip(albedo, 0.0, 1.0).astype(np.float32),
        gloss=np.full(len(albedo), 0.01, np.float32),
        grain=0.0,
        detail=detail,
    )


def _trust(shape, vertices, triangles, points, directions):
    """(N,) 0 to 1: visible, turned to the viewer, and away from outlines."""
    depth = rasterize(vertices[None], triangles, shape).depth[0]
    step = _STEP * np.ptp(vertices, axis=0).max()
    covered = np.isfinite(depth)
    filled = np.where(covered, depth, depth[covered].max(initial=0.0) + 2.0 * step)
    box = np.ones((3, 3), np.uint8)
    smooth = covered & (cv2.dilate(filled, box) - cv2.erode(filled, box) < step)
    distance = cv2.distanceTransform(smooth.astype(np.uint8), cv2.DIST_L2, 5)
    rim = _RIM * max(shape)
    inside = np.clip(_bilinear(distance, points) / rim - 1.0, 0.0, 1.0)
    visible = points[:, 2] < _bilinear(filled, points) + step
    return visible * inside * np.clip((-directions[:, 2] - 0.2) / 0.4, 0.0, 1.0)


def _sample(image, points):
    """(N, 3) linear RGB of the picture at crop coordinates."""
    return _bilinear(srgb_to_linear(image / 255.0).astype(np.float32), points)


def _bilinear(image, points):
    height, width = image.shape[:2]
    x = ((points[:, 0] + 1.0) * 0.5 * width - 0.5).astype(np.float32)
    y = ((points[:, 1] + 1.0) * 0.5 * height - 0.5).astype(np.float32)
    # OpenCV takes fewer than 2^15 points along an axis.
    blocks = [slice(k, k + 16384) for k in range(0, len(x), 16384)]
    sampled = [
        cv2.remap(image, x[b, None], y[b, None], cv2.INTER_LINEAR, None, cv2.BORDER_REPLICATE)
        for b in blocks
    ]
    return np.concatenate(sampled)[:, 0].astype(np.float64)


def _likeness(colors, trust):
    """(N,) 0 to 1: how close in hue, and roughly in brightness, to most of the hand.

    Where the mesh lies beside the hand, the background is not.
    """
    hue = np.column_stack((colors[:, [0, 2]] - colors[:, [1]], 0.4 * colors[:, 1]))
    sure = trust > 0.5
    if not sure.any():
        return np.ones(len(colors))
    away = np.linalg.norm(hue - np.median(hue[sure], axis=0), axis=1)
    return 1.0 / (1.0 + (away / max(2.5 * np.median(away[sure]), 0.1)) ** 4)


def _shading(colors, directions, openness, trust):
    """(N,) logarithm of how much brighter than the mean the light makes each texel."""
    brightness = np.exp(colors).mean(1)
    brightness /= np.average(brightness, weights=trust)
    light = np.column_stack((openness, directions))
    # A little of the light held to be ambient only: a flat palm does not tell directions apart.
    held = 0.05 * trust.sum() * np.eye(4)
    normal = (light * trust[:, None]).T @ light + held
    flat = np.array((1.0 / np.average(openness, weights=trust), 0.0, 0.0, 0.0))
    fit = light @ np.linalg.solve(normal, light.T @ (trust * brightness) + held @ flat)
    return np.log(np.clip(fit, 0.4, 2.5))


def _unevenness(colors, trust, texels: Texels):
    """Standard deviation of the texture, from what neighbouring texels differ by."""
    a, b = texels.corners[:, 0], texels.corners[:, 1]
    both = trust[a] * trust[b]
    squares = (colors[a] - colors[b]).mean(1) ** 2
    return np.sqrt(0.5 * (both @ squares) / max(both.sum(), 1e-12))


def _filled(colors, trust, texels: Texels, edges, vertex_count):
    """(N, 3): the colours made smooth over the surface, harmonic where there is no trust."""
    shares = trust[:, None] * texels.weights
    weight = np.bincount(texels.vertices.ravel(), shares.ravel(), vertex_count)
    sums = [
        np.bincount(texels.vertices.ravel(), (shares * c[:, None]).ravel(), vertex_count)
        for c in colors.T
    ]
    system = np.zeros((vertex_count, vertex_count))
    a, b = edges.T
    system[a, b] = system[b, a] = -_STIFFNESS * weight.max()
    system[np.diag_indices(vertex_count)] = weight - system.sum(1) + 1e-9
    mean = np.average(colors, axis=0, weights=trust)
    return texels.spread(np.linalg.solve(system, np.stack(sums, 1) + 1e-9 * mean))
