"""PyTorch3D's soft silhouette behind this project's interface, where it is installed.

Selected by ``silhouette(backend="pytorch3d")``; it serves comparisons with that library's gradient.

Ravi et al., *Accelerating 3D Deep Learning with PyTorch3D*, 2020; the relaxation is Soft
Rasterizer's (Liu et al., ICCV 2019).
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dhpe_ros.rendering.topology import Topology

FACES_PER_PIXEL = 50  # with the blur below, PyTorch3D's documented soft silhouette
_FAINTEST = 1e-4  # a face that covers a pixel less than this is left out of it


def silhouette(
    vertices: Tensor,
    topology: Topology,
    shape: tuple[int, int],
    softness_px: float,
    reach_px: float,
) -> Tensor:
    """`coverage.silhouette` by PyTorch3D: exact coverage (B, H, W) with another gradient.

    The gradient is that of 1 - prod(1 - sigmoid(-d / softness^2)) over the faces near a pixel, d
    the signed squared distance to the face, negative inside. It reaches about three times as far
    as `softness_px`, and not further: a mask that does not overlap its target is not pulled.

    Raises:
        ImportError: PyTorch3D is not installed.
    """
    try:
        from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
        from pytorch3d.structures import Meshes
    except ImportError as error:
        raise ImportError(
            "the backend 'pytorch3d' needs PyTorch3D, which is not installed: build it from "
            "github.com/facebookresearch/pytorch3d, or use the backend 'auto'"
        ) from error
    height, width = shape
    ndc_per_px = 2.0 / min(shape)  # the shorter side of the image is 2 long
    reach = min(math.sqrt(math.log(1.0 / _FAINTEST - 1.0)) * softness_px, reach_px)
    # PyTorch3D's coordinates: x left, y up; all in one plane in front of the camera.
    flat = vertices[..., :2] * vertices.new_tensor([-width / min(shape), -height / min(shape)])
    points = torch.cat([flat, torch.ones_like(flat[..., :1])], dim=-1).float()
    faces = torch.from_numpy(topology.triangles).to(vertices.device)
    _, _, _, distances = rasterize_meshes(
        Meshes(points, faces.expand(len(points), -1, -1)),
        image_size=shape,
        blur_radius=(reach * ndc_per_px) ** 2,
        faces_per_pixel=FACES_PER_PIXEL,
    )
    found = distances != -1.0
    sigma = (softness_px * ndc_per_px) ** 2
    missed = torch.where(found, torch.sigmoid(distances / sigma), 1.0)
    soft = 1.0 - missed.prod(dim=-1)
    exact = (found & (distances.detach() < 0)).any(dim=-1).to(vertices.dtype)
    return exact + (soft - soft.detach()).to(vertices.dtype)
