"""Skin for synthesis: colours over the whole human range, red knuckles, pale nails."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

# The ten tones of the Monk Skin Tone scale (E. Monk, 2019; published by Google, 2022), sRGB, light
# to dark. They are the melanin axis here; blood is added below.
_TONES_SRGB = np.array(
    [
        [246, 237, 228], [243, 231, 219], [247, 234, 208], [234, 218, 186], [215, 189, 150],
        [160, 126, 86], [130, 92, 67], [96, 65, 52], [58, 49, 42], [41, 36, 32],
    ]
)  # fmt: skip
# Absorption in linear R, G, B, arbitrary units. Blood takes little red, much green and blue
# (Tsumura et al., Image-based skin color and texture analysis/synthesis, SIGGRAPH 2003); carotene
# takes the blue.
_BLOOD = np.array([0.30, 0.68, 0.67])
_CAROTENE = np.array([0.02, 0.12, 0.45])
_SURFACE = 0.015  # reflected before any pigment, by the surface itself


@dataclass(frozen=True)
class Skin:
    """Surface of one hand.

    albedo: (V, 3) float32, linear RGB, 0 to 1.
    gloss: (V,) float32, strength of the specular reflection; skin about 0.03, a nail 0.15.
    shininess: exponent of the specular reflection.
    softness: 0 to 1, how far diffuse light reaches round into the shade, as it does through skin.
    grain: relative strength of the fine texture.
    grain_scale: number of texture cells over the extent of the mesh.
    """

    albedo: np.ndarray
    gloss: np.ndarray
    shininess: float = 18.0
    softness: float = 0.25
    grain: float = 0.08
    grain_scale: float = 60.0


def random_skin(
    rng: np.random.Generator,
    vertex_count: int,
    *,
    tone: float | None = None,
    palm: np.ndarray | None = None,
    redness: np.ndarray | None = None,
    nails: np.ndarray | None = None,
) -> Skin:
    """A random person's skin.

    Args:
        rng: source of every choice.
        vertex_count: V, forearm included if it belongs to the mesh.
        tone: 0 (lightest) to 1 (darkest); uniform if not given.
        palm: (V,) 0 to 1, where the palm is, which has little melanin.
        redness: (V,) 0 to 1, where blood shows: knuckles, finger tips, parts of the palm.
        nails: indices of the vertices of nails.
    """
    tone = rng.uniform() if tone is None else tone
    melanin = np.full(vertex_count, tone) + 0.015 * rng.standard_normal(vertex_count)
    if palm is not None:
        melanin = melanin * (1.0 - rng.uniform(0.2, 0.5) * np.asarray(palm))
    blood = rng.uniform(0.2, 1.0) + 0.04 * rng.standard_normal(vertex_count)
    if redness is not None:
        blood = blood + rng.uniform(0.1, 0.6) * np.asarray(redness)
    albedo = _pigmented(melanin, blood, rng.uniform(0.2, 1.2))
    gloss = np.full(vertex_count, rng.uniform(0.0, 0.05))
    if nails is not None and len(nails):
        bed = _pigmented(0.5 * melanin[nails], 0.9 * np.ones(len(nails)), 0.2)
        albedo[nails] += rng.uniform(0.3, 0.9) * (bed - albedo[nails])
        gloss[nails] = rng.uniform(0.05, 0.25)
    return Skin(
        albedo=albedo.astype(np.float32),
        gloss=gloss.astype(np.float32),
        shininess=rng.uniform(8.0, 40.0),
        softness=rng.uniform(0.1, 0.4),
        grain=rng.uniform(0.04, 0.16),
        grain_scale=rng.uniform(30.0, 110.0),
    )


def _pigmented(melanin: np.ndarray, blood: np.ndarray, carotene: float) -> np.ndarray:
    """Linear RGB (V, 3) of skin; melanin hides what lies under it."""
    shown = 1.0 - 0.4 * np.clip(melanin, 0.0, 1.0)
    absorbed = np.maximum(blood, 0.0)[:, None] * _BLOOD + carotene * _CAROTENE
    albedo = _SURFACE + (1.0 - _SURFACE) * skin_tone(melanin) * np.exp(-shown[:, None] * absorbed)
    return np.clip(albedo, 0.0, 1.0)


def skin_tone(tone: np.ndarray) -> np.ndarray:
    """Linear RGB (..., 3) of tones (...), 0 lightest to 1 darkest, geometric between the ten."""
    tones = np.log(srgb_to_linear(_TONES_SRGB / 255.0))
    place = np.clip(tone, 0.0, 1.0) * (len(tones) - 1)
    channels = [np.interp(place, np.arange(len(tones)), tones[:, c]) for c in range(3)]
    return np.exp(np.stack(channels, axis=-1))


def srgb_to_linear(srgb: np.ndarray) -> np.ndarray:
    """Light intensity, 0 to 1, of sRGB values, 0 to 1 (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
