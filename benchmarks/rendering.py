"""The renderer: silhouettes, colour, and PyTorch3D beside it where that is installed.

The mesh is the open hand, as large in the image as a hand in its crop.
"""

from __future__ import annotations

from importlib.util import find_spec

import numpy as np
import torch
from timing import Metric, median_ms, once_ms, wait

from dhpe_lab.rendering import Lights, random_skin, render_hand
from dhpe_ros.hand.model import HandModel
from dhpe_ros.networks.weights import hand_model_path
from dhpe_ros.rendering import silhouette
from dhpe_ros.system.threads import for_each

METRICS = (
    Metric("render.forward_ms", "ms", "lower"),
    Metric("render.forward_backward_ms", "ms", "lower"),
    Metric("render.batch64_images_per_s", "images/s", "higher"),
    Metric("render.batch64_forward_backward_images_per_s", "images/s", "higher"),
    Metric("render.color_images_per_s", "images/s", "higher"),
    Metric("render.pytorch3d_soft_ratio", "x", "higher"),
    Metric("render.pytorch3d_hard_ratio", "x", "higher"),
)
SIZE = 224
BATCH = 64
COLOR_SIZE = 128


def measure(device: str) -> dict[str, float]:
    """Metric name -> value; no ratios to PyTorch3D where that is not installed."""
    vertices, faces = hand_in_crop()
    triangles = torch.from_numpy(faces).to(device)
    turned = torch.cat([vertices @ _turn(0.1 * n) for n in range(BATCH)]).to(device)
    moving = vertices.to(device).requires_grad_()
    many = turned.clone().requires_grad_()
    generator = torch.Generator().manual_seed(0)
    upstream = torch.randn(BATCH, SIZE, SIZE, generator=generator).to(device)

    def forward() -> None:
        with torch.no_grad():
            silhouette(moving, triangles, SIZE)

    def forward_batch() -> None:
        with torch.no_grad():
            silhouette(turned, triangles, SIZE)

    def forward_backward() -> None:
        torch.autograd.grad(silhouette(moving, triangles, SIZE), moving, upstream[:1])

    def forward_backward_batch() -> None:
        torch.autograd.grad(silhouette(many, triangles, SIZE), many, upstream)

    ours_ms = once_ms(forward_backward, device)
    return {
        "render.forward_ms": once_ms(forward, device),
        "render.forward_backward_ms": ours_ms,
        "render.batch64_images_per_s": 1000 * BATCH / once_ms(forward_batch, device, 10),
        "render.batch64_forward_backward_images_per_s": 1000
        * BATCH
        / once_ms(forward_backward_batch, device, 5),
        "render.color_images_per_s": color_images_per_s(turned.cpu().numpy(), faces),
        **pytorch3d_ratios(moving, triangles, upstream[:1], ours_ms, device),
    }


def hand_in_crop() -> tuple[torch.Tensor, np.ndarray]:
    """The open hand's template, back to the viewer, large in the crop: (1, V, 3), (F, 3)."""
    model = HandModel(hand_model_path())
    vertices, triangles = model.v_template, model.triangles.numpy()
    vertices = vertices @ torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    low, high = vertices.amin(0), vertices.amax(0)
    return ((vertices - 0.5 * (low + high)) * (1.4 / (high - low).max()))[None], triangles


def color_images_per_s(meshes: np.ndarray, triangles: np.ndarray) -> float:
    """Rate of pictures of skin, supersampled and with shadows; on the CPU, whatever trains."""
    rng = np.random.default_rng(0)
    skin, lights = random_skin(rng, meshes.shape[1]), Lights.random(rng)

    def render(n: int) -> None:
        render_hand(meshes[n], triangles, COLOR_SIZE, skin, lights)

    return 1000 * len(meshes) / median_ms(lambda: for_each(len(meshes), render), repeats=7)


def pytorch3d_ratios(
    moving: torch.Tensor,
    triangles: torch.Tensor,
    upstream: torch.Tensor,
    ours_ms: float,
    device: str,
) -> dict[str, float]:
    """PyTorch3D's time over ours, forward and backward, same mesh and image.

    soft: 50 faces per pixel, sigma about 1e-4, as its documentation has it. hard: the one nearest
    face, no blur, and the gradient of its distance.
    """
    if find_spec("pytorch3d") is None:
        return {}
    from pytorch3d.renderer.mesh.rasterize_meshes import rasterize_meshes
    from pytorch3d.structures import Meshes

    faces = triangles.long()[None]
    mirrored, in_front = moving.new_tensor([[-1.0, -1.0, 1.0], [0.0, 0.0, 2.0]])

    def soft() -> None:
        mask = silhouette(moving, triangles, SIZE, backend="pytorch3d")
        torch.autograd.grad(mask, moving, upstream)

    def hard() -> None:
        meshes = Meshes(moving * mirrored + in_front, faces)
        distances = rasterize_meshes(meshes, SIZE, blur_radius=0.0, faces_per_pixel=1)[3]
        torch.autograd.grad(distances[..., 0], moving, upstream)
        wait(device)

    return {
        "render.pytorch3d_soft_ratio": median_ms(soft, device, repeats=3) / ours_ms,
        "render.pytorch3d_hard_ratio": median_ms(hard, device, repeats=3) / ours_ms,
    }


def _turn(angle: float) -> torch.Tensor:
    c, s = np.cos(angle), np.sin(angle)
    return torch.tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float32)
