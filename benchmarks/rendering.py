"""How long the renderer takes: python benchmarks/rendering.py

Medians over repeated calls, with as many threads as torch uses. The mesh is the open hand, as
large in the image as a hand in its crop.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from timing import median_ms, show

from dhpe_ros.rendering import Lights, random_skin, rasterize, render_hand, silhouette
from dhpe_ros.rendering.workers import for_each

HAND = Path(__file__).parents[1] / "weights" / "open_hand.npz"
SIZE = 224
BATCH = 64
COLOR_SIZE = 128
COLOR_IMAGES = 100


def main() -> None:
    show(measure())


def measure() -> list[tuple[str, float, str]]:
    """(key, value, unit) of every figure."""
    vertices, triangles = hand_in_crop()
    turned = torch.cat([vertices @ _turn(0.1 * n) for n in range(BATCH)])
    upstream = torch.randn(1, SIZE, SIZE, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        target = silhouette(vertices @ _turn(0.1), triangles, SIZE)
        forward = median_ms(lambda: silhouette(vertices, triangles, SIZE))
        batch = median_ms(lambda: silhouette(turned, triangles, SIZE), repeats=10)
    moving = vertices.clone().requires_grad_()

    def squared_error() -> None:
        (silhouette(moving, triangles, SIZE) - target).square().sum().backward()

    def every_pixel() -> None:
        silhouette(moving, triangles, SIZE).backward(upstream)

    return [
        ("render.forward_ms.cpu", forward, "ms"),
        ("render.forward_backward_ms.cpu", median_ms(every_pixel), "ms"),
        ("render.forward_backward_l2_ms.cpu", median_ms(squared_error), "ms"),
        ("render.batch64_images_per_s.cpu", 1000 * BATCH / batch, "images/s"),
        ("render.rasterize_ms.cpu", median_ms(lambda: rasterize(vertices, triangles, SIZE)), "ms"),
        ("render.color_images_per_s.cpu", color_images_per_s(turned, triangles), "images/s"),
    ]


def hand_in_crop() -> tuple[torch.Tensor, np.ndarray]:
    """The open hand's template, back to the viewer, large in the crop: (1, V, 3), (F, 3)."""
    with np.load(HAND) as arrays:
        vertices, triangles = torch.from_numpy(arrays["v_template"]).float(), arrays["f"]
    vertices = vertices @ torch.tensor([[1.0, 0.0, 0.0], [0.0, 0.0, -1.0], [0.0, 1.0, 0.0]])
    low, high = vertices.amin(0), vertices.amax(0)
    vertices = (vertices - 0.5 * (low + high)) * (1.4 / (high - low).max())
    return vertices[None], triangles.astype(np.int64)


def color_images_per_s(vertices: torch.Tensor, triangles: np.ndarray) -> float:
    """Rate of pictures of skin at COLOR_SIZE, several at a time."""
    rng = np.random.default_rng(0)
    skin, lights = random_skin(rng, vertices.shape[1]), Lights.random(rng)
    meshes = vertices.numpy()

    def render(n: int) -> None:
        render_hand(meshes[n % len(meshes)], triangles, COLOR_SIZE, skin, lights)

    return 1000 * COLOR_IMAGES / median_ms(lambda: for_each(COLOR_IMAGES, render), repeats=5)


def _turn(angle: float) -> torch.Tensor:
    c, s = np.cos(angle), np.sin(angle)
    return torch.tensor([[c, s, 0.0], [-s, c, 0.0], [0.0, 0.0, 1.0]], dtype=torch.float32)


if __name__ == "__main__":
    main()
