"""Small meshes that tests draw, and meshes that harm."""

import numpy as np
import torch

NAN, INF = float("nan"), float("inf")
SQUARE = torch.tensor([[0, 1, 2], [0, 2, 3]])


def square(left, top, right, bottom):
    """A square of two triangles, (1, 4, 2) float64 crop coordinates."""
    corners = [[left, top], [right, top], [right, bottom], [left, bottom]]
    return torch.tensor([corners], dtype=torch.float64)


def blob(rings=8, sectors=12, radius=0.5, seed=0):
    """An open bumpy cap with a rim, like a hand's wrist: (V, 3) float64 and (F, 3)."""
    rng = np.random.default_rng(seed)
    polar = np.linspace(0.0, 0.8 * np.pi, rings)[1:]
    around = np.arange(sectors) * 2 * np.pi / sectors
    directions = np.stack(
        [
            np.outer(np.sin(polar), np.cos(around)),
            np.outer(np.cos(polar), np.ones(sectors)),
            np.outer(np.sin(polar), np.sin(around)),
        ],
        axis=-1,
    ).reshape(-1, 3)
    vertices = np.concatenate([[[0.0, 1.0, 0.0]], directions])
    vertices *= radius * (1.0 + 0.3 * rng.uniform(-1, 1, (len(vertices), 1)))
    faces = [[0, 1 + k, 1 + (k + 1) % sectors] for k in range(sectors)]
    for ring in range(rings - 2):
        for k in range(sectors):
            a, b = 1 + ring * sectors + k, 1 + ring * sectors + (k + 1) % sectors
            faces += [[a, a + sectors, b], [b, a + sectors, b + sectors]]
    return torch.from_numpy(vertices @ random_rotation(rng)), torch.tensor(faces)


def random_rotation(rng):
    q, r = np.linalg.qr(rng.normal(size=(3, 3)))
    return q * np.sign(np.diag(r))


def soup(seed, triangles=14):
    """Random triangles that share vertices at random and overlap, (V, 2) float64 and (F, 3)."""
    rng = np.random.default_rng(seed)
    vertices = rng.uniform(-1.1, 1.1, (triangles, 2))
    faces = np.stack([rng.choice(triangles, 3, replace=False) for _ in range(triangles)])
    return torch.from_numpy(vertices), torch.from_numpy(faces)


BAD_MESHES = {
    "off-screen": square(3.0, 3.0, 5.0, 5.0),
    "around the image": square(-1e6, -1e6, 1e6, 1e6),
    "huge": square(-1e30, -1e30, 1e30, 1e30),
    "a point": square(0.1, 0.1, 0.1, 0.1),
    "a line": square(-0.5, 0.1, 0.5, 0.1),
    "half not a number": square(NAN, -0.5, 0.5, 0.5),
    "not a number": square(NAN, NAN, NAN, NAN),
    "infinite": square(-INF, -0.5, INF, 0.5),
}
