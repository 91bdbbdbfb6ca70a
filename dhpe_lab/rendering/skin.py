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
    """Surface of one hand, known at its N texels (`texels`): at V vertices if `detail` is 1.

    albedo: (N, 3) float32, linear RGB, 0 to 1.
    gloss: (N,) float32, strength of the specular reflection; skin about 0.03, a nail 0.15.
    shininess: exponent of the specular reflection.
    softness: 0 to 1, how far diffuse light reaches round into the shade, as it does through skin.
    grain: relative strength of the fine texture.
    grain_scale: number of texture cells over the extent of the mesh.
    detail: number of texels along each edge of the mesh.
    """

    albedo: np.ndarray
    gloss: np.ndarray
    shininess: float = 18.0
    softness: float = 0.25
    grain: float = 0.08
    grain_scale: float = 60.0
    detail: int = 1


def random_skin(
    rng: np.random.Generator,
    texel_count: int,
    *,
    tone: float | None = None,
    palm: np.ndarray | None = None,
    redness: np.ndarray | None = None,
    creases: np.ndarray | None = None,
    nails: np.ndarray | None = None,
    detail: int = 1,
) -> Skin:
    """A random person's skin, for N texels of this ``detail``.

    ``tone`` is 0 (lightest) to 1 (darkest), uniform if not given. Regions are (N,), 0 to 1: the
    palm has little melanin, ``redness`` is where blood shows, creases look like more pigment.
    """
    nothing = np.zeros(texel_count, np.float32)
    palm, redness, creases, nails = (
        nothing if part is None else np.asarray(part, np.float32)
        for part in (palm, redness, creases, nails)
    )
    tone = rng.uniform() if tone is None else tone
    uneven = rng.standard_normal((2, texel_count), dtype=np.float32)
    folds = rng.uniform(0.1, 1.0) * creases
    melanin = tone * (1.0 - rng.uniform(0.15, 0.45) * palm) + 0.015 * uneven[0] + 0.12 * folds
    blood = rng.uniform(0.4, 1.1) + 0.04 * uneven[1] + 0.6 * folds
    blood = blood + rng.uniform(0.1, 0.7) * redness
    albedo = _pigmented(melanin, blood, rng.uniform(0.2, 0.8))
    nail, nail_gloss = _nail(rng, tone)
    cover = nails * rng.uniform(0.6, 1.0)
    albedo += cover[:, None] * (nail.astype(np.float32) - albedo)
    gloss = rng.uniform(0.0, 0.05)
    return Skin(
        albedo=albedo,
        gloss=gloss + nails * (nail_gloss - gloss),
        shininess=rng.uniform(8.0, 40.0),
        softness=rng.uniform(0.1, 0.4),
        grain=rng.uniform(0.04, 0.16),
        grain_scale=rng.uniform(30.0, 110.0),
        detail=detail,
    )


def _nail(rng: np.random.Generator, tone: float) -> tuple[np.ndarray, float]:
    """Linear RGB (3,) and gloss: pale and pink, whatever the tone; now and then varnished."""
    if rng.random() < 0.08:
        return rng.uniform(0.0, 0.8, 3), 0.3
    bed = _pigmented(np.array([0.65 * tone]), np.array([rng.uniform(0.6, 1.2)]), 0.3)[0]
    return bed, rng.uniform(0.05, 0.25)


def _pigmented(melanin: np.ndarray, blood: np.ndarray, carotene: float) -> np.ndarray:
    """Linear RGB (N, 3) float32 of skin; melanin hides what lies under it."""
    shown = 1.0 - 0.4 * np.clip(melanin, 0.0, 1.0)
    absorbed = np.maximum(blood, 0.0)[:, None] * _BLOOD + carotene * _CAROTENE
    # A tone is how a person looks, shade included: light and dark lie 1:40 apart. Reflectances of
    # skin lie about 1:10 apart.
    bare = 0.9 * skin_tone(melanin) ** 0.7
    albedo = _SURFACE + (1.0 - _SURFACE) * bare * np.exp(-shown[:, None] * absorbed)
    return np.clip(albedo, 0.0, 1.0).astype(np.float32)


def skin_tone(tone: np.ndarray) -> np.ndarray:
    """Linear RGB (..., 3) of tones (...), 0 lightest to 1 darkest, geometric between the ten."""
    tones = np.log(srgb_to_linear(_TONES_SRGB / 255.0))
    place = np.clip(tone, 0.0, 1.0) * (len(tones) - 1)
    channels = [np.interp(place, np.arange(len(tones)), tones[:, c]) for c in range(3)]
    return np.exp(np.stack(channels, axis=-1))


def srgb_to_linear(srgb: np.ndarray) -> np.ndarray:
    """Light intensity, 0 to 1, of sRGB values, 0 to 1 (IEC 61966-2-1)."""
    return np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
