"""Hands in photographs with a mesh on them: poses that people took, and their skin."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from dhpe_lab.rendering import Skin, photo_skin
from dhpe_lab.rendering.texels import texels_of
from dhpe_lab.synthesis.hand_poses import angles_from_pose, make_plausible, pose_from_angles
from dhpe_lab.synthesis.hand_surface import surface_of
from dhpe_ros.hand.model import HandModel

_UNSTEADY_DEG = (6.0, 2.5, 1.5)  # standard deviations of flexion, abduction and twist


@dataclass(frozen=True)
class PhotoHand:
    """A mesh over the picture that it was fitted to, or predicted from."""

    image: np.ndarray  # (S, S, 3) uint8 RGB
    vertices: np.ndarray  # (778, 3) crop coordinates
    pose: np.ndarray  # (15, 3) axis-angle
    source: str = ""  # the set it belongs to


class PhotoBank:
    """Poses and skins of photographed hands, to be drawn for rendered ones.

    Sets weigh alike, however many pictures they have: most are near-duplicates.
    """

    SKINS = 1200  # photographs that skin is taken from, at most

    def __init__(self, hands: Sequence[PhotoHand], model: HandModel, seed: int) -> None:
        """Keep fits of a model with ``pose_axes``. Raises ``ValueError`` without hands."""
        if not hands:
            raise ValueError("no photographs to take poses and skins from")
        self._hands, self._model, self._seed = hands, model, seed
        by_source: dict[str, list[int]] = defaultdict(list)
        for row, hand in enumerate(hands):
            by_source[hand.source].append(row)
        self._sets = [np.array(rows) for rows in by_source.values()]
        axes = np.asarray(model.extras["pose_axes"], np.float64)
        self._angles = angles_from_pose(np.stack([hand.pose for hand in hands]), axes)
        self._axes = axes
        rng = np.random.default_rng(seed)
        self._with_skin = [self._row(rng) for _ in range(self.SKINS)]
        self._skins: dict[int, Skin | None] = {}

    def poses(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """``(count, 15, 3)`` axis-angle: a hand's pose, often with others' fingers, unsteady."""
        angles = self._angles[[self._row(rng) for _ in range(count)]]
        others = self._angles[[self._row(rng) for _ in range(count)]]
        taken = (rng.random((count, 5)) < 0.3) & (rng.random((count, 1)) < 0.4)
        angles = np.where(np.repeat(taken, 3, axis=1)[..., None], others, angles)
        unsteady = np.radians(rng.normal(0, 1, angles.shape) * _UNSTEADY_DEG)
        return pose_from_angles(make_plausible(angles + unsteady), self._axes)

    def skin(self, rng: np.random.Generator) -> Skin | None:
        """The skin of one of them, a little lighter or darker; None where it cannot be had."""
        row = self._with_skin[rng.integers(len(self._with_skin))]
        if row not in self._skins:
            try:
                own = np.random.default_rng((self._seed, row))
                self._skins[row] = skin_of(self._hands[row], self._model, own)
            except ValueError:  # the picture shows nothing of the mesh
                self._skins[row] = None
        skin = self._skins[row]
        if skin is None:
            return None
        albedo = np.clip(skin.albedo * np.exp(rng.normal(0.2, 0.3)), 0, 1)
        return replace(skin, albedo=albedo.astype(np.float32))

    def _row(self, rng: np.random.Generator) -> int:
        rows = self._sets[rng.integers(len(self._sets))]
        return int(rows[rng.integers(len(rows))])


def skin_of(photo: PhotoHand, model: HandModel, rng: np.random.Generator) -> Skin:
    """The hand's colours from the picture, the wrist's along the forearm; of ``surface_of``.

    Raises ``ValueError`` where the picture shows nothing of the mesh.
    """
    hand, whole = model.triangles.numpy(), surface_of(model).texels
    texels = texels_of(hand, len(photo.vertices), whole.detail)
    skin = photo_skin(photo.image, photo.vertices, hand, detail=whole.detail, rng=rng)
    at_vertices = skin.albedo[: len(photo.vertices)]
    wrist = at_vertices[model.extras["wrist_loop"]]
    rings = (whole.vertices.max() + 1 - len(at_vertices)) // len(wrist)
    forearm = (np.tile(wrist, (rings, 1)), wrist.mean(0, keepdims=True))
    albedo = whole.spread(np.concatenate((at_vertices, *forearm))).astype(np.float32)
    # Both meshes begin with the hand's triangles.
    albedo[whole.corners[: len(texels.corners)]] = skin.albedo[texels.corners]
    gloss = np.full(len(albedo), skin.gloss[0])
    return replace(skin, albedo=albedo, gloss=gloss)
